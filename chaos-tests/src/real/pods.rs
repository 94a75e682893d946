//! A Deployment that must be whole whenever all is well: where engines run, a host that is gone takes containers along. Acts
//! (asks); [`missing`], [`astray`] and [`pairs`] decide.

use std::collections::BTreeMap;
use std::time::Duration;

use client::Client;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::hosts::{Container, Hosts};
use super::plan::Host;

const NAMESPACE: &str = "default";
const NAME: &str = "chaos";
/// A node is given up, its Pods are deleted and made elsewhere, and a host that is back starts what it must run.
const WHOLE_MAX: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Of the image's web server.
const PORT: u16 = 8080;
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Asks the web server of an address, the last argument, from within the network of the Pod whose uid is the first one: its
/// containers have no program for it, this machine has. The deadlines are in seconds.
const ASK_FROM_POD: &str = r#"
pause=$(timeout 10 docker ps -q --filter "label=io.kontiki.pod.uid=$1" --filter label=io.kontiki.container.kind=pause) &&
pid=$(timeout 10 docker inspect -f '{{.State.Pid}}' "$pause") &&
timeout 10 nsenter --net="/proc/$pid/ns/net" curl -sS --noproxy '*' --max-time 2 "http://$2:$3/" | grep -qxF "pod ip: $2"
"#;

pub async fn create(client: &Client, count: u32) -> Result<(), String> {
    let object = serde_json::json!({
        "metadata": {"name": NAME},
        "spec": {
            "replicas": count,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {"labels": {"app": NAME}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [
                    {"name": "web", "image": "kontiki:dev", "args": ["demo-web"], "imagePullPolicy": "Never"},
                ]},
            },
        },
    });
    let deployment: Deployment = serde_json::from_value(object).map_err(|error| error.to_string())?;
    match client.namespaced(NAMESPACE).create(&deployment).await {
        Err(error) if !error.is_conflict() => Err(format!("the Deployment: {error}")),
        _ => Ok(()),
    }
}

/// Waits until it is whole. Answers the uids of its Pods.
pub async fn whole(client: &Client, hosts: &Hosts, count: u32) -> Result<Vec<String>, String> {
    let deadline = Instant::now() + WHOLE_MAX;
    loop {
        match look(client, hosts, count).await {
            Ok(uids) => return Ok(uids),
            Err(why) if Instant::now() > deadline => {
                return Err(format!("{WHOLE_MAX:?} after all else was well: {why}"));
            }
            Err(_) => sleep(LOOK_EVERY).await,
        }
    }
}

/// As the API has it, as the engines have it, and as somebody sees it who asks the Pods.
async fn look(client: &Client, hosts: &Hosts, count: u32) -> Result<Vec<String>, String> {
    let deployment = client.namespaced::<Deployment>(NAMESPACE).get(NAME).await.map_err(|error| error.to_string())?;
    let pods =
        client.namespaced::<Pod>(NAMESPACE).list(&Default::default()).await.map_err(|error| error.to_string())?;
    missing(&deployment, &pods.items, count)?;
    for host in 1..=hosts.count {
        astray(&pods.items, host, hosts.containers(host).await?)?;
    }
    futures::future::try_join_all(pods.items.iter().map(answers)).await?;
    let asked = pairs(&pods.items).into_iter().map(|(host, from, to)| reaches(hosts, host, from, to));
    futures::future::try_join_all(asked).await?;
    Ok(pods.items.into_iter().filter_map(|pod| pod.metadata.uid).collect())
}

/// As many Pods as there must be, each ready, and none besides.
fn missing(deployment: &Deployment, pods: &[Pod], count: u32) -> Result<(), String> {
    let available = deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default();
    let ready = |pod: &&Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions
            .is_some_and(|all| all.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
    };
    let ready = pods.iter().filter(ready).count();
    let whole = available == count as i32 && ready == count as usize && pods.len() == ready;
    let found = pods.len();
    let why = || format!("of {count} Pods {available} are available; there are {found}, {ready} of them ready");
    whole.then_some(()).ok_or_else(why)
}

/// On each host run the containers of the Pods that are assigned to it, each once, and no others.
fn astray(pods: &[Pod], host: Host, mut running: Vec<Container>) -> Result<(), String> {
    let here = |pod: &&Pod| host_of(pod) == Some(host);
    let containers = |pod: &Pod| {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        ["app", "pause"].map(|role| Container { pod: uid.clone(), role: role.into() })
    };
    let mut wanted: Vec<Container> = pods.iter().filter(here).flat_map(containers).collect();
    wanted.sort();
    running.sort();
    let why = || format!("on host {host} should run {wanted:?}, and there run {running:?}");
    (wanted == running).then_some(()).ok_or_else(why)
}

/// For every two hosts with Pods, in both directions: the first host, a Pod of it, and one of the other host.
fn pairs(pods: &[Pod]) -> Vec<(Host, &Pod, &Pod)> {
    let of_hosts: BTreeMap<Host, &Pod> = pods.iter().filter_map(|pod| Some((host_of(pod)?, pod))).collect();
    let mut pairs = Vec::new();
    for (here, from) in &of_hosts {
        let others = of_hosts.iter().filter(|(there, _)| *there != here);
        pairs.extend(others.map(|(_, to)| (*here, *from, *to)));
    }
    pairs
}

/// Where it was assigned to.
fn host_of(pod: &Pod) -> Option<Host> {
    pod.spec.as_ref()?.node_name.as_deref()?.strip_prefix("node-")?.parse().ok()
}

fn address(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).unwrap_or_default()
}

/// Over the route between the hosts of two Pods.
async fn reaches(hosts: &Hosts, host: Host, from: &Pod, to: &Pod) -> Result<(), String> {
    let (uid, there, port) = (from.metadata.uid.as_deref().unwrap_or_default(), address(to), PORT.to_string());
    let asked = hosts.run(host, &["sh", "-c", ASK_FROM_POD, "sh", uid, there, &port]).await;
    asked.map_err(|why| format!("the Pod at {} on host {host} does not reach the one at {there}: {why}", address(from)))
}

/// Over the network, at the address that the API names.
async fn answers(pod: &Pod) -> Result<(), String> {
    let address = address(pod);
    let ask = async {
        let mut stream = TcpStream::connect((address, PORT)).await?;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map(|_| answer)
    };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    match timeout(ANSWER_MAX, ask).await {
        Ok(Ok(answer)) if answer.contains(&format!("pod ip: {address}\n")) => Ok(()),
        Ok(Ok(answer)) => Err(format!("Pod {name} at {address} answers {answer:?}")),
        Ok(Err(error)) => Err(format!("Pod {name} at {address}: {error}")),
        Err(_) => Err(format!("Pod {name} at {address} does not answer within {ANSWER_MAX:?}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn too_few_and_too_many_are_not_whole() {
        let deployment =
            |available| serde_json::from_value(json!({"status": {"availableReplicas": available}})).unwrap();
        let pod = |ready: &str| {
            let conditions = json!([{"type": "Ready", "status": ready}]);
            serde_json::from_value::<Pod>(json!({"status": {"conditions": conditions}})).unwrap()
        };
        let (well, unwell) = (pod("True"), pod("False"));
        assert_eq!(missing(&deployment(2), &[well.clone(), well.clone()], 2), Ok(()));
        assert!(missing(&deployment(1), &[well.clone(), unwell.clone()], 2).is_err());
        assert!(missing(&deployment(2), &[well.clone(), well.clone(), well.clone()], 2).is_err());
        assert!(missing(&deployment(2), &[well.clone(), well, unwell], 2).is_err(), "one that should be gone");
    }

    fn pod_on(node: &str, uid: &str) -> Pod {
        let pod = json!({"metadata": {"uid": uid}, "spec": {"nodeName": node, "containers": []}});
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn between_every_two_hosts_a_pod_asks_one_of_the_other() {
        let hosts = |pods: &[Pod]| {
            let asked = pairs(pods).into_iter();
            asked.map(|(host, from, to)| (host, host_of(from), host_of(to))).collect::<Vec<_>>()
        };
        let mut pods = vec![pod_on("node-12", "a"), pod_on("node-12", "b")];
        assert!(hosts(&pods).is_empty());
        pods.push(pod_on("node-2", "c"));
        assert_eq!(hosts(&pods), [(2, Some(2), Some(12)), (12, Some(12), Some(2))]);
        pods.push(pod_on("node-3", "d"));
        assert_eq!(hosts(&pods).len(), 6);
    }

    #[test]
    fn containers_are_where_their_pods_are_and_once() {
        let container = |pod: &str, role: &str| Container { pod: pod.into(), role: role.into() };
        let pods = [pod_on("node-1", "a"), pod_on("node-2", "b")];
        let (app, pause) = (container("a", "app"), container("a", "pause"));
        assert_eq!(astray(&pods, 1, vec![pause.clone(), app.clone()]), Ok(()));
        assert_eq!(astray(&pods, 3, Vec::new()), Ok(()));
        assert!(astray(&pods, 1, vec![pause.clone()]).is_err(), "it does not run");
        assert!(astray(&pods, 1, vec![pause.clone(), app.clone(), app.clone()]).is_err(), "it runs twice");
        assert!(astray(&pods, 2, vec![pause, app]).is_err(), "another host's");
        assert!(astray(&pods, 3, vec![container("gone", "pause")]).is_err(), "of a Pod that is no more");
    }
}
