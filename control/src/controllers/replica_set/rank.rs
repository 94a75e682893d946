//! Which pods a set gives up first. Pure, decides.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::super::readiness::{available_at, phase, ready_since};
use super::is_active;
use crate::view::{Entry, View};

/// Says what a pod is worth, relative to others of its set.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The order of the fields is the policy, as in Kubernetes (ActivePodsWithRanks): the least goes first. Being
/// available comes before the cost, lest a rolling update loses more than it may.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Worth {
    assigned: bool,
    phase: Phase,
    ready: bool,
    available: bool,
    cost: i32,
    /// How many pods of the same owner share the node.
    doubled: Reverse<usize>,
    ready_since: Reverse<Option<Timestamp>>,
    restarts: Reverse<i32>,
    created_at: Reverse<Timestamp>,
    name: Reverse<String>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Pending,
    Unknown,
    Running,
}

/// The pods, those to be given up first in front.
pub fn order(view: &View, entry: &Entry, pods: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    let on_node = related_by_node(view, entry);
    let min_ready_seconds = entry.replica_set().and_then(|set| set.spec.min_ready_seconds).unwrap_or(0);
    let mut ranked: Vec<(Worth, &Arc<Pod>)> = pods
        .iter()
        .map(|pod| {
            let available = available_at(pod, min_ready_seconds, view.now).is_some_and(|at| at <= view.now);
            (worth(pod, available, &on_node), pod)
        })
        .collect();
    ranked.sort_by(|one, other| one.0.cmp(&other.0));
    ranked.into_iter().map(|(_, pod)| pod.clone()).collect()
}

fn worth(pod: &Pod, available: bool, on_node: &BTreeMap<String, usize>) -> Worth {
    let node = node_of(pod);
    let cost = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DELETION_COST)?.parse().ok());
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    Worth {
        assigned: !node.is_empty(),
        phase: match phase(pod) {
            "Running" => Phase::Running,
            "Unknown" => Phase::Unknown,
            _ => Phase::Pending,
        },
        ready: ready_since(pod).is_some(),
        available,
        cost: cost.unwrap_or(0),
        doubled: Reverse(on_node.get(node).copied().unwrap_or(0)),
        ready_since: Reverse(ready_since(pod)),
        restarts: Reverse(containers.map(|container| container.restart_count).max().unwrap_or(0)),
        created_at: Reverse(pod.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0)),
        name: Reverse(pod.metadata.name.clone().unwrap_or_default()),
    }
}

/// Counts the active pods of this set, and of the others that share its owner, on each node.
fn related_by_node(view: &View, entry: &Entry) -> BTreeMap<String, usize> {
    let sets: Vec<&str> = match entry.controller() {
        Some(owner) => {
            view.controlled_by(&owner.uid).filter(|set| set.replica_set().is_some()).map(Entry::uid).collect()
        }
        None => vec![entry.uid()],
    };
    let mut count = BTreeMap::new();
    for pod in sets.into_iter().flat_map(|uid| view.controlled_by(uid)).filter_map(Entry::pod) {
        if is_active(pod) && !node_of(pod).is_empty() {
            *count.entry(node_of(pod).to_string()).or_insert(0) += 1;
        }
    }
    count
}

fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(view: &mut View) -> Arc<api::Key> {
        let key = api::Key::new("apps", "replicasets", "default", "db");
        let set = json!({"metadata": {"name": "db", "uid": "db"}, "spec": {"selector": {}, "minReadySeconds": 600}});
        view.take_in(&key, 1, Some(set.to_string().as_bytes()));
        view.get(&key).unwrap().key.clone()
    }

    /// Adds a running pod that is like all others but for `change`.
    fn add(view: &mut View, name: &str, change: &serde_json::Value) {
        let mut pod = json!({
            "metadata": {
                "name": name, "namespace": "default", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "db", "uid": "db", "controller": true}],
            },
            "spec": {"containers": [], "nodeName": format!("node-of-{name}")},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}],
            },
        });
        for (pointer, value) in change.as_object().unwrap() {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            pod.pointer_mut(parent).unwrap()[field] = value.clone();
        }
        let revision = view.revision + 1;
        view.take_in(&api::Key::new("", "pods", "default", name), revision, Some(pod.to_string().as_bytes()));
    }

    #[test]
    fn the_least_useful_go_first() {
        let mut view = View::new();
        view.now = "2026-01-01T01:00:00Z".parse().unwrap();
        let set = set(&mut view);
        let ready_at = |time: &str| json!([{"type": "Ready", "status": "True", "lastTransitionTime": time}]);
        // In the order in which they are to go; names are chosen so that they decide nothing.
        let pods = [
            ("m-unassigned", json!({"/spec/nodeName": ""})),
            ("z-pending", json!({"/status/phase": "Pending"})),
            ("a-unknown", json!({"/status/phase": "Unknown"})),
            ("y-unready", json!({"/status/conditions": [{"type": "Ready", "status": "False"}]})),
            (
                "t-not-yet-available",
                json!({
                    "/status/conditions": ready_at("2026-01-01T00:55:00Z"),
                    "/metadata/annotations": {DELETION_COST: "9"},
                }),
            ),
            ("b-cheap", json!({"/metadata/annotations": {DELETION_COST: "-1"}})),
            ("x-doubled", json!({"/spec/nodeName": "node-of-h-dear"})),
            ("c-fresh", json!({"/status/conditions": ready_at("2026-01-01T00:02:00Z")})),
            (
                "w-restarted",
                json!({"/status/containerStatuses": [
                {"name": "a", "ready": true, "restartCount": 2, "image": "", "imageID": ""}]}),
            ),
            ("d-new", json!({"/metadata/creationTimestamp": "2026-01-01T00:00:30Z"})),
            ("v-plain", json!({})),
            ("h-dear", json!({"/metadata/annotations": {DELETION_COST: "7"}})),
        ];
        for (name, change) in pods.iter().rev() {
            add(&mut view, name, change);
        }
        let all: Vec<Arc<Pod>> = view.pods().filter_map(|entry| entry.pod().cloned()).collect();
        let order = order(&view, view.get(&set).unwrap(), &all);
        let names: Vec<&str> = order.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
        assert_eq!(names, pods.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }
}
