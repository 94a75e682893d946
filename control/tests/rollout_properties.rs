//! Rollouts under any order of plans, kubelets and wishes: never out of bounds, and converged in the end.

mod world;

use std::collections::BTreeSet;

use api::Key;
use api::deletion::Options;
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::json;
use world::World;

#[derive(Clone, Debug)]
enum Act {
    Image(u8),
    Broken,
    Scale(u8),
    Pause(bool),
    /// One controller plans one key.
    Step(usize),
    /// The kubelet sees to the pods whose names' last letters are in the mask.
    Kubelet(u8),
    Advance(u8),
    Delete(usize),
    Fail(usize),
    Ready(usize, bool),
}

/// What the controllers and a calm operator do.
fn calm() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (1u8..5).prop_map(Act::Image),
        1 => Just(Act::Broken),
        24 => any::<usize>().prop_map(Act::Step),
        10 => any::<u8>().prop_map(Act::Kubelet),
        1 => (1u8..60).prop_map(Act::Advance),
    ]
}

/// The same, with everything that may happen on a bad day.
fn wild() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => calm(),
        2 => (0u8..9).prop_map(Act::Scale),
        1 => any::<bool>().prop_map(Act::Pause),
        1 => any::<usize>().prop_map(Act::Delete),
        1 => any::<usize>().prop_map(Act::Fail),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(pod, ready)| Act::Ready(pod, ready)),
    ]
}

fn deployment(replicas: u8, strategy: &serde_json::Value, min_ready_seconds: u8) -> String {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "strategy": strategy, "minReadySeconds": min_ready_seconds,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "nginx:1"}]},
            },
        },
    })
    .to_string()
}

fn web() -> Key {
    Key::new("apps", "deployments", "default", "web")
}

fn perform(world: &mut World, act: &Act) {
    let nth = |world: &World, at: usize| {
        let keys = world.keys("", "pods");
        (!keys.is_empty()).then(|| keys[at % keys.len()].clone())
    };
    let image =
        |image: String| json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}});
    match act {
        Act::Image(number) => world.patch(&web(), &image(format!("nginx:{number}"))).unwrap(),
        Act::Broken => world.patch(&web(), &image("broken:1".into())).unwrap(),
        Act::Scale(replicas) => world.patch(&web(), &json!({"spec": {"replicas": replicas}})).unwrap(),
        Act::Pause(paused) => world.patch(&web(), &json!({"spec": {"paused": paused}})).unwrap(),
        Act::Step(choice) => world.step(*choice),
        Act::Kubelet(mask) => {
            world.kubelet(|key| key.name.bytes().last().is_some_and(|last| mask & 1 << (last % 8) != 0));
        }
        Act::Advance(seconds) => world.advance((*seconds).into()),
        Act::Delete(at) => {
            if let Some(key) = nth(world, *at) {
                world.delete(&key, &Options::default());
            }
        }
        Act::Fail(at) => {
            if let Some(key) = nth(world, *at) {
                world.set_phase(&key, "Failed");
            }
        }
        Act::Ready(at, ready) => {
            if let Some(key) = nth(world, *at) {
                world.set_ready(&key, *ready);
            }
        }
    }
}

fn unfinished(world: &World) -> Vec<&Pod> {
    let finished = |pod: &&Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        !matches!(phase, Some("Succeeded" | "Failed"))
    };
    world.view.pods().filter_map(|entry| entry.pod().map(|pod| &**pod)).filter(finished).collect()
}

fn active(world: &World) -> Vec<&Pod> {
    unfinished(world).into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect()
}

/// How many available pods are to stay: a set's pods beyond the number it is to have are as good as gone, and
/// one that gets ready in its last moments is no loss.
fn available(world: &World, min_ready_seconds: u8) -> usize {
    let now = world.view.now;
    let is_available = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        conditions.filter(|condition| condition.type_ == "Ready" && condition.status == "True").any(|condition| {
            let since = condition.last_transition_time.as_ref().map(|time| time.0);
            since.is_some_and(|since| now.duration_since(since).as_secs() >= min_ready_seconds.into())
        })
    };
    let sets = world.view.of_kind("apps", "replicasets").filter_map(|entry| Some((entry, entry.replica_set()?)));
    sets.map(|(entry, set)| {
        let pods = world.view.controlled_by(entry.uid()).filter_map(|entry| entry.pod());
        let alive = pods.filter(|pod| pod.metadata.deletion_timestamp.is_none() && is_available(pod));
        alive.count().min(set.spec.replicas.unwrap_or(1) as usize)
    })
    .sum()
}

fn images(pods: &[&Pod]) -> BTreeSet<String> {
    pods.iter().filter_map(|pod| pod.spec.as_ref()?.containers[0].image.clone()).collect()
}

fn is_complete(world: &World) -> bool {
    let conditions = world.json(&web()).unwrap()["status"]["conditions"].clone();
    let says = |reason: &str| conditions.as_array().into_iter().flatten().any(|it| it["reason"] == reason);
    says("NewReplicaSetAvailable") && images(&unfinished(world)).iter().all(|image| image == "nginx:9")
}

/// Ends all troubles, and asks for everything to be as wished within bounded time.
fn check_converges(world: &mut World, replicas: u8) -> Result<(), TestCaseError> {
    perform(world, &Act::Pause(false));
    perform(world, &Act::Scale(replicas));
    perform(world, &Act::Image(9));
    for _ in 0..3 * (usize::from(replicas) + 10) {
        for key in world.keys("", "pods") {
            let is_ready = world.view.get(&key).and_then(|entry| entry.pod()).is_some_and(|pod| {
                let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
                conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True")
            });
            if !is_ready {
                world.set_ready(&key, true);
            }
        }
        world.converge();
        if is_complete(world) {
            break;
        }
        world.advance(60);
    }
    let log = world.log.clone();
    let pods = active(world);
    prop_assert_eq!(pods.len(), usize::from(replicas), "{}", log);
    prop_assert!(images(&pods).iter().all(|image| image == "nginx:9"), "{}", log);
    let status = world.json(&web()).unwrap()["status"].clone();
    let count = |field: &str| status[field].as_u64().unwrap_or(0);
    for field in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
        prop_assert_eq!(count(field), u64::from(replicas), "{} in {}", field, status);
    }
    prop_assert_eq!(count("unavailableReplicas"), 0);
    prop_assert!(is_complete(world), "{}", status);
    let sets = world.keys("apps", "replicasets");
    let wanted = sets.iter().filter(|key| world.json(key).unwrap()["spec"]["replicas"] != 0).count();
    prop_assert_eq!(wanted, usize::from(replicas > 0));
    Ok(())
}

/// The same cases every time; `PROPTEST_CASES` and `SEED` search further.
fn config() -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1947));
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(48);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_rolling_update_stays_within_its_bounds(
        replicas in 1u8..8,
        surge in 0u8..4,
        unavailable in 0u8..4,
        min_ready_seconds in prop_oneof![Just(0u8), Just(20u8)],
        acts in proptest::collection::vec(calm(), 0..120),
    ) {
        let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        let mut world = World::new();
        world.apply(&deployment(replicas, &strategy, min_ready_seconds)).unwrap();
        let must_stay = usize::from(replicas.saturating_sub(unavailable));
        for act in &acts {
            let before = available(&world, min_ready_seconds);
            perform(&mut world, act);
            let after = available(&world, min_ready_seconds);
            prop_assert!(after >= before.min(must_stay), "{before} -> {after} available after {act:?}:\n{}", world.log);
            let there = active(&world).len();
            prop_assert!(there <= usize::from(replicas + surge), "{there} pods after {act:?}:\n{}", world.log);
        }
        check_converges(&mut world, replicas)?;
    }

    #[test]
    fn recreate_never_mixes_revisions(
        replicas in 1u8..6,
        acts in proptest::collection::vec(calm(), 0..120),
    ) {
        let mut world = World::new();
        world.apply(&deployment(replicas, &json!({"type": "Recreate"}), 0)).unwrap();
        for act in &acts {
            perform(&mut world, act);
            let pods = unfinished(&world);
            prop_assert!(images(&pods).len() <= 1, "{:?} after {act:?}:\n{}", images(&pods), world.log);
            prop_assert!(active(&world).len() <= usize::from(replicas));
        }
        check_converges(&mut world, replicas)?;
    }

    #[test]
    fn whatever_happens_it_converges(
        replicas in 0u8..8,
        surge in prop_oneof![(0u8..4).prop_map(|n| json!(n)), (0u8..200).prop_map(|n| json!(format!("{n}%")))],
        unavailable in prop_oneof![(1u8..4).prop_map(|n| json!(n)), (1u8..100).prop_map(|n| json!(format!("{n}%")))],
        acts in proptest::collection::vec(wild(), 0..120),
    ) {
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        let mut world = World::new();
        world.apply(&deployment(replicas, &strategy, 0)).unwrap();
        for act in &acts {
            perform(&mut world, act);
        }
        check_converges(&mut world, replicas)?;
    }
}
