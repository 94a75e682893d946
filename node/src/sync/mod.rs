//! Decides, for one Pod, what to do next and what to say of it: (assigned, observed, remembered, now) -> steps and
//! status. Pure: no clock, no randomness, no calls. Plans from the state; events only wake it.
//!
//! Read in this order:
//! - [`Input`], [`Memory`], [`Decision`]: what goes in and comes out;
//! - `run`: a Pod that should live; `start`: one container's next attempt; `stop`: one container's end;
//! - `end`: a Pod that was deleted or has finished;
//! - `status`, `containers`, `conditions`: what is reported;
//! - `backoff`: how long to wait before the next attempt.
//!
//! A slot (the sandbox, or one container) has at most one step under way: that, and attempts whose names are
//! unique on the engine, keeps two attempts of one container from ever running together.

mod backoff;
mod conditions;
mod containers;
mod end;
mod memory;
mod run;
mod start;
mod status;
mod step;
mod stop;
mod view;

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};

pub use backoff::Policy;
pub use memory::{Memory, Outcome, Slot};
pub use step::{Note, ProbeKind, ProbeWant, Pull, Step};
pub use view::sandbox;

use crate::pod::{Host, Refs};
use crate::runtime::Container;

/// A step that the engine did not take is tried again after this.
const RETRY_AFTER: Duration = Duration::from_secs(2);

pub struct Input<'a> {
    pub pod: &'a Pod,
    /// All containers of this Pod on the engine, dead ones included.
    pub containers: &'a [Container],
    pub refs: Refs<'a>,
    pub host: &'a Host,
    pub policy: &'a Policy,
    /// The Pod is no longer among the assigned ones: its object is gone.
    pub removed: bool,
    /// A container of the Pod is on the engine that could not be looked at yet: what it does is not known. Nothing is
    /// started, told or cleaned away until it was seen.
    pub unseen: bool,
    /// Another Pod may have its name by now, for since the agent began no leader has said that it is still this node's:
    /// nothing of it is started. What runs goes on, and it may end.
    pub unconfirmed: bool,
    /// Makes no steps, as the wall clock does when it is set right: all waits go by it.
    pub now: Timestamp,
    /// The wall clock: for what is reported, and to compare with what others have noted.
    pub wall: Timestamp,
}

impl Input<'_> {
    /// A moment of the wall clock, by the time that makes no steps.
    fn steady(&self, at: Timestamp) -> Timestamp {
        at.checked_add(self.now.duration_since(self.wall)).unwrap_or(at)
    }
}

/// Pods and engines may name times so far away that a sum with them would overflow.
fn later(from: Timestamp, by: SignedDuration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[derive(Debug, Default)]
pub struct Decision {
    /// Each belongs to another slot: they may run at the same time.
    pub steps: Vec<Step>,
    pub notes: Vec<Note>,
    /// What should be probed now.
    pub probes: Vec<ProbeWant>,
    pub status: Option<PodStatus>,
    /// Decide again at this time, even if nothing happens before.
    pub recheck_at: Option<Timestamp>,
    /// Nothing of the Pod is left here, and nobody asks for it.
    pub forget: bool,
}

impl Decision {
    fn recheck(&mut self, at: Timestamp) {
        self.recheck_at = Some(self.recheck_at.map_or(at, |before| before.min(at)));
    }
}

/// What to do for this Pod. Same input and memory, same decision. The steps in the decision count as begun:
/// their outcomes must be told with [`Memory::note`].
pub fn decide(input: &Input<'_>, memory: &mut Memory) -> Decision {
    let mut decision = Decision::default();
    let view = view::View::new(input);
    memory.forget_gone(input, &view);
    memory.note_ends(input);
    if input.removed || input.pod.metadata.deletion_timestamp.is_some() {
        end::deleted(input, &view, memory, &mut decision);
    } else {
        end::check_deadline(input, memory, &mut decision);
        match status::verdict(input, &view, memory) {
            Some(_) => end::finished(input, &view, memory, &mut decision),
            None => run::go_on(input, &view, memory, &mut decision),
        }
    }
    if !input.removed && !memory.is_deleted() && !input.unseen {
        decision.status = Some(status::report(input, &view, memory));
    }
    decision
}

/// Like [`decide`], for one Pod among many: where that panics, which must not end the others, nothing counts as begun.
pub fn try_decide(input: &Input<'_>, memory: &mut Memory) -> Option<Decision> {
    memory.guarded(|memory| decide(input, memory))
}
