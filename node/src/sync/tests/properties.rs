//! What must never happen, whatever the world does: two running attempts of one container. And what must finally be:
//! a Pod that runs, or one that is gone.

use proptest::prelude::*;
use serde_json::json;

use super::world::World;

#[derive(Clone, Debug)]
enum Blow {
    Decide,
    Finish(usize),
    Fail(usize),
    Exit { container: usize, code: i32 },
    Lose(usize),
    Pass(i64),
    RestartAgent,
}

const NAMES: [&str; 4] = ["POD", "init", "app", "other"];

fn blow() -> impl Strategy<Value = Blow> {
    prop_oneof![
        8 => Just(Blow::Decide),
        8 => (0..8usize).prop_map(Blow::Finish),
        2 => (0..8usize).prop_map(Blow::Fail),
        3 => (0..4usize, 0..3i32).prop_map(|(container, code)| Blow::Exit { container, code }),
        1 => (0..8usize).prop_map(Blow::Lose),
        3 => (0..400i64).prop_map(Blow::Pass),
        1 => Just(Blow::RestartAgent),
    ]
}

fn strike(world: &mut World, blow: &Blow) {
    match blow {
        Blow::Decide => world.decide(),
        Blow::Finish(index) if !world.pending.is_empty() => world.finish(index % world.pending.len()),
        Blow::Fail(index) if !world.pending.is_empty() => world.fail(index % world.pending.len()),
        Blow::Finish(_) | Blow::Fail(_) => {}
        Blow::Exit { container, code } => world.exit_named(NAMES[*container], *code),
        Blow::Lose(index) if !world.containers.is_empty() => {
            let index = index % world.containers.len();
            world.containers.remove(index);
        }
        Blow::Lose(_) => {}
        Blow::Pass(seconds) => world.now += jiff::SignedDuration::from_secs(*seconds),
        Blow::RestartAgent => world.restart_agent(),
    }
}

fn check(world: &World) -> Result<(), TestCaseError> {
    for name in NAMES {
        prop_assert!(world.running(name).len() <= 1, "two attempts of {name} run: {:?}", world.steps);
    }
    Ok(())
}

fn pod(policy: &str) -> World {
    World::new(json!({
        "restartPolicy": policy,
        "initContainers": [{"name": "init", "image": "i"}],
        "containers": [{"name": "app", "image": "nginx:1"}, {"name": "other", "image": "nginx:1"}],
    }))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn never_two_attempts_and_finally_running(blows in prop::collection::vec(blow(), 1..80)) {
        let mut world = pod("Always");
        for blow in &blows {
            strike(&mut world, blow);
            check(&world)?;
        }
        // The world calms down: init containers succeed, nothing else ends.
        while !world.pending.is_empty() {
            world.finish(0);
        }
        for _ in 0..20 {
            world.exit_named("init", 0);
            world.pass_in_steps(400);
            check(&world)?;
        }
        prop_assert_eq!(world.phase(), "Running");
        prop_assert_eq!(world.condition("Ready"), "True");
        for name in ["POD", "app", "other"] {
            prop_assert_eq!(world.running(name).len(), 1);
        }
        let (status, steps) = (world.status.clone(), world.steps.len());
        world.pass_in_steps(1000);
        prop_assert_eq!(world.status, status);
        prop_assert_eq!(world.steps.len(), steps, "a converged Pod is left alone");
    }

    #[test]
    fn a_deleted_pod_is_finally_gone(blows in prop::collection::vec(blow(), 1..60), grace in 0..60i64) {
        let mut world = pod("Always");
        for (index, blow) in blows.iter().enumerate() {
            if index == blows.len() / 2 {
                world.delete(grace);
            }
            strike(&mut world, blow);
            check(&world)?;
        }
        world.delete(grace);
        for _ in 0..10 {
            while !world.pending.is_empty() {
                world.finish(0);
            }
            world.pass_in_steps(400);
        }
        prop_assert!(world.containers.is_empty(), "left behind after {:?}", world.steps);
        prop_assert!(world.object_deleted);
    }

    #[test]
    fn a_pod_that_never_restarts_gets_a_result_and_keeps_it(blows in prop::collection::vec(blow(), 1..60)) {
        let mut world = pod("Never");
        let mut result: Option<String> = None;
        for blow in &blows {
            strike(&mut world, blow);
            check(&world)?;
            let phase = world.phase().to_owned();
            if let Some(result) = &result {
                prop_assert_eq!(result, &phase);
            } else if phase == "Succeeded" || phase == "Failed" {
                result = Some(phase);
            }
        }
    }
}
