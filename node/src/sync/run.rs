//! Decides for a Pod that should live: its sandbox first, then init containers in order, then the others. Pure.

use k8s_openapi::api::core::v1::Container;

use super::memory::{Memory, Slot};
use super::start::{self, Why};
use super::step::{Note, ProbeKind, ProbeWant, Step};
use super::view::{Latest, View};
use super::{Decision, Input, containers, stop};
use crate::pod::{self, Facts, full_name, hash, is_sidecar, spec_of};
use crate::runtime::Role;
use crate::volumes;

pub fn go_on(input: &Input<'_>, view: &View<'_>, memory: &mut Memory, decision: &mut Decision) {
    let has_address = pod::on_host_network(input.pod) || view.pod_ip.is_some();
    if input.unseen || input.unconfirmed {
        // A probe keeps the address that it begins with: begun without one, it would find its container dead for good.
        if has_address {
            want_probes(input, view, memory, decision);
        }
        return;
    }
    sweep(input, view, memory, decision);
    let Some(sandbox) = view.sandbox else {
        make_sandbox(input, view, memory, decision);
        return;
    };
    if !has_address {
        // It gets its address when it is made. One that has none then is of no use; the next attempt may get one.
        if !memory.is_free(&Slot::Sandbox) {
            return;
        }
        stop::kill(pod::PAUSE, sandbox, input, memory, decision);
        return;
    }
    for stale in view.running().filter(|container| !view.is_current(container)) {
        stop::kill(&stale.labels.container, stale, input, memory, decision);
    }
    refresh_volumes(input, view, memory, decision);
    if run_init(input, view, memory, decision) {
        for container in &spec_of(input.pod).containers {
            keep(container, Role::App, input, view, memory, decision);
        }
    }
    want_probes(input, view, memory, decision);
}

/// True when all init containers have done their part.
fn run_init(input: &Input<'_>, view: &View<'_>, memory: &mut Memory, decision: &mut Decision) -> bool {
    let spec = spec_of(input.pod);
    let begun = main_has_begun(input, view);
    let mut done = true;
    for container in spec.init_containers.iter().flatten() {
        if is_sidecar(container) {
            // Sidecars are kept running, before and after.
            if done || begun {
                keep(container, Role::Init, input, view, memory, decision);
            }
            done &= containers::is_started(container, view, memory);
        } else if !begun && done {
            let finished = matches!(
                view.latest(&container.name),
                Latest::Ended(attempt, exit) if exit.exit_code == 0 && view.is_current(attempt)
            );
            if !finished {
                keep(container, Role::Init, input, view, memory, decision);
            }
            done = finished;
        }
    }
    done || begun
}

/// Has an app container been made in the present sandbox? Then the init containers had all finished.
pub fn main_has_begun(input: &Input<'_>, view: &View<'_>) -> bool {
    let current = |container: &Container| view.attempts(&container.name).any(|attempt| view.is_current(attempt));
    spec_of(input.pod).containers.iter().any(current)
}

/// Starts a container that should run and does not, and ends one that should not run as it does.
fn keep(
    container: &Container,
    role: Role,
    input: &Input<'_>,
    view: &View<'_>,
    memory: &mut Memory,
    decision: &mut Decision,
) {
    match view.latest(&container.name) {
        Latest::None => start::begin(container, role, Why::First, input, view, memory, decision),
        Latest::Stray(stray) => start::sweep_stray(stray, input, memory, decision),
        Latest::Running(attempt, _) => {
            let failed = memory.health.get(&attempt.id).and_then(|health| health.failed.clone());
            let name = &container.name;
            if attempt.labels.hash != hash(container) {
                let message = format!("Container {name} definition changed, will be restarted");
                stop::begin(container, attempt, message, None, input, memory, decision);
            } else if failed.is_some() {
                let kind = if memory.health.get(&attempt.id).is_some_and(|health| health.started == Some(true)) {
                    ProbeKind::Liveness
                } else if container.startup_probe.is_some() {
                    ProbeKind::Startup
                } else {
                    ProbeKind::Liveness
                };
                let probe = match kind {
                    ProbeKind::Startup => &container.startup_probe,
                    _ => &container.liveness_probe,
                };
                let own_grace = probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds);
                let message =
                    format!("Container {name} failed {} probe, will be restarted", kind.word().to_lowercase());
                stop::begin(container, attempt, message, own_grace, input, memory, decision);
            } else if memory.stopping.contains_key(&attempt.id) {
                stop::go_on(container, attempt, None, input, memory, decision);
            }
        }
        Latest::Ended(attempt, exit) => {
            let again = containers::restarts(input, container, role, exit.exit_code);
            if !view.is_current(attempt) {
                // Init containers run again in every new sandbox, also those that had succeeded.
                if again || role == Role::Init {
                    start::begin(container, role, Why::NewSandbox(attempt), input, view, memory, decision);
                }
            } else if again {
                start::begin(container, role, Why::Ended(attempt, exit), input, view, memory, decision);
            }
        }
    }
}

fn make_sandbox(input: &Input<'_>, view: &View<'_>, memory: &mut Memory, decision: &mut Decision) {
    let mut waiting = false;
    for orphan in view.running() {
        stop::kill(&orphan.labels.container, orphan, input, memory, decision);
        waiting = true;
    }
    if waiting || !memory.is_free(&Slot::Sandbox) {
        return;
    }
    if let Some(at) = memory.held_until(&Slot::Sandbox, input.now) {
        decision.recheck(at);
        return;
    }
    let facts = Facts { host: input.host, pod_ip: None };
    match volumes::plan(input.pod, &input.refs, &facts) {
        Err(missing) => {
            let text = missing.to_string();
            if memory.say("volumes", &text) {
                decision.notes.push(Note::warning("FailedMount", text));
            }
        }
        Ok(volumes) => {
            memory.unsay("volumes");
            let attempt = view.next_sandbox_attempt();
            if attempt > 0 && memory.say("sandbox", &attempt.to_string()) {
                let text = "Pod sandbox changed, it will be killed and re-created.";
                decision.notes.push(Note::normal("SandboxChanged", text));
            }
            memory.begin(Slot::Sandbox);
            let spec = Box::new(pod::pause(input.pod, input.host, attempt));
            decision.steps.push(Step::MakeSandbox { volumes, spec });
        }
    }
}

/// Files of volumes follow the objects they come from. What cannot be had any more stays as it was.
fn refresh_volumes(input: &Input<'_>, view: &View<'_>, memory: &mut Memory, decision: &mut Decision) {
    if spec_of(input.pod).volumes.as_ref().is_none_or(|volumes| volumes.is_empty()) {
        return;
    }
    let facts = Facts { host: input.host, pod_ip: view.pod_ip };
    let Ok(volumes) = volumes::plan(input.pod, &input.refs, &facts) else { return };
    let Some(fingerprint) = volumes::fingerprint(&volumes) else { return };
    if memory.published == Some(fingerprint) || !memory.is_free(&Slot::Volumes) {
        return;
    }
    if let Some(at) = memory.held_until(&Slot::Volumes, input.now) {
        decision.recheck(at);
        return;
    }
    memory.begin(Slot::Volumes);
    decision.steps.push(Step::RefreshVolumes { volumes, fingerprint });
}

/// Dead attempts before the last two, and dead sandboxes, are forgotten.
fn sweep(input: &Input<'_>, view: &View<'_>, memory: &mut Memory, decision: &mut Decision) {
    if !memory.is_free(&Slot::Sweep) || memory.held_until(&Slot::Sweep, input.now).is_some() {
        return;
    }
    let mut ids = Vec::new();
    for container in view.all().iter().filter(|container| !super::view::is_running(container)) {
        let labels = &container.labels;
        let newer = |role_matters: bool| {
            let others = view.all().iter().filter(|other| {
                other.labels.container == labels.container && (!role_matters || other.labels.role == labels.role)
            });
            others.filter(|other| other.labels.attempt > labels.attempt).count()
        };
        let superseded = match labels.role {
            Role::Pause => view.sandbox.is_some() && newer(true) > 0,
            _ => newer(false) >= 2,
        };
        if superseded {
            ids.push(container.id.clone());
        }
    }
    if !ids.is_empty() {
        memory.begin(Slot::Sweep);
        decision.steps.push(Step::Sweep { ids });
    }
}

fn want_probes(input: &Input<'_>, view: &View<'_>, memory: &Memory, decision: &mut Decision) {
    let spec = spec_of(input.pod);
    let sidecars = spec.init_containers.iter().flatten().filter(|container| is_sidecar(container));
    for container in spec.containers.iter().chain(sidecars) {
        let Latest::Running(attempt, _) = view.latest(&container.name) else { continue };
        if memory.stopping.contains_key(&attempt.id) || !memory.is_free(&Slot::Container(container.name.clone())) {
            continue;
        }
        let has_started = memory.health.get(&attempt.id).is_some_and(|health| health.started == Some(true));
        let wanted = if container.startup_probe.is_some() && !has_started {
            [(ProbeKind::Startup, &container.startup_probe)].to_vec()
        } else {
            vec![(ProbeKind::Liveness, &container.liveness_probe), (ProbeKind::Readiness, &container.readiness_probe)]
        };
        for (kind, probe) in wanted {
            if let Some(probe) = probe {
                let (container, id) = (container.name.clone(), attempt.id.clone());
                decision.probes.push(ProbeWant { container, id, kind, probe: probe.clone() });
            }
        }
    }
}

/// How back-off messages name a container.
pub fn in_pod(container: &str, input: &Input<'_>) -> String {
    format!("container={container} pod={}", full_name(input.pod))
}
