//! Objects so large that few of them fit one command: every plan is one that the store takes, and the work is done.

use api::Key;
use serde_json::{Value, json};

use crate::controllers::deployment::Deployments;
use crate::controllers::garbage::Garbage;
use crate::controllers::namespace::Namespaces;
use crate::controllers::node_lifecycle::NodeLifecycle;
use crate::controllers::pod_garbage::PodGarbage;
use crate::controllers::replica_set::ReplicaSets;
use crate::scheduler::Scheduler;
use crate::scheduler::fixtures::*;
use crate::{Controller, Plan, Write};

/// `raft` takes no larger command.
const COMMAND_BYTES_MAX: usize = 8 << 20;
const LARGE_BYTES: usize = 400_000;
/// Together half as much again as one command may have.
const COUNT: usize = 30;

fn containers() -> Value {
    json!([{"name": "c", "image": "web:1", "args": ["x".repeat(LARGE_BYTES)]}])
}

fn large(pod: Value) -> Value {
    with(pod, json!({"spec": {"containers": containers()}}))
}

fn pods(make: impl Fn(&str) -> Value) -> Vec<Value> {
    (0..COUNT).map(|number| large(make(&format!("p{number:02}")))).collect()
}

/// Settles, and answers how many plans that took.
fn settle(world: &mut World, controller: &dyn Controller, key: &Key) -> usize {
    plans(world, controller, key).len()
}

fn plans(world: &mut World, controller: &dyn Controller, key: &Key) -> Vec<Plan> {
    let plans = world.settle(controller, key);
    for plan in &plans {
        let bytes = plan.writes.iter().map(Write::bytes).sum::<usize>();
        assert!(bytes < COMMAND_BYTES_MAX, "{} writes of {bytes} bytes: {}", plan.writes.len(), plan.reason);
    }
    plans
}

fn set(metadata: Value) -> Value {
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers()}});
    let object = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "web", "namespace": "default", "uid": "web"},
        "spec": {"replicas": COUNT, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    });
    with(object, json!({ "metadata": metadata }))
}

fn set_key() -> Key {
    Key::new("apps", "replicasets", "default", "web")
}

fn namespace(name: &str) -> Value {
    let spec = json!({"finalizers": ["kubernetes"]});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "spec": spec})
}

#[test]
fn the_scheduler_binds_large_pods() {
    let mut world = World::new(pods(pod).into_iter().chain([node("n1")]));
    assert!(settle(&mut world, &Scheduler::default(), &Key::new("", "pods", "", "waiting")) > 1);
    assert_eq!(world.view.pods_on("n1").count(), COUNT);
}

#[test]
fn the_scheduler_says_of_large_pods_why_they_fit_nowhere() {
    let mut world = World::new(pods(pod));
    assert!(settle(&mut world, &Scheduler::default(), &Key::new("", "pods", "", "waiting")) > 1);
    let told = |entry: &crate::Entry| entry.pod().and_then(|pod| pod.status.as_ref()?.conditions.as_ref()).is_some();
    assert!(world.view.pods().all(told));
}

#[test]
fn a_replica_set_makes_takes_and_gives_up_large_pods() {
    let mut world = World::new([namespace("default"), set(json!({}))]);
    assert!(settle(&mut world, &ReplicaSets, &set_key()) > 1);
    assert_eq!(world.view.pods().count(), COUNT);
    let made = world.get(&set_key()).expect("the set")["metadata"]["annotations"]["kontiki.io/pods-created"].clone();
    assert_eq!(made, COUNT.to_string(), "no number is left out");

    let orphans = pods(|name| labelled(bound(name, "n1"), &[("app", "web")]));
    let mut world = World::new(orphans.into_iter().chain([namespace("default"), set(json!({}))]));
    assert!(settle(&mut world, &ReplicaSets, &set_key()) > 1);
    assert_eq!(world.view.controlled_by("web").count(), COUNT);

    world.put(with(set(json!({})), json!({"spec": {"replicas": 0}})));
    assert!(settle(&mut world, &ReplicaSets, &set_key()) > 1);
    assert!(world.view.pods().all(|entry| entry.is_terminating()));
}

#[test]
fn a_namespace_empties_itself_of_large_objects() {
    let map = |number: usize| {
        let metadata =
            json!({"name": format!("m{number:02}"), "namespace": "shop", "finalizers": ["example.com/hold"]});
        let data = json!({"text": "x".repeat(LARGE_BYTES)});
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    };
    let going = with(namespace("shop"), json!({"metadata": {"deletionTimestamp": "1970-01-02T00:00:00Z"}}));
    let mut world = World::new((0..COUNT).map(map).chain([going]));
    assert!(settle(&mut world, &Namespaces, &Key::new("", "namespaces", "", "shop")) > 1);
    assert!(world.view.of_kind("", "configmaps").all(|entry| entry.is_terminating()));
}

#[test]
fn an_owner_that_goes_leaves_large_dependents() {
    let going = json!({"deletionTimestamp": "1970-01-02T00:00:00Z", "finalizers": ["orphan"]});
    let mut world = World::new(pods(|name| of_set(pod(name), "web")).into_iter().chain([set(going)]));
    assert!(settle(&mut world, &Garbage, &set_key()) > 1);
    assert!(world.get(&set_key()).is_none());
    assert!(world.view.pods().all(|entry| entry.owners().is_empty()));
}

/// Each owns the other, and waits for it to be gone.
#[test]
fn an_owner_and_its_large_dependents_that_wait_for_each_other_do_not_for_ever() {
    let going = json!({"deletionTimestamp": "1970-01-02T00:00:00Z", "finalizers": ["foregroundDeletion"]});
    let waits = |pod: Value| with(of_set(pod, "web"), json!({ "metadata": going }));
    let mut dependents = pods(|name| waits(pod(name)));
    let blocks = |owner: &mut Value| owner["blockOwnerDeletion"] = json!(true);
    dependents.iter_mut().for_each(|pod| blocks(&mut pod["metadata"]["ownerReferences"][0]));
    let owners: Vec<Value> = (0..COUNT)
        .map(|number| {
            let name = format!("p{number:02}");
            let uid = format!("uid-{name}");
            json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid, "blockOwnerDeletion": true})
        })
        .collect();
    let owner = set(with(going.clone(), json!({ "ownerReferences": owners })));
    let mut world = World::new(dependents.into_iter().chain([owner]));
    assert!(settle(&mut world, &Garbage, &set_key()) > 1);
    assert!(world.get(&set_key()).is_none(), "nothing blocks it any more");
    assert_eq!(world.view.pods().count(), COUNT);
}

#[test]
fn a_deployment_takes_and_scales_large_sets() {
    let one = |number: usize| {
        let name = format!("s{number:02}");
        let metadata = json!({"name": name, "uid": name, "labels": {"app": "web"}});
        with(set(metadata), json!({"spec": {"replicas": 1}}))
    };
    let container = json!({"name": "c", "image": "web:2"});
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "uid": "owner"},
        "spec": {"replicas": 0, "paused": true, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    });
    let mut world = World::new((0..COUNT).map(one).chain([namespace("default"), deployment]));
    let plans = plans(&mut world, &Deployments, &Key::new("apps", "deployments", "default", "web"));
    assert!(plans.len() > 1);
    let sets: Vec<_> = world.view.controlled_by("owner").filter_map(|entry| entry.replica_set()).collect();
    assert_eq!(sets.len(), COUNT);
    assert!(sets.iter().all(|set| set.spec.replicas == Some(0)));
    let told: usize = plans.iter().map(|plan| plan.events.len()).sum();
    assert_eq!(told, COUNT, "each is told of once, when it is done");
}

#[test]
fn large_finished_pods_that_somebody_holds_are_thinned_out() {
    let held = json!({"metadata": {"finalizers": ["example.com/hold"]}, "status": {"phase": "Succeeded"}});
    let done = pods(|name| with(bound(name, "n1"), held.clone()));
    let mut world = World::new(done.into_iter().chain([node("n1")]));
    let garbage = PodGarbage { finished_max: 0, ..PodGarbage::default() };
    assert!(settle(&mut world, &garbage, &Key::new("", "pods", "", "")) > 1);
    assert!(world.view.pods().all(|entry| entry.is_terminating()));
}

#[test]
fn large_pods_are_moved_off_a_silent_node() {
    let nodes = ["n1", "n2", "n3"];
    let mut world = World::new(pods(|name| bound(name, "n1")).into_iter().chain(nodes.map(node)));
    nodes.iter().for_each(|name| world.heard(name, true));
    world.at(1_000_005);
    nodes[1..].iter().for_each(|name| world.heard(name, true));
    assert!(settle(&mut world, &NodeLifecycle, &Key::new("", "nodes", "", "n1")) > 1);
    assert!(world.view.pods().all(|entry| entry.is_terminating()));
}
