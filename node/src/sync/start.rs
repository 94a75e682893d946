//! Decides about a container's next attempt: now, later, or not yet possible. Pure.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Container as Definition;

use super::memory::{Memory, Slot};
use super::step::{Note, Pull, Step};
use super::view::View;
use super::{Decision, Input, containers, later};
use crate::pod::{self, Attempt, full_name, spec_of};
use crate::runtime::{Container, Exit, Role};

/// Why a container is to be started.
pub enum Why<'a> {
    First,
    Ended(&'a Container, Exit),
    /// Its last attempt belonged to a sandbox that is gone: not its own fault.
    NewSandbox(&'a Container),
}

pub fn begin(
    container: &Definition,
    role: Role,
    why: Why<'_>,
    input: &Input<'_>,
    view: &View<'_>,
    memory: &mut Memory,
    decision: &mut Decision,
) {
    let slot = Slot::Container(container.name.clone());
    let Some(sandbox) = view.sandbox else { return };
    if !memory.is_free(&slot) {
        return;
    }
    if let Some(at) = memory.held_until(&slot, input.now) {
        decision.recheck(at);
        // The wait shows under another reason after a moment.
        decision.recheck(containers::back_off_shows_at(memory, &slot).filter(|shows| *shows > input.now).unwrap_or(at));
        return;
    }
    let failures = match &why {
        Why::First => 0,
        Why::NewSandbox(attempt) => attempt.labels.failures,
        Why::Ended(attempt, exit) => input.policy.failures(attempt.labels.failures, exit),
    };
    if let Why::Ended(attempt, exit) = &why {
        let wait = SignedDuration::try_from(input.policy.restart_delay(failures)).unwrap_or_default();
        let due = later(memory.end_of(&attempt.id, exit), wait);
        if due > input.now {
            decision.recheck(due);
            if memory.say(&format!("back-off {}", container.name), &attempt.id.0) {
                let text =
                    format!("Back-off restarting failed container {} in pod {}", container.name, full_name(input.pod));
                decision.notes.push(Note::warning("BackOff", text).of(&container.name));
            }
            return;
        }
    }
    let number = next_number(&container.name, input, view, memory);
    let attempt = Attempt { role, number, failures, sandbox: &sandbox.id, pod_ip: view.pod_ip };
    match pod::app(input.pod, container, input.host, &input.refs, &attempt) {
        Err(error) => {
            // Nothing to wait for but the missing object: its arrival wakes this Pod.
            let text = error.to_string();
            if memory.say(&config_topic(&container.name), &text) {
                decision.notes.push(Note::warning("Failed", format!("Error: {text}")).of(&container.name));
            }
        }
        Ok(spec) => {
            memory.unsay(&config_topic(&container.name));
            memory.begin(slot);
            let image = container.image.as_deref().unwrap_or_default();
            decision.steps.push(Step::Start {
                container: container.name.clone(),
                pull: Pull::of(container.image_pull_policy.as_deref(), image),
                credentials: pod::registry_credentials(input.pod, &input.refs, image),
                check_user: pod::needs_user_check(input.pod, container),
                spec: Box::new(spec),
                post_start: container
                    .lifecycle
                    .as_ref()
                    .and_then(|lifecycle| lifecycle.post_start.clone())
                    .map(Box::new),
            });
        }
    }
}

/// Where it is kept why a container cannot be made.
pub fn config_topic(container: &str) -> String {
    format!("config {container}")
}

/// A leftover of an interrupted start is removed, so that the attempt can be made anew.
pub fn sweep_stray(stray: &Container, input: &Input<'_>, memory: &mut Memory, decision: &mut Decision) {
    if let Some(at) = memory.held_until(&Slot::Sweep, input.now) {
        decision.recheck(at);
        return;
    }
    if memory.is_free(&Slot::Container(stray.labels.container.clone())) && memory.is_free(&Slot::Sweep) {
        memory.begin(Slot::Sweep);
        decision.steps.push(Step::Sweep { ids: vec![stray.id.clone()] });
    }
}

/// One more than any attempt known, here or in the status last reported.
fn next_number(name: &str, input: &Input<'_>, view: &View<'_>, memory: &Memory) -> u32 {
    let seen = view.attempts(name).map(|container| container.labels.attempt + 1).max();
    let is_app = spec_of(input.pod).containers.iter().any(|container| container.name == name);
    let reported = memory.status.as_ref().and_then(|status| {
        let list = if is_app { &status.container_statuses } else { &status.init_container_statuses };
        let status = list.iter().flatten().find(|status| status.name == name)?;
        status.container_id.as_ref().map(|_| status.restart_count.max(0) as u32 + 1)
    });
    seen.unwrap_or(0).max(reported.unwrap_or(0))
}
