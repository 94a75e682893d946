//! What must have come about in a cluster that is left alone: every node is ready, the Deployment is as it was wished,
//! its Pods and those with fixed names run where they were assigned to, and no node has containers of any other. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};

/// What the user wants of the Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub replicas: i32,
    pub image: String,
}

/// A cluster at one moment.
pub struct Sight {
    pub nodes: Vec<Node>,
    pub deployments: Vec<Deployment>,
    pub pods: Vec<Pod>,
    pub containers: Vec<Found>,
}

/// A container that an engine has.
#[derive(Clone, Debug)]
pub struct Found {
    pub node: String,
    /// Namespace and name, with a slash between.
    pub pod: String,
    pub pod_uid: String,
    /// It is not the one that only holds the Pod's network.
    pub is_app: bool,
    pub runs: bool,
}

/// `kept`: the names of the Pods that belong to no Deployment. `nodes`: how many there are. Says what is still amiss.
pub fn check(sight: &Sight, wish: &Wish, kept: &[&str], nodes: usize) -> Result<(), String> {
    nodes_are_well(&sight.nodes, nodes)?;
    let [deployment] = &sight.deployments[..] else { return Err(format!("{} Deployments", sight.deployments.len())) };
    is_complete(deployment, wish)?;
    let name = |pod: &&Pod| pod.metadata.name.clone().unwrap_or_default();
    let (bare, owned): (Vec<&Pod>, Vec<&Pod>) = sight.pods.iter().partition(|pod| kept.contains(&name(pod).as_str()));
    pods_run(&owned, wish)?;
    if bare.len() != kept.len() || !bare.iter().all(|pod| runs(pod)) {
        return Err(format!("{kept:?} are to run, there are {}", told(&bare)));
    }
    containers_fit(sight)
}

fn nodes_are_well(nodes: &[Node], count: usize) -> Result<(), String> {
    let is_ready = |node: &Node| {
        let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    let taints = |node: &Node| node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).count();
    let well = nodes.iter().filter(|node| is_ready(node) && taints(node) == 0);
    let well: Vec<_> = well.filter_map(|node| node.metadata.name.clone()).collect();
    if well.len() != count { Err(format!("of {count} nodes only {well:?} are well")) } else { Ok(()) }
}

fn is_complete(deployment: &Deployment, wish: &Wish) -> Result<(), String> {
    let status = deployment.status.clone().unwrap_or_default();
    let counts = [status.replicas, status.updated_replicas, status.ready_replicas, status.available_replicas];
    let observed = status.observed_generation == deployment.metadata.generation;
    match observed && counts == [Some(wish.replicas); 4] {
        true => Ok(()),
        false => Err(format!("{wish:?} is wanted, the Deployment's status is {status:?}")),
    }
}

fn pods_run(pods: &[&Pod], wish: &Wish) -> Result<(), String> {
    let as_wanted = |pod: &&Pod| image(pod).as_ref() == Some(&wish.image) && runs(pod);
    match pods.len() == wish.replicas as usize && pods.iter().all(as_wanted) {
        true => Ok(()),
        false => Err(format!("{wish:?} is wanted, there are {}", told(pods))),
    }
}

fn image(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.containers.first()?.image.clone()
}

fn runs(pod: &Pod) -> bool {
    let is_assigned = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    is_assigned && phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
}

/// In short.
fn told(pods: &[&Pod]) -> String {
    let one = |pod: &&Pod| {
        let (spec, status) = (pod.spec.clone().unwrap_or_default(), pod.status.clone().unwrap_or_default());
        let (name, goes) = (pod.metadata.name.clone().unwrap_or_default(), pod.metadata.deletion_timestamp.is_some());
        format!("{name}: {:?} on {:?}, {:?}, deleted: {goes}", image(pod), spec.node_name, status.phase)
    };
    pods.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn containers_fit(sight: &Sight) -> Result<(), String> {
    let place = |pod: &Pod| Some((pod.spec.as_ref()?.node_name.clone()?, pod.metadata.uid.clone()?));
    let places: BTreeSet<_> = sight.pods.iter().filter_map(place).collect();
    let place = |found: &Found| (found.node.clone(), found.pod_uid.clone());
    if let Some(left) = sight.containers.iter().find(|found| !places.contains(&place(found))) {
        return Err(format!("{left:?} is left over, the Pods are {places:?}"));
    }
    let running = |app: bool| {
        let those = sight.containers.iter().filter(move |found| found.runs && found.is_app == app).map(place);
        those.collect::<Vec<_>>()
    };
    for (what, found) in [("applications", running(true)), ("sandboxes", running(false))] {
        if found.len() != places.len() || found.iter().collect::<BTreeSet<_>>().len() != places.len() {
            return Err(format!("the {what} of {found:?} run, the Pods are {places:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn wish() -> Wish {
        Wish { replicas: 2, image: "web:2".into() }
    }

    fn sight() -> Sight {
        let of = |value: Value| value.to_string();
        let node = |name: &str| {
            let ready = json!([{"type": "Ready", "status": "True"}]);
            serde_json::from_str(&of(json!({"metadata": {"name": name}, "status": {"conditions": ready}}))).unwrap()
        };
        let pod = |uid: &str, node: &str| {
            let spec = json!({"nodeName": node, "containers": [{"name": "main", "image": "web:2"}]});
            let meta = json!({"name": uid, "uid": uid});
            serde_json::from_str(&of(json!({"metadata": meta, "spec": spec, "status": {"phase": "Running"}}))).unwrap()
        };
        let status = json!({
            "observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
        });
        let spec = json!({"selector": {}, "template": {}});
        let deployment = json!({"metadata": {"generation": 3}, "spec": spec, "status": status});
        let container = |node: &str, uid: &str, is_app| Found {
            node: node.into(),
            pod: format!("default/{uid}"),
            pod_uid: uid.into(),
            is_app,
            runs: true,
        };
        Sight {
            nodes: vec![node("a"), node("b")],
            deployments: vec![serde_json::from_value(deployment).unwrap()],
            pods: vec![pod("1", "a"), pod("2", "b"), pod("db-0", "a")],
            containers: [("a", "1"), ("b", "2"), ("a", "db-0")]
                .iter()
                .flat_map(|(node, uid)| [container(node, uid, true), container(node, uid, false)])
                .collect(),
        }
    }

    #[test]
    fn a_settled_cluster_is_taken_for_one() {
        let mut calm = sight();
        check(&calm, &wish(), &["db-0"], 2).unwrap();
        calm.containers.push(Found { runs: false, ..calm.containers[0].clone() });
        check(&calm, &wish(), &["db-0"], 2).unwrap();
    }

    #[test]
    fn whatever_is_amiss_is_noticed() {
        let amiss = |what: &str, change: &dyn Fn(&mut Sight)| {
            let mut sight = sight();
            change(&mut sight);
            assert!(check(&sight, &wish(), &["db-0"], 2).is_err(), "{what}");
        };
        amiss("a node is missing", &|sight| drop(sight.nodes.pop()));
        amiss("a node is not ready", &|sight| {
            sight.nodes[0].status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = "Unknown".into();
        });
        amiss("a node is tainted", &|sight| {
            sight.nodes[0].spec =
                serde_json::from_value(json!({"taints": [{"key": "k", "effect": "NoExecute"}]})).unwrap();
        });
        amiss("no Deployment", &|sight| sight.deployments.clear());
        amiss("an old status", &|sight| sight.deployments[0].metadata.generation = Some(4));
        amiss("one is not available", &|sight| {
            sight.deployments[0].status.as_mut().unwrap().available_replicas = Some(1);
        });
        amiss("an old Pod", &|sight| {
            sight.pods[0].spec.as_mut().unwrap().containers[0].image = Some("web:1".into());
        });
        amiss("a Pod too many", &|sight| sight.pods.push(sight.pods[0].clone()));
        amiss("a Pod is pending", &|sight| sight.pods[0].status.as_mut().unwrap().phase = Some("Pending".into()));
        amiss("the Pod with a fixed name is missing", &|sight| {
            sight.pods.pop();
            sight.containers.truncate(4);
        });
        amiss("it is pending", &|sight| sight.pods[2].status.as_mut().unwrap().phase = Some("Pending".into()));
        amiss("it is being deleted", &|sight| {
            let node = sight.pods[2].metadata.clone();
            sight.pods[2].metadata = serde_json::from_value(json!({
                "name": node.name, "uid": node.uid, "deletionTimestamp": "2026-01-01T00:00:00Z",
            }))
            .unwrap();
        });
        amiss("a container of no Pod", &|sight| {
            let left = Found { pod_uid: "3".into(), runs: false, ..sight.containers[0].clone() };
            sight.containers.push(left);
        });
        amiss("a container elsewhere", &|sight| sight.containers[0].node = "b".into());
        amiss("a container twice", &|sight| sight.containers.push(sight.containers[0].clone()));
        amiss("a container has ended", &|sight| sight.containers[0].runs = false);
        amiss("a sandbox has ended", &|sight| sight.containers[1].runs = false);
    }
}
