//! A Pod's phase and status. Pure.

use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Input;
use super::conditions::{self, Findings};
use super::containers::{self, restarts, whole_seconds};
use super::memory::{Memory, Slot};
use super::run::main_has_begun;
use super::view::{Latest, View, is_running};
use crate::pod::{is_sidecar, spec_of};
use crate::runtime::Role;

/// How a Pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Succeeded,
    Failed,
}

/// `Some` when a Pod has its result: it never changes afterwards. Containers of it may run on for a while.
pub fn verdict(input: &Input<'_>, view: &View<'_>, memory: &mut Memory) -> Option<Verdict> {
    if memory.verdict.is_none() {
        memory.verdict = find(input, view, memory);
    }
    memory.verdict
}

/// The result that was reported.
fn reported(memory: &Memory) -> Option<Verdict> {
    match memory.status.as_ref()?.phase.as_deref() {
        Some("Succeeded") => Some(Verdict::Succeeded),
        Some("Failed") => Some(Verdict::Failed),
        _ => None,
    }
}

fn find(input: &Input<'_>, view: &View<'_>, memory: &Memory) -> Option<Verdict> {
    let reported = reported(memory);
    if reported.is_some() {
        return reported;
    }
    if memory.ended.is_some() {
        return Some(Verdict::Failed);
    }
    let spec = spec_of(input.pod);
    // An attempt of an older sandbox has ended with it: it starts again, unless it may never.
    let result = |name: &str| match view.latest(name) {
        Latest::Ended(attempt, exit) => Some((exit.exit_code, view.is_current(attempt))),
        _ => None,
    };
    for container in spec.init_containers.iter().flatten().filter(|container| !is_sidecar(container)) {
        if let Some((code, _)) = result(&container.name)
            && code != 0
            && !restarts(input, container, Role::Init, code)
        {
            return Some(Verdict::Failed);
        }
    }
    let mut failed = false;
    for container in &spec.containers {
        let (code, _) = result(&container.name)?;
        if restarts(input, container, Role::App, code) {
            return None;
        }
        failed |= code != 0;
    }
    if spec.containers.is_empty() {
        return None;
    }
    Some(if failed { Verdict::Failed } else { Verdict::Succeeded })
}

/// Does anything of the Pod run, its sandbox too, or may a step that is under way still start it?
fn may_run(view: &View<'_>, memory: &Memory) -> bool {
    let is_start = |slot: &Slot| matches!(slot, Slot::Sandbox | Slot::Container(_));
    view.all().iter().any(is_running) || memory.busy.iter().any(is_start)
}

/// A final phase says that nothing of the Pod runs any more: its object may be removed without asking the agent again, and
/// another Pod may have its name then. So it is told only when that is so.
pub fn report(input: &Input<'_>, view: &View<'_>, memory: &mut Memory) -> PodStatus {
    let spec = spec_of(input.pod);
    let before = memory.status.clone().unwrap_or_default();
    let verdict = verdict(input, view, memory);
    let told = verdict.filter(|_| reported(memory).is_some() || !may_run(view, memory));
    let begun = main_has_begun(input, view);
    let init_list = spec.init_containers.as_deref().unwrap_or_default();
    let init: Vec<ContainerStatus> = init_list
        .iter()
        .map(|container| containers::report(container, Role::Init, input, view, memory, true))
        .collect();
    let uninitialized: Vec<String> = init_list
        .iter()
        .zip(&init)
        .filter(|(container, status)| !begun && !is_done(container, status))
        .map(|(container, _)| container.name.clone())
        .collect();
    let initializing = !init_list.is_empty() && !uninitialized.is_empty();
    let apps: Vec<ContainerStatus> = spec
        .containers
        .iter()
        .map(|container| containers::report(container, Role::App, input, view, memory, initializing))
        .collect();
    let phase = match told {
        Some(Verdict::Succeeded) => "Succeeded",
        Some(Verdict::Failed) => "Failed",
        None => phase(&apps, !uninitialized.is_empty()),
    };
    let sidecars = init_list.iter().zip(&init).filter(|(container, _)| is_sidecar(container)).map(|(_, status)| status);
    let unready = apps.iter().chain(sidecars).filter(|status| !status.ready).map(|status| status.name.clone());
    let findings = Findings {
        sandbox_stands: view.sandbox.is_some(),
        uninitialized,
        unready: unready.collect(),
        succeeded: verdict.map(|verdict| verdict == Verdict::Succeeded),
    };
    let ip = view.pod_ip.map(|ip| ip.to_string()).or_else(|| before.pod_ip.clone().filter(|_| verdict.is_some()));
    let (reason, message) = match &memory.ended {
        Some((reason, message)) => (Some((*reason).to_owned()), Some(message.clone())),
        None => (before.reason.clone(), before.message.clone()),
    };
    let status = PodStatus {
        phase: Some(phase.into()),
        conditions: Some(conditions::report(input, &findings, memory.status.as_ref())),
        host_ip: Some(input.host.ip.to_string()),
        host_ips: Some(vec![HostIP { ip: input.host.ip.to_string() }]),
        pod_ips: ip.clone().map(|ip| vec![PodIP { ip }]),
        pod_ip: ip,
        start_time: Some(before.start_time.clone().unwrap_or_else(|| Time(whole_seconds(input.wall)))),
        init_container_statuses: (!init.is_empty()).then_some(init),
        container_statuses: Some(apps),
        qos_class: before.qos_class.clone(),
        reason: reason.filter(|_| told.is_some()),
        message: message.filter(|_| told.is_some()),
        observed_generation: input.pod.metadata.generation,
        ..before
    };
    memory.status = Some(status.clone());
    status
}

fn is_done(container: &k8s_openapi::api::core::v1::Container, status: &ContainerStatus) -> bool {
    if is_sidecar(container) {
        return status.started == Some(true);
    }
    let terminated = status.state.as_ref().and_then(|state| state.terminated.as_ref());
    terminated.is_some_and(|end| end.exit_code == 0)
}

/// Of a Pod whose result is not told yet. A container between two attempts counts as running.
fn phase(apps: &[ContainerStatus], initializing: bool) -> &'static str {
    if initializing {
        return "Pending";
    }
    let has_run = |status: &ContainerStatus| {
        let state = status.state.as_ref();
        let last = status.last_state.as_ref();
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
            || last.is_some_and(|last| last.terminated.is_some())
    };
    if !apps.is_empty() && apps.iter().all(has_run) { "Running" } else { "Pending" }
}
