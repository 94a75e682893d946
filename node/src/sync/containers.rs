//! What is reported of each container: waiting, running or terminated, and why. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{
    Container as Definition, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::memory::{Memory, Slot};
use super::run::in_pod;
use super::start::config_topic;
use super::view::{Latest, View, could_not_run};
use super::{Input, later};
use crate::pod::{is_sidecar, spec_of};
use crate::runtime::{Container, Exit, Role};

/// A failed pull or start shows as itself for this long, and as its back-off afterwards.
const FAILURE_SHOWS: SignedDuration = SignedDuration::from_secs(2);
const OUT_OF_MEMORY: &str = "OOMKilled";

/// Does the container run again after this exit?
pub fn restarts(input: &Input<'_>, container: &Definition, role: Role, exit_code: i32) -> bool {
    let policy = spec_of(input.pod).restart_policy.as_deref().unwrap_or("Always");
    match role {
        Role::Init if is_sidecar(container) => true,
        // An init container that has succeeded has done its part.
        Role::Init => exit_code != 0 && policy != "Never",
        _ => match policy {
            "Never" => false,
            "OnFailure" => exit_code != 0,
            _ => true,
        },
    }
}

/// It runs, its hook has run, and its startup probe (if any) has succeeded.
pub fn is_started(container: &Definition, view: &View<'_>, memory: &Memory) -> bool {
    let Latest::Running(attempt, _) = view.latest(&container.name) else { return false };
    if !memory.is_free(&Slot::Container(container.name.clone())) && !memory.stopping.contains_key(&attempt.id) {
        return false;
    }
    let seen = memory.health.get(&attempt.id).and_then(|health| health.started);
    container.startup_probe.is_none() || seen == Some(true)
}

pub fn is_ready(container: &Definition, view: &View<'_>, memory: &Memory) -> bool {
    let Latest::Running(attempt, _) = view.latest(&container.name) else { return false };
    let seen = memory.health.get(&attempt.id).and_then(|health| health.ready);
    is_started(container, view, memory) && (container.readiness_probe.is_none() || seen == Some(true))
}

pub fn back_off_shows_at(memory: &Memory, slot: &Slot) -> Option<Timestamp> {
    memory.failures.get(slot).map(|failure| failure.at + FAILURE_SHOWS)
}

pub fn report(
    container: &Definition,
    role: Role,
    input: &Input<'_>,
    view: &View<'_>,
    memory: &Memory,
    initializing: bool,
) -> ContainerStatus {
    let before = previous_report(container, role, memory);
    let latest = view.latest(&container.name);
    let image = container.image.clone().unwrap_or_default();
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image,
        ready: is_ready(container, view, memory),
        started: Some(is_started(container, view, memory)),
        ..ContainerStatus::default()
    };
    let last_end = view.previous(&container.name).map(|(attempt, exit)| terminated(attempt, &exit, before));
    match latest {
        Latest::None | Latest::Stray(_) => {
            // What the engine has forgotten, the last report still knows.
            if let Some(before) = before.filter(|before| before.container_id.is_some()) {
                return ContainerStatus { ready: false, started: Some(false), ..gone(before, container, role, input) };
            }
            status.state = Some(waiting(container, input, memory, initializing));
            status.last_state = last_end.map(ended);
            status.restart_count = before.map_or(0, |before| before.restart_count);
        }
        Latest::Running(attempt, started_at) => {
            identify(&mut status, attempt);
            status.state = Some(ContainerState {
                running: Some(ContainerStateRunning { started_at: Some(Time(whole_seconds(started_at))) }),
                ..ContainerState::default()
            });
            status.last_state = last_end.map(ended).or_else(|| carried(before, &status));
        }
        Latest::Ended(attempt, exit) => {
            identify(&mut status, attempt);
            let end = terminated(attempt, &exit, before);
            let is_current = view.is_current(attempt);
            let again = restarts(input, container, role, exit.exit_code);
            match back_off(container, role, attempt, &exit, input, memory) {
                Some(state) if is_current && again => {
                    status.state = Some(state);
                    status.last_state = Some(ended(end));
                }
                _ => {
                    status.state = Some(ended(end));
                    status.last_state = last_end.map(ended);
                }
            }
            // Terminated init containers that succeeded count as ready.
            status.ready = role == Role::Init && exit.exit_code == 0 && !is_sidecar(container);
        }
    }
    status
}

fn previous_report<'a>(container: &Definition, role: Role, memory: &'a Memory) -> Option<&'a ContainerStatus> {
    let status = memory.status.as_ref()?;
    let list = if role == Role::Init { &status.init_container_statuses } else { &status.container_statuses };
    list.iter().flatten().find(|status| status.name == container.name)
}

/// The engine knows nothing of a container that was reported before.
fn gone(before: &ContainerStatus, container: &Definition, role: Role, input: &Input<'_>) -> ContainerStatus {
    let mut status = before.clone();
    let was_running = before.state.as_ref().is_some_and(|state| state.running.is_some());
    if was_running {
        let started_at = before.state.as_ref().and_then(|state| state.running.as_ref()?.started_at.clone());
        let end = ContainerStateTerminated {
            container_id: before.container_id.clone(),
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".into()),
            message: Some("The container could not be located when the pod was examined".into()),
            started_at,
            finished_at: Some(Time(whole_seconds(input.wall))),
            signal: None,
        };
        if restarts(input, container, role, end.exit_code) {
            status.last_state = Some(ended(end));
            status.state = Some(simply("ContainerCreating", None));
        } else {
            status.state = Some(ended(end));
        }
    }
    status
}

fn carried(before: Option<&ContainerStatus>, status: &ContainerStatus) -> Option<ContainerState> {
    let before = before.filter(|before| before.restart_count == status.restart_count)?;
    before.last_state.clone()
}

fn identify(status: &mut ContainerStatus, attempt: &Container) {
    status.container_id = Some(docker_id(attempt));
    status.image_id = format!("docker://{}", attempt.image_id);
    status.restart_count = attempt.labels.attempt as i32;
}

fn docker_id(container: &Container) -> String {
    format!("docker://{}", container.id)
}

fn ended(end: ContainerStateTerminated) -> ContainerState {
    ContainerState { terminated: Some(end), ..ContainerState::default() }
}

fn simply(reason: &str, message: Option<String>) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

/// The API writes times in whole seconds.
pub fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn terminated(attempt: &Container, exit: &Exit, before: Option<&ContainerStatus>) -> ContainerStateTerminated {
    let reason = match exit.exit_code {
        _ if could_not_run(attempt) => "ContainerCannotRun",
        _ if exit.oom_killed || was_out_of_memory(attempt, before) => OUT_OF_MEMORY,
        0 => "Completed",
        _ => "Error",
    };
    ContainerStateTerminated {
        container_id: Some(docker_id(attempt)),
        exit_code: exit.exit_code,
        finished_at: Some(Time(whole_seconds(exit.finished_at))),
        message: exit.message.clone(),
        reason: Some(reason.into()),
        signal: None,
        started_at: Some(Time(whole_seconds(exit.started_at))),
    }
}

/// It was reported so. The engine may have told of it once and keep no record: an agent that starts anew has not heard it.
fn was_out_of_memory(attempt: &Container, before: Option<&ContainerStatus>) -> bool {
    let states = before.into_iter().flat_map(|before| [&before.state, &before.last_state]).flatten();
    let mut ends = states.filter_map(|state| state.terminated.as_ref());
    let id = docker_id(attempt);
    ends.any(|end| end.container_id.as_ref() == Some(&id) && end.reason.as_deref() == Some(OUT_OF_MEMORY))
}

/// Why a container that never ran does not run yet.
fn waiting(container: &Definition, input: &Input<'_>, memory: &Memory, initializing: bool) -> ContainerState {
    let slot = Slot::Container(container.name.clone());
    if let Some(failure) = memory.failures.get(&slot) {
        return failing(container, failure, input);
    }
    if let Some(text) = memory.said.get(&config_topic(&container.name)) {
        return simply("CreateContainerConfigError", Some(text.clone()));
    }
    simply(if initializing { "PodInitializing" } else { "ContainerCreating" }, None)
}

fn failing(container: &Definition, failure: &super::memory::Failure, input: &Input<'_>) -> ContainerState {
    let image = container.image.as_deref().unwrap_or_default();
    if failure.reason == "ErrImagePull" && input.now >= failure.at + FAILURE_SHOWS {
        let text = format!("Back-off pulling image {image:?}: ErrImagePull: {}", failure.message);
        return simply("ImagePullBackOff", Some(text));
    }
    simply(failure.reason, Some(failure.message.clone()))
}

/// What an ended container that shall run again waits for; `None` while nothing holds it back.
fn back_off(
    container: &Definition,
    role: Role,
    attempt: &Container,
    exit: &Exit,
    input: &Input<'_>,
    memory: &Memory,
) -> Option<ContainerState> {
    let slot = Slot::Container(container.name.clone());
    if let Some(failure) = memory.failures.get(&slot) {
        return Some(failing(container, failure, input));
    }
    if let Some(text) = memory.said.get(&config_topic(&container.name)) {
        return Some(simply("CreateContainerConfigError", Some(text.clone())));
    }
    if !restarts(input, container, role, exit.exit_code) {
        return None;
    }
    let failures = input.policy.failures(attempt.labels.failures, exit);
    let wait = input.policy.restart_delay(failures);
    let due = later(memory.end_of(&attempt.id, exit), SignedDuration::try_from(wait).unwrap_or_default());
    if due <= input.now {
        return could_not_run(attempt).then(|| simply("RunContainerError", exit.message.clone()));
    }
    let text = format!("back-off {} restarting failed {}", words(wait), in_pod(&container.name, input));
    Some(simply("CrashLoopBackOff", Some(text)))
}

/// As Go prints durations: `10s`, `1m20s`, `5m0s`.
fn words(wait: std::time::Duration) -> String {
    let seconds = wait.as_secs();
    match seconds / 60 {
        0 if wait.subsec_millis() > 0 => format!("{}ms", wait.as_millis()),
        0 => format!("{seconds}s"),
        minutes => format!("{minutes}m{}s", seconds % 60),
    }
}
