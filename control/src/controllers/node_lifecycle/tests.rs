//! Stories of nodes: what is written when they fall silent, break, come back, or go.

use api::Key;
use serde_json::{Value, json};

use super::NodeLifecycle;
use crate::Controller;
use crate::scheduler::fixtures::*;

const START: i64 = 1_000_000;

fn node_key(name: &str) -> Key {
    Key::new("", "nodes", "", name)
}

fn pod_key(name: &str) -> Key {
    Key::new("", "pods", "default", name)
}

/// A pod as admission leaves it: five seconds on a node that is not ready or out of reach.
fn resident(name: &str, node: &str) -> Value {
    let toleration =
        |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
    let tolerations = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"].map(toleration);
    let conditions = json!([{"type": "Ready", "status": "True"}]);
    with(bound(name, node), json!({"spec": {"tolerations": tolerations}, "status": {"conditions": conditions}}))
}

/// Nodes that were all just heard of, with one pod `on-<node>` each.
fn cluster(nodes: &[&str]) -> World {
    let residents = nodes.iter().map(|name| resident(&format!("on-{name}"), name));
    let mut world = World::new(nodes.iter().map(|name| node(name)).chain(residents));
    world.at(START);
    nodes.iter().for_each(|name| world.heard(name, true));
    world
}

fn settle(world: &mut World, name: &str) -> usize {
    world.settle(&NodeLifecycle, &node_key(name)).len()
}

fn ready(world: &World, name: &str) -> String {
    let node = world.get(&node_key(name)).expect("the node");
    let condition = &node["status"]["conditions"][0];
    format!("{} {}", condition["status"].as_str().unwrap_or(""), condition["reason"].as_str().unwrap_or(""))
        .trim()
        .into()
}

fn taints(world: &World, name: &str) -> Vec<String> {
    let node = world.get(&node_key(name)).expect("the node");
    let taint = |taint: &Value| {
        let key = taint["key"].as_str().unwrap_or("").trim_start_matches("node.kubernetes.io/");
        format!("{key}:{}", taint["effect"].as_str().unwrap_or(""))
    };
    node["spec"]["taints"].as_array().map(|taints| taints.iter().map(taint).collect()).unwrap_or_default()
}

fn is_going(world: &World, pod: &str) -> bool {
    let pod = world.get(&pod_key(pod)).expect("the pod");
    !pod["metadata"]["deletionTimestamp"].is_null()
}

fn pod_ready(world: &World, pod: &str) -> String {
    let pod = world.get(&pod_key(pod)).expect("the pod");
    pod["status"]["conditions"][0]["status"].as_str().unwrap_or("").into()
}

#[test]
fn a_healthy_cluster_writes_nothing() {
    let mut world = cluster(&["n1", "n2", "n3"]);
    for name in ["n1", "n2", "n3"] {
        assert_eq!(settle(&mut world, name), 0, "{name}");
    }
}

#[test]
fn a_silent_node_is_unreachable_then_evicted_then_back() {
    let mut world = cluster(&["n1", "n2", "n3"]);
    world.at(START + 4);
    assert_eq!(settle(&mut world, "n1"), 0, "the grace is not over");
    world.at(START + 5);
    world.heard("n2", true);
    world.heard("n3", true);
    let plan = NodeLifecycle.plan(&world.view, &node_key("n1"));
    let notes: Vec<&str> = plan.events.iter().map(|note| note.reason.as_str()).collect();
    assert_eq!(notes, ["NodeNotReady"]);
    assert_eq!(settle(&mut world, "n1"), 1);
    assert_eq!(ready(&world, "n1"), "Unknown NodeStatusUnknown");
    assert_eq!(taints(&world, "n1"), ["unreachable:NoSchedule", "unreachable:NoExecute"]);
    assert_eq!((pod_ready(&world, "on-n1"), is_going(&world, "on-n1")), ("False".into(), false));
    let waiting = NodeLifecycle.plan(&world.view, &node_key("n1"));
    assert_eq!(waiting.recheck_at.map(|at| at.as_second()), Some(START + 10), "five seconds after the taint");

    world.at(START + 10);
    world.heard("n2", true);
    world.heard("n3", true);
    assert_eq!(settle(&mut world, "n1"), 1);
    assert!(is_going(&world, "on-n1"));
    assert!(!is_going(&world, "on-n2"));

    world.at(START + 60);
    ["n1", "n2", "n3"].iter().for_each(|name| world.heard(name, true));
    assert_eq!(settle(&mut world, "n1"), 1);
    assert_eq!((ready(&world, "n1"), taints(&world, "n1")), ("True KubeletReady".into(), vec![]));
}

#[test]
fn a_pod_that_wants_no_grace_keeps_its_name_until_its_agent_has_ended_it() {
    let mut world = cluster(&["n1", "n2"]);
    world.put(with(resident("on-n1", "n1"), json!({"spec": {"terminationGracePeriodSeconds": 0}})));
    for second in [5, 10] {
        world.at(START + second);
        world.heard("n2", true);
        settle(&mut world, "n1");
    }
    assert!(is_going(&world, "on-n1"), "and it is still there");
}

#[test]
fn an_engine_that_fails_makes_the_node_not_ready_with_its_words() {
    let mut world = cluster(&["n1", "n2"]);
    world.heard("n1", false);
    assert_eq!(settle(&mut world, "n1"), 1);
    assert_eq!(ready(&world, "n1"), "False KubeletNotReady");
    let node = world.get(&node_key("n1")).expect("the node");
    let message = node["status"]["conditions"][0]["message"].as_str().unwrap_or("");
    assert!(message.ends_with("dockerd does not answer"), "{message}");
    assert_eq!(taints(&world, "n1"), ["not-ready:NoSchedule", "not-ready:NoExecute"]);
    assert_eq!(pod_ready(&world, "on-n1"), "True", "its agent still says how the pods are");
    world.at(START + 5);
    world.heard("n2", true);
    assert_eq!(settle(&mut world, "n1"), 1, "silent now");
    assert_eq!(taints(&world, "n1"), ["unreachable:NoSchedule", "unreachable:NoExecute"]);
}

#[test]
fn two_of_three_may_die_but_when_all_vanish_nobody_is_evicted() {
    let mut world = cluster(&["n1", "n2", "n3"]);
    world.at(START + 5);
    world.heard("n3", true);
    settle(&mut world, "n1");
    settle(&mut world, "n2");
    assert!(taints(&world, "n2").contains(&"unreachable:NoExecute".into()));

    world.at(START + 10);
    for name in ["n1", "n2", "n3"] {
        settle(&mut world, name);
        assert_eq!(taints(&world, name), ["unreachable:NoSchedule"], "{name}: the leader is cut off");
        assert!(!is_going(&world, &format!("on-{name}")), "{name}");
    }
    world.at(START + 100);
    ["n1", "n2", "n3"].iter().for_each(|name| assert_eq!(settle(&mut world, name), 0, "{name}"));

    world.heard("n3", true);
    settle(&mut world, "n3");
    settle(&mut world, "n1");
    assert!(!is_going(&world, "on-n1"), "the five seconds begin anew");
    world.at(START + 105);
    world.heard("n3", true);
    settle(&mut world, "n1");
    assert!(is_going(&world, "on-n1"));
    assert!(!is_going(&world, "on-n3"));
}

#[test]
fn a_taint_of_a_time_to_come_keeps_no_pod_longer_than_one_of_now() {
    let mut world = cluster(&["n1", "n2"]);
    world.at(START + 5);
    world.heard("n2", true);
    settle(&mut world, "n1");

    world.at(START - 3600);
    assert_eq!(settle(&mut world, "n1"), 1, "the clock was set back: the taint counts from now on");
    assert!(!is_going(&world, "on-n1"));
    world.at(START - 3595);
    world.heard("n2", true);
    assert_eq!(settle(&mut world, "n1"), 1);
    assert!(is_going(&world, "on-n1"));
}

#[test]
fn a_change_of_the_pause_wakes_every_node_that_is_away() {
    let mut world = cluster(&["n1", "n2"]);
    let set = |world: &mut World, name: &str, status: &str| {
        let object = with(node(name), json!({"status": {"conditions": [{"type": "Ready", "status": status}]}}));
        let change = world.put(object);
        let mut names: Vec<String> =
            NodeLifecycle.affected(&change, &world.view).into_iter().map(|key| key.name).collect();
        names.sort();
        names.dedup();
        names.join(" ")
    };
    assert_eq!(set(&mut world, "n1", "Unknown"), "n1");
    assert_eq!(set(&mut world, "n2", "Unknown"), "n1 n2", "now all are away");
    assert_eq!(set(&mut world, "n2", "True"), "n1 n2", "and now one is back");
}

#[test]
fn a_new_leader_leaves_everything_as_it_stands() {
    let mut world = cluster(&["n1", "n2"]);
    world.at(START + 5);
    world.heard("n2", true);
    settle(&mut world, "n1");
    world.at(START + 60);
    world.view.liveness.clear();
    assert_eq!(settle(&mut world, "n1"), 0);
    assert!(!is_going(&world, "on-n1"));
}

#[test]
fn cordons_and_taints_of_people() {
    let mut world = cluster(&["n1", "n2"]);
    let change = |world: &mut World, patch: Value| {
        let node = world.get(&node_key("n1")).expect("the node");
        world.put(with(node, patch));
        settle(world, "n1");
    };
    change(&mut world, json!({"spec": {"unschedulable": true}}));
    assert_eq!(taints(&world, "n1"), ["unschedulable:NoSchedule"]);
    assert!(!is_going(&world, "on-n1"));
    change(&mut world, json!({"spec": {"unschedulable": false}}));
    assert_eq!(taints(&world, "n1"), [""; 0]);
    change(&mut world, json!({"spec": {"taints": [{"key": "mine", "effect": "NoSchedule"}]}}));
    assert!(!is_going(&world, "on-n1"));
    change(&mut world, json!({"spec": {"taints": [{"key": "mine", "effect": "NoExecute"}]}}));
    assert!(is_going(&world, "on-n1"), "no toleration, no time");
    assert_eq!(taints(&world, "n1"), ["mine:NoExecute"]);
}

#[test]
fn finished_and_going_pods_are_not_deleted_again() {
    let mut world = cluster(&["n1", "n2"]);
    world.put(with(resident("done", "n1"), json!({"status": {"phase": "Succeeded"}})));
    world.at(START + 5);
    world.heard("n2", true);
    settle(&mut world, "n1");
    world.at(START + 30);
    world.heard("n2", true);
    assert_eq!(settle(&mut world, "n1"), 1);
    assert!(!is_going(&world, "done"));
}
