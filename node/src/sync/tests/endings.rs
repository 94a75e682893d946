//! How Pods end: one story each.

use jiff::SignedDuration;
use serde_json::json;

use super::world::World;

fn simple() -> World {
    World::new(json!({"containers": [{"name": "app", "image": "nginx:1"}]}))
}

#[test]
fn restart_policies_decide_the_result() {
    for (policy, code, phase, state) in [
        ("Never", 0, "Succeeded", "terminated Completed 0"),
        ("Never", 3, "Failed", "terminated Error 3"),
        ("OnFailure", 0, "Succeeded", "terminated Completed 0"),
        ("OnFailure", 3, "Running", "running"),
        ("Always", 0, "Running", "running"),
    ] {
        let mut world = World::new(json!({
            "restartPolicy": policy, "containers": [{"name": "app", "image": "job"}],
        }));
        world.settle();
        world.exit_named("app", code);
        world.settle();
        assert_eq!((world.phase(), world.state("app").as_str()), (phase, state), "{policy} {code}");
        // The sandbox of a finished Pod ends, the dead container stays for its logs.
        let sandboxes = world.running("POD").len();
        assert_eq!(sandboxes, usize::from(phase == "Running"), "{policy} {code}");
        assert_eq!(world.containers.len(), if phase == "Running" { 3 } else { 2 });
    }
}

/// Whoever sees a final phase may remove the Pod's object, and give its name to another.
#[test]
fn a_result_is_told_once_nothing_of_the_pod_runs_and_not_before() {
    let side = json!({"name": "side", "image": "stubborn", "restartPolicy": "Always"});
    let mut world = World::new(json!({
        "restartPolicy": "Never", "initContainers": [side], "containers": [{"name": "app", "image": "job"}],
    }));
    world.settle();
    world.exit_named("app", 0);
    world.settle();
    world.pass(29);
    assert_eq!((world.phase(), world.condition("Ready")), ("Running", "False"), "its sidecar has its grace");
    world.now += SignedDuration::from_secs(1);
    world.decide();
    assert_eq!(world.steps.last().unwrap(), "kill side");
    world.finish(0);
    world.decide();
    assert_eq!((world.steps.last().unwrap().as_str(), world.phase()), ("kill pod", "Running"));
    world.settle();
    assert_eq!((world.phase(), world.running("POD").len()), ("Succeeded", 0));
}

#[test]
fn a_pod_out_of_time_has_not_failed_while_a_start_is_under_way() {
    let mut world = World::new(json!({
        "activeDeadlineSeconds": 60, "containers": [{"name": "app", "image": "nginx:1"}],
    }));
    world.decide();
    world.finish(0);
    world.decide();
    assert_eq!(world.steps, ["sandbox 0", "start app 0"]);
    world.exit_named("POD", 137);
    world.now += SignedDuration::from_secs(60);
    world.decide();
    let reason = |world: &World| world.status.as_ref().and_then(|status| status.reason.clone());
    assert_eq!((world.phase(), reason(&world)), ("Pending", None), "what is started yet may run");
    world.finish(0);
    world.settle();
    assert_eq!((world.phase(), reason(&world).as_deref()), ("Failed", Some("DeadlineExceeded")));
    assert!(world.running("app").is_empty());
}

#[test]
fn a_deleted_pod_has_its_result_when_nothing_is_left_of_it() {
    let mut world = World::new(json!({"restartPolicy": "Never", "containers": [{"name": "app", "image": "job"}]}));
    world.settle();
    world.delete(30);
    world.decide();
    world.finish(0);
    world.decide();
    assert_eq!((world.steps.last().unwrap().as_str(), world.phase()), ("clean 2", "Running"), "its sandbox runs");
    world.settle();
    assert_eq!((world.phase(), world.state("app").as_str()), ("Failed", "terminated Error 143"));
}

#[test]
fn a_finished_pod_stays_finished_whatever_becomes_of_its_containers() {
    let mut world = World::new(json!({"restartPolicy": "Never", "containers": [{"name": "app", "image": "job"}]}));
    world.settle();
    world.exit_named("app", 0);
    world.settle();
    let status = world.status.clone();
    world.containers.clear();
    world.restart_agent();
    world.pass(60);
    assert_eq!(world.status, status);
    assert!(world.containers.is_empty());
}

#[test]
fn that_memory_was_short_may_be_told_late_and_is_never_taken_back() {
    for policy in ["Never", "Always"] {
        let mut world = World::new(json!({
            "restartPolicy": policy, "containers": [{"name": "app", "image": "job"}],
        }));
        let end = |world: &World| if policy == "Never" { world.state("app") } else { world.last_state("app") };
        world.settle();
        world.exit_named("app", 137);
        world.settle();
        assert_eq!(end(&world), "terminated Error 137", "{policy}");
        world.say_out_of_memory("app", true);
        world.pass(60);
        assert_eq!(end(&world), "terminated OOMKilled 137", "{policy}");
        world.say_out_of_memory("app", false);
        world.restart_agent();
        world.pass(60);
        assert_eq!(end(&world), "terminated OOMKilled 137", "{policy}");
    }
}

#[test]
fn a_failing_init_container_fails_a_pod_that_never_restarts() {
    let mut world = World::new(json!({
        "restartPolicy": "Never",
        "initContainers": [{"name": "one", "image": "i"}],
        "containers": [{"name": "app", "image": "nginx:1"}],
    }));
    world.settle();
    world.exit_named("one", 2);
    world.settle();
    assert_eq!(world.phase(), "Failed");
    assert!(world.running("POD").is_empty());
}

#[test]
fn deletion_stops_cleans_and_then_deletes_the_object() {
    let mut world = simple();
    world.settle();
    world.delete(30);
    world.settle();
    assert_eq!(world.steps[2..], ["stop app", "clean 2", "delete"]);
    assert!(world.object_deleted && !world.forgotten);
    world.removed = true;
    world.settle();
    assert!(world.forgotten);
}

#[test]
fn a_stubborn_container_is_killed_at_the_deadline() {
    let mut world = World::new(json!({"containers": [{"name": "app", "image": "stubborn"}]}));
    world.settle();
    world.delete(30);
    world.settle();
    world.pass(29);
    assert_eq!(world.steps.last().unwrap(), "stop app");
    world.pass(1);
    assert_eq!(world.steps[2..], ["stop app", "kill app", "clean 2", "delete"]);
}

#[test]
fn the_grace_period_is_kept_though_timestamps_have_whole_seconds() {
    let mut world = World::new(json!({"containers": [{"name": "app", "image": "stubborn"}]}));
    world.now += SignedDuration::from_millis(900);
    world.settle();
    world.delete(3);
    world.decide();
    world.now += SignedDuration::from_millis(2950);
    world.settle();
    assert_eq!(world.steps[2..], ["stop app"]);
    world.now += SignedDuration::from_millis(60);
    world.settle();
    assert_eq!(world.steps[2..], ["stop app", "kill app", "clean 2", "delete"]);
}

#[test]
fn an_agent_that_starts_anew_does_not_begin_the_grace_period_again() {
    let mut world = World::new(json!({"containers": [{"name": "app", "image": "stubborn"}]}));
    world.settle();
    world.delete(30);
    world.pass(30);
    assert_eq!(world.steps[2..], ["stop app"]);
    world.pass(1);
    assert_eq!(world.steps[2..], ["stop app", "kill app", "clean 2", "delete"]);
}

#[test]
fn deletion_at_once_does_not_ask() {
    let mut world = World::new(json!({"containers": [{"name": "app", "image": "stubborn"}]}));
    world.settle();
    world.delete(0);
    world.settle();
    assert_eq!(world.steps[2..], ["kill app", "clean 2", "delete"]);
}

#[test]
fn a_hook_runs_before_the_stop_signal() {
    let mut world = World::new(json!({"containers": [{
        "name": "app", "image": "nginx:1", "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
    }]}));
    world.settle();
    world.delete(30);
    world.settle();
    assert_eq!(world.steps[2..], ["prestop app", "stop app", "clean 2", "delete"]);
}

#[test]
fn a_hook_that_hangs_is_cut_off_by_the_kill() {
    let mut world = World::new(json!({"containers": [{
        "name": "app", "image": "nginx:1", "lifecycle": {"preStop": {"sleep": {"seconds": 1000}}},
    }]}));
    world.settle();
    world.delete(30);
    world.decide();
    assert_eq!(world.pending.len(), 1);
    world.now += SignedDuration::from_secs(31);
    world.decide();
    assert_eq!(world.steps[2..], ["prestop app", "kill app"]);
}

#[test]
fn a_start_under_way_is_given_up_for_a_deletion() {
    let mut world = simple();
    world.decide();
    world.finish(0);
    world.decide();
    assert_eq!(world.steps, ["sandbox 0", "start app 0"]);
    world.delete(30);
    world.decide();
    let cancel = world.pending.iter().position(|step| matches!(step, crate::sync::Step::CancelStart { .. })).unwrap();
    world.finish(cancel);
    world.settle();
    assert_eq!(world.steps[2..], ["cancel app", "clean 1", "delete"]);
}

#[test]
fn a_pod_whose_object_vanished_is_ended_without_asking_the_api() {
    let mut world = simple();
    world.settle();
    world.removed = true;
    world.settle();
    assert_eq!(world.steps[2..], ["stop app", "clean 2"]);
    assert!(world.forgotten);
}

#[test]
fn a_pod_out_of_time_fails() {
    let mut world = World::new(json!({
        "activeDeadlineSeconds": 60, "containers": [{"name": "app", "image": "nginx:1"}],
    }));
    world.settle();
    world.pass(59);
    assert_eq!(world.phase(), "Running");
    world.pass(1);
    assert_eq!(world.phase(), "Failed");
    assert_eq!(world.status.as_ref().unwrap().reason.as_deref(), Some("DeadlineExceeded"));
    assert!(world.running("app").is_empty() && world.running("POD").is_empty());
}
