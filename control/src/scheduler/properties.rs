//! What holds of every plan, on random worlds: never over-committed, repeatable, and done at the end.

use std::collections::BTreeMap;

use api::Key;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixtures::*;
use super::{Scheduler, resources::Resources, resources::pod_requests};
use crate::Controller;

#[derive(Clone, Debug)]
enum Step {
    Pod { name: u8, cpu_milli: u16, memory_mi: u16, set: u8, port: Option<u16> },
    Node { name: u8, cpu: u8, ready: bool },
    EndPod(u8),
    DeletePod(u8),
    DeleteNode(u8),
    Schedule,
}

fn step() -> impl Strategy<Value = Step> {
    let port = prop_oneof![3 => Just(None), 1 => (8000u16..8003).prop_map(Some)];
    prop_oneof![
        6 => (0..40u8, 0..1500u16, 0..2000u16, 0..3u8, port)
            .prop_map(|(name, cpu_milli, memory_mi, set, port)| Step::Pod { name, cpu_milli, memory_mi, set, port }),
        2 => (0..5u8, 0..5u8, prop::bool::weighted(0.8)).prop_map(|(name, cpu, ready)| Step::Node { name, cpu, ready }),
        1 => (0..40u8).prop_map(Step::EndPod),
        1 => (0..40u8).prop_map(Step::DeletePod),
        1 => (0..5u8).prop_map(Step::DeleteNode),
        3 => Just(Step::Schedule),
    ]
}

fn pod_key(name: u8) -> Key {
    Key::new("", "pods", "default", &format!("p{name}"))
}

fn waiting() -> Key {
    Key::new("", "pods", "", "waiting")
}

fn object(step: &Step) -> Option<Value> {
    match step {
        Step::Pod { name, cpu_milli, memory_mi, set, port } => {
            let requests = json!({"cpu": format!("{cpu_milli}m"), "memory": format!("{memory_mi}Mi")});
            let ports: Vec<Value> = port.iter().map(|port| json!({"containerPort": 80, "hostPort": port})).collect();
            let containers = json!([{"name": "c", "resources": {"requests": requests}, "ports": ports}]);
            let pod = with(pod(&format!("p{name}")), json!({"spec": {"containers": containers}}));
            Some(of_set(pod, &format!("set{set}")))
        }
        Step::Node { name, cpu, ready } => {
            let status = json!({
                "allocatable": {"cpu": cpu.to_string(), "memory": "4Gi", "pods": "7"},
                "conditions": [{"type": "Ready", "status": if *ready { "True" } else { "False" }}],
            });
            Some(with(node(&format!("n{name}")), json!({"status": status})))
        }
        _ => None,
    }
}

/// Every node that is there holds no more than it has, as far as this scheduler put it there: nodes may shrink
/// under what they hold, so only placements just made are held against it.
fn check_room(world: &World, just_bound: &[Key]) -> Result<(), TestCaseError> {
    for entry in world.view.nodes() {
        let node = entry.node().expect("a node");
        let mut requested = Resources::default();
        let mut ports: BTreeMap<i32, usize> = BTreeMap::new();
        let (mut is_target, mut pods) = (false, 0);
        for pod_entry in world.view.pods_on(&entry.key.name) {
            let pod = pod_entry.pod().expect("a pod");
            if super::facts::is_finished(pod) {
                continue;
            }
            pods += 1;
            is_target |= just_bound.contains(&pod_entry.key);
            let spec = pod.spec.as_ref().expect("a spec");
            requested.add(&pod_requests(spec));
            for port in spec.containers.iter().flat_map(|container| container.ports.iter().flatten()) {
                *ports.entry(port.host_port.unwrap_or(0)).or_default() += 1;
            }
        }
        if !is_target {
            continue;
        }
        let quantities = node.status.as_ref().and_then(|status| status.allocatable.as_ref()).expect("allocatable");
        let has = Resources::from_quantities(quantities);
        prop_assert!(pods <= has.pods, "{pods} pods on {}", entry.key);
        let new: Vec<_> = just_bound
            .iter()
            .filter_map(|key| world.view.get(key))
            .filter(|pod| pod.bound_to() == Some(&entry.key.name))
            .map(|pod| pod_requests(pod.pod().expect("a pod").spec.as_ref().expect("a spec")))
            .collect();
        if new.iter().any(|requests| requests.cpu_milli > 0) {
            prop_assert!(requested.cpu_milli <= has.cpu_milli, "cpu of {}", entry.key);
        }
        if new.iter().any(|requests| requests.memory_bytes > 0) {
            prop_assert!(requested.memory_bytes <= has.memory_bytes, "memory of {}", entry.key);
        }
        prop_assert!(ports.iter().all(|(port, count)| *port == 0 || *count <= 1), "ports of {}: {ports:?}", entry.key);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_over_committed_and_finally_converged(steps in prop::collection::vec(step(), 1..60)) {
        let scheduler = Scheduler::default();
        let mut world = World::new([]);
        for step in steps {
            let change = match &step {
                // What is bound stays as it is: a pod's spec does not change.
                Step::Pod { name, .. } if world.view.get(&pod_key(*name)).is_some() => None,
                Step::Pod { .. } | Step::Node { .. } => object(&step).map(|object| world.put(object)),
                Step::EndPod(name) => world.get(&pod_key(*name)).map(|pod| {
                    world.put(with(pod, json!({"status": {"phase": "Succeeded"}})))
                }),
                Step::DeletePod(name) => world.delete(&pod_key(*name)),
                Step::DeleteNode(name) => world.delete(&Key::new("", "nodes", "", &format!("n{name}"))),
                Step::Schedule => {
                    let plan = scheduler.plan(&world.view, &waiting());
                    prop_assert_eq!(&plan, &scheduler.plan(&world.view, &waiting()), "planned twice");
                    let anew = Scheduler::default().plan(&world.view, &waiting());
                    prop_assert_eq!(&plan, &anew, "the snapshot agrees with the view");
                    let changes = world.apply(&plan);
                    let bound: Vec<Key> = changes
                        .iter()
                        .filter(|change| change.after.as_ref().is_some_and(|entry| entry.bound_to().is_some()))
                        .map(|change| change.key.clone())
                        .collect();
                    check_room(&world, &bound)?;
                    for change in &changes {
                        scheduler.affected(change, &world.view);
                    }
                    let after = scheduler.plan(&world.view, &waiting());
                    prop_assert!(after.writes.is_empty(), "not converged: {after:?}");
                    None
                }
            };
            if let Some(change) = change {
                scheduler.affected(&change, &world.view);
            }
        }
    }
}
