//! Decides about one container's end: its hook, then its stop signal, then the kill. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Container as Definition;

use super::memory::{Memory, Slot, Stopping};
use super::step::{Note, Step};
use super::{Decision, Input};
use crate::pod::spec_of;
use crate::runtime::{Container, Signal};

/// After a hook that used up the grace period the process still has this long.
const LAST_CHANCE: SignedDuration = SignedDuration::from_secs(2);
/// A kill that shows no effect is sent again after this.
const KILL_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(10);
const GRACE_DEFAULT_S: i64 = 30;
/// A year, as for deletions: keeps sums with timestamps far from overflow.
const GRACE_MAX_S: i64 = 366 * 24 * 3600;

pub fn grace(input: &Input<'_>) -> SignedDuration {
    bounded(spec_of(input.pod).termination_grace_period_seconds.unwrap_or(GRACE_DEFAULT_S))
}

/// A grace period as it stands in a Pod, where it may be any number.
fn bounded(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds.clamp(0, GRACE_MAX_S))
}

/// Ends a container because of what it is or does; `message` says why, once.
pub fn begin(
    container: &Definition,
    attempt: &Container,
    message: String,
    own_grace_s: Option<i64>,
    input: &Input<'_>,
    memory: &mut Memory,
    decision: &mut Decision,
) {
    let grace = own_grace_s.map_or_else(|| grace(input), bounded);
    if !memory.stopping.contains_key(&attempt.id) {
        decision.notes.push(Note::normal("Killing", message).of(&container.name));
    }
    go_on(container, attempt, Some(input.now + grace), input, memory, decision);
}

/// Takes the end of a container one step further. `deadline` brings the kill forward, and never puts it off.
pub fn go_on(
    container: &Definition,
    attempt: &Container,
    deadline: Option<Timestamp>,
    input: &Input<'_>,
    memory: &mut Memory,
    decision: &mut Decision,
) {
    let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.clone());
    let slot = Slot::Container(container.name.clone());
    let is_free = memory.is_free(&slot);
    let now = input.now;
    let stopping = memory.stopping.entry(attempt.id.clone()).or_insert_with(|| Stopping {
        deadline: deadline.unwrap_or(now),
        pre_stop_done: hook.is_none(),
        asked_at: None,
        killed_at: None,
        failures: 0,
        retry_at: None,
    });
    if let Some(deadline) = deadline {
        stopping.deadline = stopping.deadline.min(deadline);
    }
    if !stopping.pre_stop_done && now < stopping.deadline {
        decision.recheck(stopping.deadline);
        if let (true, Some(hook)) = (is_free, hook) {
            let seconds_max = stopping.deadline.duration_since(now).as_secs().max(1) as u64;
            memory.begin(slot);
            let (container, id) = (container.name.clone(), attempt.id.clone());
            decision.steps.push(Step::PreStop { container, id, hook: Box::new(hook), seconds_max });
        }
        return;
    }
    if hook.is_some() && stopping.asked_at.is_none() && stopping.pre_stop_done {
        // A hook may have used up all the time there was, unless none was given at all.
        let given = deadline.is_none_or(|deadline| deadline > now) || stopping.deadline > now;
        if given {
            stopping.deadline = stopping.deadline.max(now + LAST_CHANCE);
        }
    }
    let signal = if now >= stopping.deadline {
        let again_at = stopping.killed_at.map(|at| at + KILL_AGAIN_AFTER);
        decision.recheck(again_at.filter(|at| *at > now).unwrap_or(now + KILL_AGAIN_AFTER));
        again_at.is_none_or(|at| now >= at).then_some(Signal::Kill)
    } else {
        decision.recheck(stopping.deadline);
        stopping.asked_at.is_none().then_some(Signal::Stop)
    };
    let Some(signal) = signal else { return };
    if let Some(at) = stopping.retry_at.filter(|at| *at > now) {
        decision.recheck(at);
        return;
    }
    // A kill does not wait for a hook that is still running.
    if !is_free && signal == Signal::Stop {
        return;
    }
    match signal {
        Signal::Stop => stopping.asked_at = Some(now),
        Signal::Kill => stopping.killed_at = Some(now),
    }
    memory.begin(slot);
    let (container, id) = (container.name.clone(), attempt.id.clone());
    decision.steps.push(Step::Signal { container, id, signal });
}

/// Ends a container at once: its Pod's network is gone, or nobody waits for it.
pub fn kill(name: &str, container: &Container, input: &Input<'_>, memory: &mut Memory, decision: &mut Decision) {
    let definition = Definition { name: name.to_owned(), ..Definition::default() };
    go_on(&definition, container, Some(input.now), input, memory, decision);
}
