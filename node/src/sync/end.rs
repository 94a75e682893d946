//! Decides for a Pod that ends: deleted, finished, or out of time. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Container as Definition;
use proto::mutants::{self, Mutant};

use super::memory::{Memory, Removal, Slot};
use super::step::{Note, Step};
use super::view::View;
use super::{Decision, Input, later, stop};
use crate::pod::{self, is_sidecar, memory_volume_name, memory_volumes, spec_of, uid};
use crate::runtime::Container;

/// A Pod whose object is gone has no deadline of its own any more.
const REMOVED_GRACE_MAX: SignedDuration = SignedDuration::from_secs(30);

/// A Pod that was deleted, or whose object is gone: its containers end, then its traces go, then its object.
pub fn deleted(input: &Input<'_>, view: &View<'_>, memory: &mut Memory, decision: &mut Decision) {
    match memory.removal {
        Removal::ObjectDeleted => {
            decision.forget = input.removed;
            return;
        }
        Removal::Cleaned if !input.unseen => {
            delete_object(input, memory, decision);
            return;
        }
        Removal::Cleaned => memory.removal = Removal::Cleaning,
        Removal::Cleaning | Removal::NotBegun => {}
    }
    if mutants::on(Mutant::NameGivenBackEarly) {
        delete_object(input, memory, decision);
    }
    let deadline = deadline(input, memory);
    let has_ended = end_all(input, view, memory, deadline, decision) && !input.unseen;
    if has_ended && memory.is_free(&Slot::Sandbox) {
        clean(input, view, memory, decision);
    }
}

/// `deletionTimestamp` includes the grace period but no part of a second, so the time may come up to a second early.
/// The grace period counts from when the deletion was first seen, and not from anew when the agent starts anew.
/// No later step of the wall clock moves it.
fn deadline(input: &Input<'_>, memory: &mut Memory) -> Timestamp {
    let seen = *memory.ending_since.get_or_insert(input.now);
    let Some(at) = &input.pod.metadata.deletion_timestamp else {
        return seen + stop::grace(input).min(REMOVED_GRACE_MAX);
    };
    let grace_s = input.pod.metadata.deletion_grace_period_seconds.unwrap_or(0).max(0);
    let due = match memory.due {
        Some((of, due)) if of == at.0 => due,
        _ => input.steady(later(at.0, SignedDuration::from_secs(1))),
    };
    memory.due = Some((at.0, due));
    due.min(later(seen, SignedDuration::from_secs(grace_s)))
}

fn clean(input: &Input<'_>, view: &View<'_>, memory: &mut Memory, decision: &mut Decision) {
    if !memory.is_free(&Slot::Sweep) || !memory.is_free(&Slot::Volumes) {
        return;
    }
    if memory.removal == Removal::Cleaning
        && let Some(at) = memory.held_until(&Slot::Sandbox, input.now)
    {
        decision.recheck(at);
        return;
    }
    let ids = view.all().iter().map(|container| container.id.clone()).collect();
    let memory_volumes =
        memory_volumes(input.pod).map(|volume| memory_volume_name(uid(input.pod), &volume.name)).collect();
    memory.begin_cleaning();
    decision.steps.push(Step::Clean { ids, memory_volumes });
}

fn delete_object(input: &Input<'_>, memory: &mut Memory, decision: &mut Decision) {
    if input.removed {
        decision.forget = !memory.is_busy();
        return;
    }
    if !memory.is_free(&Slot::Object) {
        return;
    }
    if let Some(at) = memory.held_until(&Slot::Object, input.now) {
        decision.recheck(at);
        return;
    }
    memory.begin(Slot::Object);
    decision.steps.push(Step::DeleteObject);
}

/// A Pod that has its result: whatever still runs ends, its sandbox last; the dead stay for their logs.
pub fn finished(input: &Input<'_>, view: &View<'_>, memory: &mut Memory, decision: &mut Decision) {
    let deadline = later(input.now, stop::grace(input));
    if end_all(input, view, memory, deadline, decision)
        && let Some(sandbox) = view.sandbox
    {
        stop::kill(pod::PAUSE, sandbox, input, memory, decision);
    }
}

/// Takes every running container a step further to its end. True when none runs and none is being started.
fn end_all(
    input: &Input<'_>,
    view: &View<'_>,
    memory: &mut Memory,
    deadline: Timestamp,
    decision: &mut Decision,
) -> bool {
    let mut starting = false;
    for slot in memory.busy.clone() {
        let Slot::Container(name) = slot else { continue };
        let is_ending = view.attempts(&name).any(|attempt| memory.stopping.contains_key(&attempt.id));
        if !is_ending && name != pod::PAUSE {
            starting = true;
            if memory.cancelled.insert(name.clone()) {
                decision.steps.push(Step::CancelStart { container: name });
            }
        }
    }
    let main_runs = view.running().any(|container| !is_sidecar_of(input, container));
    let mut any = false;
    for container in view.running() {
        any = true;
        // Sidecars serve the others to their end.
        if main_runs && is_sidecar_of(input, container) && input.now < deadline {
            continue;
        }
        let definition = definition(input, container);
        if !memory.stopping.contains_key(&container.id) {
            let text = format!("Stopping container {}", container.labels.container);
            decision.notes.push(Note::normal("Killing", text).of(&container.labels.container));
        }
        stop::go_on(&definition, container, Some(deadline), input, memory, decision);
    }
    !any && !starting
}

fn definition(input: &Input<'_>, container: &Container) -> Definition {
    let spec = spec_of(input.pod);
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let name = &container.labels.container;
    let found = all.find(|definition| definition.name == *name).cloned();
    found.unwrap_or_else(|| Definition { name: name.clone(), ..Definition::default() })
}

fn is_sidecar_of(input: &Input<'_>, container: &Container) -> bool {
    let mut init = spec_of(input.pod).init_containers.iter().flatten();
    init.any(|definition| definition.name == container.labels.container && is_sidecar(definition))
}

/// `activeDeadlineSeconds`, counted from when the Pod was first seen here.
pub fn check_deadline(input: &Input<'_>, memory: &mut Memory, decision: &mut Decision) {
    let Some(seconds) = spec_of(input.pod).active_deadline_seconds else { return };
    let reported = memory.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|at| at.0);
    let first_seen = reported.map_or(input.now, |at| input.steady(at).min(input.now));
    let due = later(*memory.started.get_or_insert(first_seen), SignedDuration::from_secs(seconds));
    if due > input.now {
        decision.recheck(due);
    } else if memory.ended.is_none() {
        let text = "Pod was active on the node longer than the specified deadline".to_owned();
        decision.notes.push(Note::normal("DeadlineExceeded", text.clone()));
        memory.ended = Some(("DeadlineExceeded", text));
    }
}
