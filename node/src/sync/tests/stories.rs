//! What must happen: one story each.

use serde_json::json;

use super::world::World;
use crate::sync::ProbeKind;

fn simple() -> World {
    World::new(json!({"containers": [{"name": "app", "image": "nginx:1"}]}))
}

#[test]
fn a_pod_gets_its_sandbox_then_its_container_and_is_running() {
    let mut world = simple();
    world.decide();
    assert_eq!(world.phase(), "Pending");
    assert_eq!(world.state("app"), "waiting ContainerCreating");
    world.settle();
    assert_eq!(world.steps, ["sandbox 0", "start app 0"]);
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.state("app"), "running");
    assert_eq!(world.condition("Ready"), "True");
    let status = world.status.as_ref().unwrap();
    assert_eq!(status.pod_ip.as_deref(), Some("10.244.0.5"));
    assert_eq!(status.host_ip.as_deref(), Some("192.168.0.1"));
    assert_eq!(world.container("app").container_id.as_deref(), Some("docker://c2"));
    assert_eq!(world.container("app").restart_count, 0);
}

#[test]
fn a_settled_pod_is_left_alone() {
    let mut world = simple();
    world.settle();
    let status = world.status.clone();
    let steps = world.steps.len();
    world.pass_in_steps(3600);
    assert_eq!(world.steps.len(), steps);
    assert_eq!(world.status, status);
}

#[test]
fn a_restarted_agent_touches_nothing_and_says_nothing_new() {
    let mut world = World::new(json!({"containers": [{
        "name": "app", "image": "nginx:1",
        "readinessProbe": {"tcpSocket": {"port": 80}}, "startupProbe": {"tcpSocket": {"port": 80}},
    }]}));
    world.settle();
    let id = world.running("app")[0].id.clone();
    world.memory.note_probe(&id, ProbeKind::Startup, true, "");
    world.memory.note_probe(&id, ProbeKind::Readiness, true, "");
    world.settle();
    assert_eq!(world.condition("Ready"), "True");
    let status = world.status.clone();
    let steps = world.steps.len();
    world.now += jiff::SignedDuration::from_secs(100);
    world.restart_agent();
    world.settle();
    assert_eq!(world.steps.len(), steps);
    assert_eq!(world.status, status);
}

#[test]
fn crashes_are_backed_off_10_s_doubling_to_5_min() {
    let mut world = simple();
    world.settle();
    let mut waits = Vec::new();
    for _ in 0..9 {
        world.exit_named("app", 1);
        let from = world.now;
        world.settle();
        if world.running("app").is_empty() {
            assert_eq!(world.state("app"), "waiting CrashLoopBackOff");
            assert_eq!(world.last_state("app"), "terminated Error 1");
            assert_eq!(world.phase(), "Running");
            assert_eq!(world.condition("Ready"), "False");
            let due = world.recheck_at.unwrap();
            world.now = due;
            world.settle();
        }
        assert_eq!(world.running("app").len(), 1);
        waits.push(world.now.duration_since(from).as_secs());
    }
    assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
    assert_eq!(world.container("app").restart_count, 9);
    assert!(world.reasons().contains(&"BackOff"));
    // Ten minutes of good running, and it is forgotten.
    world.pass(600);
    world.exit_named("app", 1);
    world.settle();
    assert_eq!(world.running("app").len(), 1);
}

#[test]
fn the_back_off_message_is_kubernetes_own() {
    let mut world = simple();
    world.settle();
    for _ in 0..2 {
        world.exit_named("app", 1);
        world.settle();
    }
    let waiting = world.container("app").state.as_ref().unwrap().waiting.clone().unwrap();
    let expected = "back-off 10s restarting failed container=app pod=web_default(u1)";
    assert_eq!(waiting.message.as_deref(), Some(expected));
    for _ in 0..3 {
        world.now = world.recheck_at.unwrap();
        world.settle();
        world.exit_named("app", 1);
        world.settle();
    }
    let waiting = world.container("app").state.as_ref().unwrap().waiting.clone().unwrap();
    assert!(waiting.message.unwrap().starts_with("back-off 1m20s restarting"));
}

#[test]
fn the_back_off_survives_a_restart_of_the_agent() {
    let mut world = simple();
    world.settle();
    for _ in 0..3 {
        world.exit_named("app", 1);
        world.settle();
        if world.running("app").is_empty() {
            world.now = world.recheck_at.unwrap();
            world.settle();
        }
    }
    world.exit_named("app", 1);
    world.restart_agent();
    world.settle();
    assert_eq!(world.state("app"), "waiting CrashLoopBackOff");
    world.pass(39);
    assert!(world.running("app").is_empty());
    world.pass(1);
    assert_eq!(world.running("app").len(), 1);
    assert_eq!(world.container("app").restart_count, 4);
}

#[test]
fn init_containers_run_in_order_and_to_success() {
    let mut world = World::new(json!({
        "initContainers": [{"name": "one", "image": "i"}, {"name": "two", "image": "i"}],
        "containers": [{"name": "app", "image": "nginx:1"}],
    }));
    world.settle();
    assert_eq!(world.steps, ["sandbox 0", "start one 0"]);
    assert_eq!(world.phase(), "Pending");
    assert_eq!(world.state("two"), "waiting PodInitializing");
    assert_eq!(world.state("app"), "waiting PodInitializing");
    assert_eq!(world.condition("Initialized"), "False");
    world.exit_named("one", 1);
    world.settle();
    assert_eq!(world.steps.last().unwrap(), "start one 1");
    world.exit_named("one", 0);
    world.settle();
    world.exit_named("two", 0);
    world.settle();
    assert_eq!(world.steps[3..], ["start two 0", "start app 0"]);
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.condition("Initialized"), "True");
    assert_eq!(world.state("one"), "terminated Completed 0");
}

#[test]
fn a_sidecar_runs_beside_and_is_restarted() {
    let mut world = World::new(json!({
        "initContainers": [{"name": "side", "image": "s", "restartPolicy": "Always"}, {"name": "one", "image": "i"}],
        "containers": [{"name": "app", "image": "nginx:1"}],
    }));
    world.settle();
    assert_eq!(world.steps, ["sandbox 0", "start side 0", "start one 0"]);
    world.exit_named("one", 0);
    world.settle();
    assert_eq!(world.phase(), "Running");
    world.exit_named("side", 1);
    world.settle();
    assert_eq!(world.steps.last().unwrap(), "start side 1");
}

#[test]
fn a_dead_sandbox_is_replaced_and_the_container_with_it() {
    let mut world = simple();
    world.settle();
    world.exit_named("POD", 137);
    world.settle();
    assert_eq!(world.steps[2..], ["kill app", "sandbox 1", "sweep 1", "start app 1"]);
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.container("app").restart_count, 1);
    assert!(world.reasons().contains(&"SandboxChanged"));
}

#[test]
fn images_that_cannot_be_had_are_backed_off() {
    let mut world = simple();
    world.broken.insert("nginx:1".into(), ("ErrImagePull", "no such host".into()));
    world.settle();
    assert_eq!(world.state("app"), "waiting ErrImagePull");
    assert_eq!(world.phase(), "Pending");
    world.pass(3);
    assert_eq!(world.state("app"), "waiting ImagePullBackOff");
    world.pass(7);
    assert_eq!(world.state("app"), "waiting ErrImagePull");
    assert_eq!(world.steps.iter().filter(|step| *step == "start app 0").count(), 2);
    world.broken.clear();
    world.pass(20);
    assert_eq!(world.state("app"), "running");
    assert_eq!(world.container("app").restart_count, 0);
}

#[test]
fn a_command_that_cannot_run_is_an_attempt() {
    let mut world = simple();
    world.cannot_start = true;
    world.settle();
    assert_eq!(world.container("app").restart_count, 1);
    assert_eq!(world.state("app"), "waiting CrashLoopBackOff");
    assert_eq!(world.last_state("app"), "terminated ContainerCannotRun 127");
    assert_eq!(world.phase(), "Running");
    world.cannot_start = false;
    world.pass(10);
    assert_eq!(world.state("app"), "running");
}

#[test]
fn a_missing_config_map_is_waited_for() {
    let mut world = World::new(json!({"containers": [{
        "name": "app", "image": "nginx:1",
        "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "a"}}}],
    }]}));
    world.settle();
    assert_eq!(world.state("app"), "waiting CreateContainerConfigError");
    let waiting = world.container("app").state.as_ref().unwrap().waiting.clone().unwrap();
    assert_eq!(waiting.message.as_deref(), Some("configmap \"conf\" not found"));
    world.pass(60);
    assert_eq!(world.reasons(), ["Failed"]);
    world.put("configmaps/default/conf", json!({"metadata": {"name": "conf"}, "data": {"b": "1"}}));
    world.settle();
    let waiting = world.container("app").state.as_ref().unwrap().waiting.clone().unwrap();
    assert_eq!(waiting.message.as_deref(), Some("couldn't find key a in ConfigMap default/conf"));
    world.put("configmaps/default/conf", json!({"metadata": {"name": "conf"}, "data": {"a": "1"}}));
    world.settle();
    assert_eq!(world.state("app"), "running");
}

#[test]
fn a_missing_volume_source_holds_the_pod_back() {
    let mut world = World::new(json!({
        "containers": [{"name": "app", "image": "n:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
    }));
    world.pass(30);
    assert!(world.steps.is_empty());
    assert_eq!(world.reasons(), ["FailedMount"]);
    assert_eq!(world.notes[0].message, "MountVolume.SetUp failed for volume \"v\" : secret \"s\" not found");
    world.put("secrets/default/s", json!({"metadata": {"name": "s"}, "data": {"k": "dg=="}}));
    world.settle();
    assert_eq!(world.state("app"), "running");
    // Its files follow the secret, and then rest.
    world.put("secrets/default/s", json!({"metadata": {"name": "s"}, "data": {"k": "dw=="}}));
    world.settle();
    world.settle();
    assert_eq!(world.steps, ["sandbox 0", "start app 0", "refresh"]);
    // A secret that goes leaves the files as they were.
    world.work.items.clear();
    world.settle();
    assert_eq!(world.steps.len(), 3);
}

#[test]
fn readiness_and_liveness_act_as_they_should() {
    let mut world = World::new(json!({"containers": [{
        "name": "app", "image": "nginx:1",
        "startupProbe": {"tcpSocket": {"port": 80}},
        "livenessProbe": {"tcpSocket": {"port": 80}},
        "readinessProbe": {"tcpSocket": {"port": 80}},
    }]}));
    world.settle();
    assert_eq!(world.probes, ["app Startup"]);
    assert_eq!(world.container("app").started, Some(false));
    let id = world.running("app")[0].id.clone();
    world.memory.note_probe(&id, ProbeKind::Startup, true, "");
    world.settle();
    assert_eq!(world.probes, ["app Liveness", "app Readiness"]);
    assert_eq!((world.condition("Ready"), world.phase()), ("False", "Running"));
    world.memory.note_probe(&id, ProbeKind::Readiness, true, "");
    world.settle();
    assert_eq!(world.condition("Ready"), "True");
    world.memory.note_probe(&id, ProbeKind::Liveness, false, "refused");
    world.settle();
    assert_eq!(world.steps[2..], ["stop app", "start app 1"]);
    assert_eq!(world.condition("Ready"), "False");
    assert_eq!(world.last_state("app"), "terminated Error 143");
    let killing = world.notes.iter().find(|note| note.reason == "Killing").unwrap();
    assert_eq!(killing.message, "Container app failed liveness probe, will be restarted");
}

#[test]
fn a_new_image_restarts_the_container() {
    let mut world = simple();
    world.settle();
    world.pod.spec.as_mut().unwrap().containers[0].image = Some("nginx:2".into());
    world.settle();
    assert_eq!(world.steps[2..], ["stop app", "start app 1"]);
    assert_eq!(world.container("app").image, "nginx:2");
}

#[test]
fn one_previous_attempt_is_kept() {
    let mut world = simple();
    world.set_policy(std::time::Duration::ZERO, std::time::Duration::ZERO);
    world.settle();
    for _ in 0..5 {
        world.exit_named("app", 1);
        world.settle();
    }
    let mut attempts: Vec<u32> =
        world.containers.iter().filter(|one| one.labels.container == "app").map(|one| one.labels.attempt).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [4, 5]);
}

#[test]
fn a_container_that_was_removed_by_hand_is_made_again_under_a_new_number() {
    let mut world = simple();
    world.settle();
    world.containers.retain(|container| container.labels.container != "app");
    world.settle();
    assert_eq!(world.steps.last().unwrap(), "start app 1");
    assert_eq!(world.container("app").restart_count, 1);
}

#[test]
fn readiness_gates_of_others_are_waited_for() {
    let mut world = World::new(json!({
        "readinessGates": [{"conditionType": "example.com/ok"}],
        "containers": [{"name": "app", "image": "nginx:1"}],
    }));
    world.settle();
    assert_eq!((world.condition("ContainersReady"), world.condition("Ready")), ("True", "False"));
    let mut status = world.status.clone().unwrap();
    status.conditions.get_or_insert_default().push(k8s_openapi::api::core::v1::PodCondition {
        type_: "example.com/ok".into(),
        status: "True".into(),
        ..Default::default()
    });
    world.pod.status = Some(status);
    world.settle();
    assert_eq!(world.condition("Ready"), "True");
}
