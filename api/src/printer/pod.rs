//! How Pods are printed: the status word above all. Pure.

use super::{AGE, Column, NAME, Printed, Row, cell, human_duration};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodSpec, PodStatus};
use serde_json::Value;

impl Printed for Pod {
    const COLUMNS: &'static [Column] = &[
        NAME,
        Column::text("Ready", "How many containers are ready, of how many there are."),
        Column::text("Status", "What the Pod is doing, in one word."),
        Column::text("Restarts", "How often its containers were restarted, and how long ago the last one was."),
        AGE,
        Column::text("IP", "Its address.").wide(),
        Column::text("Node", "The node that it runs on.").wide(),
        Column::text("Nominated Node", "The node that is being made free for it.").wide(),
        Column::text("Readiness Gates", "How many of its readiness gates are passed.").wide(),
    ];

    fn row(self, now: Timestamp) -> Row {
        let pod = self;
        let (spec, status) = (pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
        let life = life(&spec, &status, pod.metadata.deletion_timestamp.is_some());
        let restarts = match life.last_restart.filter(|_| life.restarts > 0) {
            Some(last) => format!("{} ({} ago)", life.restarts, human_duration(now.duration_since(last))),
            None => life.restarts.to_string(),
        };
        let ip =
            status.pod_ips.as_ref().and_then(|ips| ips.first()).map(|ip| ip.ip.as_str()).or(status.pod_ip.as_deref());
        let cells = vec![
            cell::name(&pod.metadata),
            format!("{}/{}", life.ready, life.containers).into(),
            life.word.into(),
            restarts.into(),
            cell::age(&pod.metadata, now),
            cell::or_none(ip),
            cell::or_none(spec.node_name.as_deref()),
            cell::or_none(status.nominated_node_name.as_deref()),
            readiness_gates(&spec, &status),
        ];
        let completed = match status.phase.as_deref() {
            Some("Succeeded") => Some(("Succeeded", "The pod has completed successfully.")),
            Some("Failed") => Some(("Failed", "The pod failed.")),
            _ => None,
        };
        Row { cells, completed }
    }
}

/// What the containers tell of a Pod's life.
struct Life {
    word: String,
    containers: usize,
    ready: usize,
    restarts: i32,
    last_restart: Option<Timestamp>,
}

impl Life {
    fn restarted(&mut self, container: &ContainerStatus) {
        self.restarts += container.restart_count;
        let ended = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let ended = ended.and_then(|terminated| terminated.finished_at.as_ref()).map(|time| time.0);
        self.last_restart = self.last_restart.max(ended);
    }
}

fn life(spec: &PodSpec, status: &PodStatus, deleted: bool) -> Life {
    let phase = status.phase.as_deref().unwrap_or("");
    let reason = status.reason.as_deref().filter(|reason| !reason.is_empty());
    let gated = condition(status, "PodScheduled").is_some_and(|(_, reason)| reason == Some("SchedulingGated"));
    let mut life = Life {
        word: if gated { "SchedulingGated" } else { reason.unwrap_or(phase) }.into(),
        containers: spec.containers.len() + spec.init_containers.iter().flatten().filter(|c| is_sidecar(c)).count(),
        ready: 0,
        restarts: 0,
        last_restart: None,
    };
    let initializing = follow_init_containers(spec, status, &mut life);
    if !initializing || condition(status, "Initialized").is_some_and(|(status, _)| status == "True") {
        follow_containers(spec, status, &mut life);
    }
    if deleted && reason == Some("NodeLost") {
        life.word = "Unknown".into();
    } else if deleted && !matches!(phase, "Succeeded" | "Failed") {
        life.word = "Terminating".into();
    }
    life
}

/// An init container that goes on running beside the others.
fn is_sidecar(container: &k8s_openapi::api::core::v1::Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn sidecar_named(spec: &PodSpec, name: &str) -> bool {
    spec.init_containers.iter().flatten().any(|container| container.name == name && is_sidecar(container))
}

/// Looks at the init containers up to the first that is not done; answers whether there is one.
fn follow_init_containers(spec: &PodSpec, status: &PodStatus, life: &mut Life) -> bool {
    let all = spec.init_containers.as_ref().map_or(0, Vec::len);
    for (index, container) in status.init_container_statuses.iter().flatten().enumerate() {
        life.restarted(container);
        let none = ContainerState::default();
        let state = container.state.as_ref().unwrap_or(&none);
        if state.terminated.as_ref().is_some_and(|terminated| terminated.exit_code == 0) {
            continue;
        }
        if sidecar_named(spec, &container.name) && container.started == Some(true) {
            life.ready += usize::from(container.ready);
            continue;
        }
        let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
        life.word = match (end(state), waiting.filter(|reason| !matches!(*reason, "" | "PodInitializing"))) {
            (Some(end), _) => format!("Init:{end}"),
            (None, Some(reason)) => format!("Init:{reason}"),
            (None, None) => format!("Init:{index}/{all}"),
        };
        return true;
    }
    false
}

/// Looks at the containers proper; of those that do not run, the first gives the word.
fn follow_containers(spec: &PodSpec, status: &PodStatus, life: &mut Life) {
    (life.restarts, life.last_restart) = (0, None);
    let inits = status.init_container_statuses.iter().flatten();
    inits.filter(|init| sidecar_named(spec, &init.name)).for_each(|init| life.restarted(init));
    let mut running = false;
    for container in status.container_statuses.iter().flatten().rev() {
        life.restarted(container);
        let Some(state) = &container.state else { continue };
        let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
        match (waiting.filter(|reason| !reason.is_empty()), end(state)) {
            (Some(reason), _) => life.word = reason.into(),
            (None, Some(end)) => life.word = end,
            (None, None) if container.ready && state.running.is_some() => {
                running = true;
                life.ready += 1;
            }
            (None, None) => {}
        }
    }
    if life.word == "Completed" && running {
        let ready = condition(status, "Ready").is_some_and(|(status, _)| status == "True");
        life.word = if ready { "Running" } else { "NotReady" }.into();
    }
}

/// How a container ended: the reason, or else the signal or exit code.
fn end(state: &ContainerState) -> Option<String> {
    let terminated = state.terminated.as_ref()?;
    Some(match (terminated.reason.as_deref().unwrap_or(""), terminated.signal.unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", terminated.exit_code),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.into(),
    })
}

/// Status and reason of a condition.
fn condition<'a>(status: &'a PodStatus, of: &str) -> Option<(&'a str, Option<&'a str>)> {
    let found = status.conditions.iter().flatten().find(|condition| condition.type_ == of)?;
    Some((&found.status, found.reason.as_deref()))
}

fn readiness_gates(spec: &PodSpec, status: &PodStatus) -> Value {
    let gates = spec.readiness_gates.as_deref().unwrap_or_default();
    if gates.is_empty() {
        return cell::NONE.into();
    }
    let passed = |of: &str| condition(status, of).is_some_and(|(status, _)| status == "True");
    let passed = gates.iter().filter(|gate| passed(&gate.condition_type)).count();
    format!("{passed}/{}", gates.len()).into()
}
