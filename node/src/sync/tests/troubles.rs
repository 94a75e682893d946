//! What clocks, engines and objects may do that is not as it should be: one story each.

use jiff::SignedDuration;
use serde_json::json;

use super::world::World;
use crate::runtime::State;
use crate::sync::{ProbeKind, Slot};

const YEAR_S: i64 = 366 * 24 * 3600;

fn of_image(image: &str) -> World {
    World::new(json!({"containers": [{"name": "app", "image": image}]}))
}

#[test]
fn a_grace_period_beyond_all_measure_is_a_year() {
    let probe = json!({"tcpSocket": {"port": 80}, "terminationGracePeriodSeconds": i64::MAX});
    let mut world = World::new(json!({
        "activeDeadlineSeconds": i64::MAX,
        "containers": [{"name": "app", "image": "stubborn", "livenessProbe": probe}],
    }));
    world.settle();
    let id = world.running("app")[0].id.clone();
    world.memory.note_probe(&id, ProbeKind::Liveness, false, "refused");
    world.settle();
    world.pass(YEAR_S - 1);
    assert_eq!(world.steps[2..], ["stop app"]);
    world.pass(1);
    assert_eq!(world.steps[2..], ["stop app", "kill app", "start app 1"]);
}

#[test]
fn a_pod_with_a_grace_period_beyond_all_measure_gets_its_result() {
    let mut world = World::new(json!({
        "restartPolicy": "Never", "terminationGracePeriodSeconds": i64::MAX,
        "containers": [{"name": "app", "image": "job"}],
    }));
    world.settle();
    world.exit_named("app", 0);
    world.settle();
    assert_eq!(world.phase(), "Succeeded");
}

#[test]
fn what_a_decision_has_begun_that_panics_does_not_count_as_begun() {
    let mut world = of_image("nginx:1");
    world.settle();
    let decided: Option<()> = world.memory.guarded(|memory| {
        memory.begin(Slot::Sweep);
        panic!("this panic is part of the test");
    });
    assert!(decided.is_none() && !world.memory.is_busy());
}

#[test]
fn a_signal_that_cannot_be_delivered_is_sent_again_after_a_pause_that_grows() {
    let mut world = of_image("nginx:1");
    world.settle();
    world.delete(3600);
    for pause_s in [2, 4, 6] {
        world.decide();
        assert_eq!(world.pending.len(), 1, "before the pause of {pause_s} s");
        world.fail(0);
        world.decide();
        assert!(world.pending.is_empty(), "in the pause of {pause_s} s");
        assert_eq!(world.recheck_at, Some(world.now + SignedDuration::from_secs(pause_s)));
        world.now += SignedDuration::from_secs(pause_s);
    }
    world.settle();
    assert!(world.object_deleted);
}

#[test]
fn a_leftover_that_cannot_be_removed_is_tried_again_after_a_pause() {
    let mut world = of_image("nginx:1");
    world.settle();
    let at = world.now;
    let app = world.containers.iter_mut().find(|container| container.labels.container == "app").unwrap();
    app.state = State::Created { at, error: None };
    world.decide();
    assert_eq!(world.steps[2..], ["sweep 1"]);
    world.fail(0);
    world.decide();
    assert!(world.pending.is_empty());
    assert_eq!(world.recheck_at, Some(world.now + SignedDuration::from_secs(2)));
    world.pass(2);
    assert_eq!(world.steps[2..], ["sweep 1", "sweep 1", "start app 1"]);
}

#[test]
fn a_container_that_could_not_be_looked_at_holds_its_pod_back() {
    let mut world = of_image("nginx:1");
    world.settle();
    let status = world.status.clone();
    let index = world.containers.iter().position(|container| container.labels.container == "app").unwrap();
    let hidden = world.containers.remove(index);
    world.restart_agent();
    world.unseen = true;
    world.pass(60);
    assert_eq!((world.steps.len(), &world.status), (2, &status), "nothing is started, and nothing is told");
    world.delete(30);
    world.pass(60);
    assert_eq!(world.steps.len(), 2, "nobody knows whether it runs");
    world.containers.push(hidden);
    world.unseen = false;
    world.settle();
    assert_eq!(world.steps[2..], ["kill app", "clean 2", "delete"]);
}

#[test]
fn a_pod_whose_address_could_not_be_looked_up_is_probed_once_it_is_known() {
    for on_host in [false, true] {
        let mut world = World::new(json!({
            "hostNetwork": on_host,
            "containers": [{"name": "app", "image": "nginx:1", "livenessProbe": {"tcpSocket": {"port": 80}}}],
        }));
        world.settle();
        let index = world.containers.iter().position(|container| container.labels.container == "POD").unwrap();
        let hidden = world.containers.remove(index);
        world.restart_agent();
        world.unseen = true;
        world.pass(60);
        assert_eq!(world.probes.len(), usize::from(on_host), "a Pod on the host network has the host's address");
        world.containers.push(hidden);
        world.unseen = false;
        world.settle();
        assert_eq!((world.probes.len(), world.steps.len()), (1, 2));
    }
}

#[test]
fn what_probes_had_said_of_a_container_that_could_not_be_looked_at_is_kept() {
    let probe = json!({"tcpSocket": {"port": 80}});
    let mut world = World::new(json!({
        "containers": [{"name": "app", "image": "nginx:1", "startupProbe": probe, "readinessProbe": probe}],
    }));
    world.settle();
    let id = world.running("app")[0].id.clone();
    world.memory.note_probe(&id, ProbeKind::Startup, true, "");
    world.memory.note_probe(&id, ProbeKind::Readiness, true, "");
    world.settle();
    let status = world.status.clone();
    let index = world.containers.iter().position(|container| container.id == id).unwrap();
    let hidden = world.containers.remove(index);
    world.restart_agent();
    world.unseen = true;
    world.pass(60);
    world.containers.push(hidden);
    world.unseen = false;
    world.settle();
    assert_eq!(world.condition("Ready"), "True");
    assert_eq!((&world.status, world.probes), (&status, vec!["app Readiness".to_owned()]));
}

#[test]
fn a_step_of_the_wall_clock_moves_no_wait() {
    for step_s in [-3600, 3600] {
        let step = SignedDuration::from_secs(step_s);
        let mut world = of_image("stubborn");
        world.settle();
        world.delete(30);
        world.settle();
        world.wall_ahead = step;
        world.pass(29);
        assert_eq!(world.steps[2..], ["stop app"], "{step_s}");
        world.pass(1);
        assert_eq!(world.steps[2..], ["stop app", "kill app", "clean 2", "delete"], "{step_s}");

        let mut world = of_image("nginx:1");
        world.settle();
        world.exit_named("app", 1);
        world.settle();
        for wait_s in [10, 20] {
            world.exit_named("app", 1);
            world.settle();
            world.wall_ahead += step;
            world.pass(wait_s - 1);
            assert_eq!(world.state("app"), "waiting CrashLoopBackOff", "{step_s}");
            world.pass(1);
            assert_eq!(world.state("app"), "running", "{step_s}");
        }

        let mut world = World::new(json!({
            "activeDeadlineSeconds": 60, "containers": [{"name": "app", "image": "nginx:1"}],
        }));
        world.settle();
        world.wall_ahead = step;
        world.pass(59);
        assert_eq!(world.phase(), "Running", "{step_s}");
        world.pass(1);
        assert_eq!(world.phase(), "Failed", "{step_s}");
    }
}

#[test]
fn of_a_pod_that_may_be_anothers_by_now_nothing_is_started_and_what_runs_goes_on_and_may_end() {
    let mut world = of_image("nginx:1");
    world.unconfirmed = true;
    world.pass_in_steps(3600);
    assert_eq!(world.steps, [""; 0]);
    world.unconfirmed = false;
    world.settle();
    assert_eq!(world.steps, ["sandbox 0", "start app 0"]);

    world.unconfirmed = true;
    world.pass_in_steps(3600);
    assert_eq!((world.steps.len(), world.state("app").as_str()), (2, "running"));
    world.exit_named("app", 1);
    world.pass_in_steps(3600);
    assert_eq!(world.steps.len(), 2, "nor is a container started again");
    world.delete(10);
    world.settle();
    assert!(world.object_deleted && world.containers.is_empty());
}
