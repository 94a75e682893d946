//! The scheduler on small worlds: where a pod goes, or what is said of why it cannot.

use api::Key;
use serde_json::{Value, json};

use super::fixtures::*;
use super::{Scheduler, facts::Facts, place};
use crate::view::View;
use crate::{Controller, Write};

/// The node's name, or the message.
fn answer(objects: Vec<Value>, pod: Value) -> String {
    let world = World::new(objects.into_iter().chain([pod.clone()]));
    let entry = world.view.get(&key_of(&pod)).expect("the pod");
    let facts = Facts::of(&entry.key, entry.pod().expect("a pod").clone(), entry.revision);
    match place(&facts, &super::controller::rebuild(&world.view)) {
        Ok(placement) => placement.node,
        Err(unplaceable) => unplaceable.to_string(),
    }
}

fn zone(name: &str, zone: &str) -> Value {
    labelled(node(name), &[("zone", zone), ("kubernetes.io/hostname", name)])
}

fn asks(name: &str, resource: &str, amount: &str) -> Value {
    let requests = json!({"requests": {resource: amount}});
    with(pod(name), json!({"spec": {"containers": [{"name": "c", "image": "web:1", "resources": requests}]}}))
}

fn spec(patch: Value) -> Value {
    with(pod("new"), json!({ "spec": patch }))
}

fn node_affinity(expression: Value) -> Value {
    let terms = json!([{"matchExpressions": [expression]}]);
    spec(
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}),
    )
}

fn near(kind: &str, labels: Value) -> Value {
    let term = json!({"labelSelector": {"matchLabels": labels}, "topologyKey": "zone"});
    spec(json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}))
}

#[test]
fn no_node_at_all() {
    assert_eq!(answer(vec![], pod("new")), "no nodes available to schedule pods");
}

#[test]
fn reasons_are_counted_in_kubernetes_words() {
    let full = || bound("big", "n2");
    let full =
        with(full(), json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "3950m"}}}]}}));
    let not_ready = with(node("n3"), json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}));
    let cordoned = with(node("n4"), json!({"spec": {"unschedulable": true}}));
    let objects = vec![
        tainted(node("n1"), "dedicated=db:NoSchedule"),
        node("n2"),
        full,
        not_ready,
        cordoned,
        tainted(node("n5"), "x:NoExecute"),
    ];
    assert_eq!(
        answer(objects, pod("new")),
        "0/5 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {dedicated: db}, \
         1 node(s) had untolerated taint {x: }, 1 node(s) were not ready, 1 node(s) were unschedulable."
    );
}

#[test]
fn resources_that_do_not_suffice() {
    for (pod, expected) in [
        (asks("new", "cpu", "4"), "n1"),
        (asks("new", "cpu", "4001m"), "0/1 nodes are available: 1 Insufficient cpu."),
        (asks("new", "memory", "8Gi"), "n1"),
        (asks("new", "memory", "9Gi"), "0/1 nodes are available: 1 Insufficient memory."),
        (asks("new", "ephemeral-storage", "101Gi"), "0/1 nodes are available: 1 Insufficient ephemeral-storage."),
        (asks("new", "example.com/gpu", "1"), "0/1 nodes are available: 1 Insufficient example.com/gpu."),
        (asks("new", "cpu", "9E"), "0/1 nodes are available: 1 Insufficient cpu."),
    ] {
        assert_eq!(answer(vec![node("n1")], pod), expected);
    }
    let small = with(node("n1"), json!({"status": {"allocatable": {"pods": "1"}}}));
    let objects = vec![small.clone(), bound("old", "n1")];
    assert_eq!(answer(objects, pod("new")), "0/1 nodes are available: 1 Too many pods.");
    let finished = with(bound("old", "n1"), json!({"status": {"phase": "Succeeded"}}));
    assert_eq!(answer(vec![small, finished], pod("new")), "n1", "a finished pod holds nothing");
}

#[test]
fn init_containers_count_by_their_peak_and_sidecars_to_the_end() {
    let container = |cpu: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
    let sidecar = |cpu: &str| with(container(cpu), json!({"restartPolicy": "Always"}));
    for (inits, containers, fits) in [
        (vec![container("4")], vec![container("3")], true),
        (vec![container("5")], vec![container("1")], false),
        (vec![sidecar("2")], vec![container("2")], true),
        (vec![sidecar("2")], vec![container("3")], false),
        (vec![sidecar("2"), container("3")], vec![container("1")], false),
        (vec![container("3"), sidecar("2")], vec![container("1")], true),
    ] {
        let placed = answer(vec![node("n1")], spec(json!({"initContainers": inits, "containers": containers})));
        assert_eq!(placed == "n1", fits, "{inits:?} {containers:?}: {placed}");
    }
}

#[test]
fn taints_need_tolerations() {
    let taint = "dedicated=db:NoSchedule";
    let refused = "0/1 nodes are available: 1 node(s) had untolerated taint {dedicated: db}.";
    for (toleration, expected) in [
        (json!({"key": "dedicated", "operator": "Equal", "value": "db", "effect": "NoSchedule"}), "n1"),
        (json!({"key": "dedicated", "operator": "Exists"}), "n1"),
        (json!({"operator": "Exists"}), "n1"),
        (json!({"key": "dedicated", "value": "web", "effect": "NoSchedule"}), refused),
        (json!({"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}), refused),
    ] {
        let pod = spec(json!({"tolerations": [toleration]}));
        assert_eq!(answer(vec![tainted(node("n1"), taint)], pod.clone()), expected, "{pod}");
    }
    let disliked = vec![tainted(node("n1"), "old:PreferNoSchedule"), node("n2"), bound("a", "n2"), bound("b", "n2")];
    assert_eq!(answer(disliked, pod("new")), "n2");
}

#[test]
fn cordons_stop_all_but_those_who_tolerate_them() {
    let cordoned = with(node("n1"), json!({"spec": {"unschedulable": true}}));
    assert_eq!(answer(vec![cordoned.clone()], pod("new")), "0/1 nodes are available: 1 node(s) were unschedulable.");
    let daemon = spec(json!({"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]}));
    assert_eq!(answer(vec![cordoned], daemon), "n1");
}

#[test]
fn selectors_and_node_affinity() {
    let refused = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
    let labels = [("disk", "ssd"), ("cores", "8")];
    let expression = |key: &str, operator: &str, values: &[&str]| {
        node_affinity(json!({"key": key, "operator": operator, "values": values}))
    };
    for (pod, fits) in [
        (spec(json!({"nodeSelector": {"disk": "ssd"}})), true),
        (spec(json!({"nodeSelector": {"disk": "hdd"}})), false),
        (expression("disk", "In", &["ssd", "nvme"]), true),
        (expression("disk", "NotIn", &["ssd"]), false),
        (expression("color", "NotIn", &["red"]), true),
        (expression("disk", "Exists", &[]), true),
        (expression("color", "Exists", &[]), false),
        (expression("color", "DoesNotExist", &[]), true),
        (expression("cores", "Gt", &["7"]), true),
        (expression("cores", "Gt", &["8"]), false),
        (expression("cores", "Lt", &["9"]), true),
        (expression("disk", "Lt", &["9"]), false),
        (expression("disk", "Within", &["ssd"]), false),
    ] {
        let expected = if fits { "n1" } else { refused };
        assert_eq!(answer(vec![labelled(node("n1"), &labels)], pod.clone()), expected, "{}", pod["spec"]);
    }
    let terms = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}]);
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    let by_name = spec(json!({"affinity": {"nodeAffinity": required}}));
    assert_eq!(answer(vec![node("n1"), node("n2"), bound("old", "n2")], by_name), "n2");
}

#[test]
fn preferred_node_affinity_outweighs_room() {
    let term =
        json!({"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}});
    let pod = spec(json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}}));
    assert_eq!(answer(vec![zone("n1", "a"), zone("n2", "b"), bound("old", "n2")], pod), "n2");
}

#[test]
fn host_ports_are_taken_once() {
    let port =
        |name: &str, port: Value| with(pod(name), json!({"spec": {"containers": [{"name": "c", "ports": [port]}]}}));
    let taken = |ip: &str| {
        with(
            port("old", json!({"containerPort": 80, "hostPort": 8080, "hostIP": ip, "protocol": "TCP"})),
            json!({"spec": {"nodeName": "n1"}}),
        )
    };
    let refused = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.";
    for (old, new, expected) in [
        ("", json!({"containerPort": 1, "hostPort": 8080, "protocol": "TCP"}), refused),
        ("", json!({"containerPort": 1, "hostPort": 8080, "protocol": "UDP"}), "n1"),
        ("", json!({"containerPort": 1, "hostPort": 8081}), "n1"),
        ("", json!({"containerPort": 8080}), "n1"),
        ("127.0.0.1", json!({"containerPort": 1, "hostPort": 8080}), refused),
        ("127.0.0.1", json!({"containerPort": 1, "hostPort": 8080, "hostIP": "10.0.0.1"}), "n1"),
        ("0.0.0.0", json!({"containerPort": 1, "hostPort": 8080, "hostIP": "10.0.0.1"}), refused),
    ] {
        assert_eq!(answer(vec![node("n1"), taken(old)], port("new", new.clone())), expected, "{old} {new}");
    }
}

#[test]
fn pod_affinity_and_anti_affinity() {
    let zones = || vec![zone("n1", "a"), zone("n2", "b"), labelled(bound("cache", "n2"), &[("app", "cache")])];
    assert_eq!(answer(zones(), near("podAffinity", json!({"app": "cache"}))), "n2");
    assert_eq!(answer(zones(), near("podAntiAffinity", json!({"app": "cache"}))), "n1");
    assert_eq!(
        answer(zones(), near("podAffinity", json!({"app": "db"}))),
        "0/2 nodes are available: 2 node(s) didn't match pod affinity rules."
    );
    let founder = labelled(near("podAffinity", json!({"app": "db"})), &[("app", "db")]);
    assert_eq!(answer(zones(), founder), "n1", "the first of a group may go anywhere");
    let mut crowded = zones();
    crowded.push(labelled(bound("cache2", "n1"), &[("app", "cache")]));
    assert_eq!(
        answer(crowded, near("podAntiAffinity", json!({"app": "cache"}))),
        "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules."
    );
    let hermit = with(
        near("podAntiAffinity", json!({"app": "web"})),
        json!({"metadata": {"name": "hermit"}, "spec": {"nodeName": "n1"}}),
    );
    let visitor = labelled(pod("new"), &[("app", "web")]);
    assert_eq!(
        answer(vec![zone("n1", "a"), hermit], visitor),
        "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."
    );
    let elsewhere =
        with(labelled(bound("cache", "n2"), &[("app", "cache")]), json!({"metadata": {"namespace": "other"}}));
    assert_eq!(
        answer(vec![zone("n1", "a"), zone("n2", "b"), elsewhere], near("podAntiAffinity", json!({"app": "cache"}))),
        "n1",
        "other namespaces do not count, so the tie goes to the first name with the most room"
    );
}

#[test]
fn topology_spread() {
    let spread = |when: &str| {
        let constraint = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": when, "labelSelector": {"matchLabels": {"app": "web"}}});
        labelled(spec(json!({"topologySpreadConstraints": [constraint]})), &[("app", "web")])
    };
    let web = |name: &str, node: &str| labelled(bound(name, node), &[("app", "web")]);
    let busy = |name: &str, node: &str| {
        with(
            bound(name, node),
            json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}]}}),
        )
    };
    let two = || vec![zone("n1", "a"), zone("n2", "b"), web("w1", "n1"), busy("x", "n2")];
    assert_eq!(answer(two(), spread("DoNotSchedule")), "n2");
    assert_eq!(answer(two(), spread("ScheduleAnyway")), "n2", "a wish counts for more than room");
    let mut full = two();
    full[1] = with(zone("n2", "b"), json!({"spec": {"unschedulable": true}}));
    full.push(node("n3"));
    assert_eq!(
        answer(full, spread("DoNotSchedule")),
        "0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints, \
         1 node(s) didn't match pod topology spread constraints (missing required label), 1 node(s) were unschedulable."
    );
}

#[test]
fn a_set_is_spread_before_room_is_looked_at() {
    let objects = vec![node("n1"), node("n2"), of_set(bound("w1", "n1"), "set"), bound("x", "n2"), bound("y", "n2")];
    assert_eq!(answer(objects, of_set(pod("new"), "set")), "n2");
}

fn plan_all(world: &mut World) -> Vec<crate::Plan> {
    world.settle(&Scheduler::default(), &Key::new("", "pods", "", "waiting"))
}

fn placed(view: &View, name: &str) -> String {
    let entry = view.get(&Key::new("", "pods", "default", name)).expect("the pod");
    entry.bound_to().unwrap_or_default().into()
}

#[test]
fn everything_that_waits_is_bound_in_one_command_by_priority_then_age() {
    let small = |name: &str| with(node(name), json!({"status": {"allocatable": {"pods": "1"}}}));
    let late = with(pod("a-late"), json!({"metadata": {"creationTimestamp": "1970-01-01T00:00:09Z"}}));
    let vip = with(
        pod("z-vip"),
        json!({"spec": {"priority": 1000}, "metadata": {"creationTimestamp": "1970-01-01T00:00:10Z"}}),
    );
    let mut world = World::new([small("n1"), small("n2"), late, vip, pod("early")]);
    let plans = plan_all(&mut world);
    assert_eq!(plans.len(), 1, "bindings and the refusal in one command");
    assert_eq!(plans[0].reason, "binds 2 pods, 1 fit nowhere");
    assert_eq!((placed(&world.view, "z-vip"), placed(&world.view, "early")), ("n1".into(), "n2".into()));
    assert_eq!(placed(&world.view, "a-late"), "");
    let messages: Vec<&str> = plans[0].events.iter().map(|note| note.message.as_str()).collect();
    assert_eq!(messages[0], "Successfully assigned default/z-vip to n1");
    assert_eq!(messages[2], "0/2 nodes are available: 2 Too many pods.");
}

#[test]
fn bindings_and_refusals_stand_in_the_conditions() {
    let mut world = World::new([node("n1"), pod("fits"), asks("huge", "cpu", "64")]);
    plan_all(&mut world);
    let condition = |world: &World, name: &str| {
        let pod = world.get(&Key::new("", "pods", "default", name)).expect("the pod");
        pod["status"]["conditions"][0].clone()
    };
    let since = "1970-01-12T13:46:40Z";
    let scheduled = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": since});
    assert_eq!(condition(&world, "fits"), scheduled);
    let refused = condition(&world, "huge");
    assert_eq!((&refused["status"], &refused["reason"]), (&json!("False"), &json!("Unschedulable")));
    assert_eq!(refused["message"], "0/1 nodes are available: 1 Insufficient cpu.");
    world.at(2_000_000).put(node("n2"));
    let plans = plan_all(&mut world);
    assert_eq!(plans.len(), 1, "the message changed");
    let refused = condition(&world, "huge");
    assert_eq!(refused["message"], "0/2 nodes are available: 2 Insufficient cpu.");
    assert_eq!(refused["lastTransitionTime"], since, "the status did not");
    let big = with(node("n3"), json!({"status": {"allocatable": {"cpu": "64"}}}));
    world.put(big);
    plan_all(&mut world);
    assert_eq!(placed(&world.view, "huge"), "n3");
    assert_eq!(condition(&world, "huge")["status"], "True");
}

#[test]
fn others_pods_are_left_alone() {
    let gated = with(pod("gated"), json!({"spec": {"schedulingGates": [{"name": "wait"}]}}));
    let foreign = with(pod("foreign"), json!({"spec": {"schedulerName": "mine"}}));
    let going = with(pod("going"), json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    let done = with(pod("done"), json!({"status": {"phase": "Failed"}}));
    let mut world = World::new([node("n1"), gated, foreign, going, done]);
    assert!(plan_all(&mut world).is_empty());
}

#[test]
fn a_set_of_thirty_spreads_evenly() {
    let pods = (0..30).map(|number| of_set(pod(&format!("web-{number}")), "web"));
    let mut world = World::new(["n1", "n2", "n3"].map(node).into_iter().chain(pods));
    assert_eq!(plan_all(&mut world).len(), 1);
    for name in ["n1", "n2", "n3"] {
        assert_eq!(world.view.pods_on(name).count(), 10, "{name}");
    }
}

#[test]
fn changes_wake_it_only_when_something_may_come_of_it() {
    let scheduler = Scheduler::default();
    let mut world = World::new([]);
    let woken = |world: &mut World, object: Value| {
        let change = world.put(object);
        !scheduler.affected(&change, &world.view).is_empty()
    };
    assert!(!woken(&mut world, node("n1")), "nobody waits");
    assert!(!woken(&mut world, bound("old", "n1")));
    assert!(woken(&mut world, asks("huge", "cpu", "64")));
    assert!(
        !woken(&mut world, with(bound("old", "n1"), json!({"status": {"podIP": "10.0.0.1"}}))),
        "nothing was freed"
    );
    assert!(!woken(&mut world, with(node("n1"), json!({"status": {"images": [{"names": ["x"]}]}}))));
    assert!(woken(&mut world, with(bound("old", "n1"), json!({"status": {"phase": "Succeeded"}}))));
    assert!(woken(&mut world, with(node("n1"), json!({"spec": {"unschedulable": true}}))));
    let plan = scheduler.plan(&world.view, &Key::new("", "pods", "", "waiting"));
    assert!(matches!(plan.writes.as_slice(), [Write::Update { .. }]), "{plan:?}");
}
