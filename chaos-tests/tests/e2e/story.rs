//! The story that Kontiki is for: a Deployment runs, and the death of a leader, a container, a node is a non-event.

use std::time::{Duration, Instant};

use crate::harness::{Cluster, Namespace, Pod, eventually};

const NGINX: &str = include_str!("../../../deploy/examples/nginx.yaml");

fn deployed<'a>(cluster: &'a Cluster, namespace: &str) -> (Namespace<'a>, Vec<Pod>) {
    cluster.settled();
    let namespace = cluster.namespace(namespace);
    let said = namespace.apply(NGINX);
    assert!(said.contains("deployment.apps/nginx created") && said.contains("service/nginx created"), "{said}");
    let said = namespace.apply(NGINX);
    assert!(said.contains("deployment.apps/nginx unchanged") && said.contains("service/nginx unchanged"), "{said}");
    namespace.kubectl(&["rollout", "status", "deployment/nginx", "--timeout=60s"]).expect();
    let pods = namespace.wait_running("app=nginx", 3, Duration::from_secs(30));
    (namespace, pods)
}

#[test]
fn a_deployment_is_spread_over_the_nodes_and_answers() {
    let cluster = Cluster::under_test();
    let (namespace, pods) = deployed(&cluster, "story-spread");
    let mut nodes: Vec<&str> = pods.iter().map(|pod| pod.node.as_str()).collect();
    nodes.sort();
    assert_eq!(nodes, ["node-1", "node-2", "node-3"]);
    for pod in &pods {
        let page = cluster.run("curl", &["-sS", "--max-time", "5", &format!("http://{}/", pod.ip)], "").expect();
        assert!(page.contains("nginx"), "{page}");
    }
    // From inside one Pod to another on a different node.
    let url = format!("http://{}/", pods[1].ip);
    let page = namespace.kubectl(&["exec", &pods[0].name, "--", "wget", "-qO-", &url]).expect();
    assert!(page.contains("nginx"), "{page}");
    let slices = namespace.json(&["get", "endpointslices", "-l", "kubernetes.io/service-name=nginx"]);
    assert_eq!(slices["items"][0]["endpoints"].as_array().unwrap().len(), 3);
}

#[test]
fn the_leaders_death_touches_no_container_and_writes_go_on() {
    let cluster = Cluster::under_test();
    let (namespace, before) = deployed(&cluster, "story-leader");
    let old = cluster.leader();
    cluster.signal(&format!("replica-{old}"), "-KILL");
    let killed = Instant::now();
    let scaled = namespace.kubectl(&["scale", "deployment/nginx", "--replicas=4"]);
    scaled.expect();
    assert!(killed.elapsed() < Duration::from_secs(10), "the write took {:?}", killed.elapsed());
    namespace.wait_running("app=nginx", 4, Duration::from_secs(30));
    let new = cluster.leader();
    assert_ne!(old, new);
    let after = namespace.pods("app=nginx");
    for pod in &before {
        let same = after.iter().find(|other| other.name == pod.name).expect("the Pod is still there");
        assert_eq!((&same.containers, same.restarts), (&pod.containers, pod.restarts));
    }
    cluster.start(&format!("replica-{old}"));
    cluster.settled();
}

#[test]
fn a_killed_container_is_started_again() {
    let cluster = Cluster::under_test();
    let (namespace, before) = deployed(&cluster, "story-container");
    let victim = &before[0];
    let id = victim.containers[0].trim_start_matches("docker://");
    cluster.docker(&["kill", id]).expect();
    eventually("the container runs again, counted", Duration::from_secs(30), || {
        let pods = namespace.pods("app=nginx");
        pods.iter().any(|pod| pod.name == victim.name && pod.ready && pod.restarts == 1)
    });
    let others = namespace.pods("app=nginx").into_iter().filter(|pod| pod.name != victim.name);
    assert!(others.zip(before.iter().skip(1)).all(|(after, before)| after.restarts == before.restarts));
}

#[test]
fn a_lost_nodes_pods_run_elsewhere_and_do_not_double_when_it_returns() {
    let cluster = Cluster::under_test();
    let (namespace, before) = deployed(&cluster, "story-node");
    cluster.signal("node-2", "-KILL");
    let containers = cluster.containers("node=node-2");
    assert!(!containers.is_empty());
    let mut kill = vec!["kill"];
    kill.extend(containers.iter().map(String::as_str));
    cluster.docker(&kill).expect();
    let lost = Instant::now();
    eventually("three Pods are ready, none on the lost node", Duration::from_secs(15), || {
        let pods = namespace.pods("app=nginx");
        pods.iter().filter(|pod| pod.ready && !pod.terminating && pod.node != "node-2").count() == 3
    });
    println!("replacements ran after {:.1} s", lost.elapsed().as_secs_f64());
    let nodes = cluster.kubectl(&["get", "nodes"]).expect();
    assert!(nodes.lines().any(|line| line.starts_with("node-2") && line.contains("NotReady")), "{nodes}");
    for survivor in before.iter().filter(|pod| pod.node != "node-2") {
        let now = namespace.pods("app=nginx");
        let same = now.iter().find(|pod| pod.name == survivor.name).expect("a Pod on another node stays");
        assert_eq!((&same.containers, same.restarts), (&survivor.containers, survivor.restarts));
    }
    cluster.start("node-2");
    cluster.settled();
    eventually("exactly three Pods are left", Duration::from_secs(30), || namespace.pods("app=nginx").len() == 3);
    eventually("no container of the lost Pods runs", Duration::from_secs(30), || {
        cluster.containers("node=node-2").iter().all(|id| !containers.contains(id))
    });
}

#[test]
fn an_agent_that_comes_back_touches_no_container() {
    let cluster = Cluster::under_test();
    let (namespace, before) = deployed(&cluster, "story-agent");
    let containers = cluster.containers("pod.namespace=story-agent");
    for node in ["node-1", "node-2", "node-3"] {
        cluster.signal(node, "-KILL");
        cluster.start(node);
    }
    cluster.settled();
    // Long enough for a wrong decision to show.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(cluster.containers("pod.namespace=story-agent"), containers);
    assert_eq!(namespace.wait_running("app=nginx", 3, Duration::from_secs(10)), before);
}
