//! What the agent remembers of a Pod between decisions, and how news change it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};

use super::status::Verdict;
use super::view::View;
use super::{Input, Policy, ProbeKind, RETRY_AFTER, later};
use crate::runtime::{ContainerId, Exit, State};

/// What can have one step under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    Sandbox,
    Volumes,
    Container(String),
    Sweep,
    Object,
}

/// How a step ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    Done,
    /// The step cannot succeed just now. `reason` and `message` are shown as the container waits.
    Failed {
        reason: &'static str,
        message: String,
    },
    /// [`super::Step::RefreshVolumes`] or a sandbox with such volumes succeeded.
    Published {
        fingerprint: Option<[u8; 32]>,
    },
}

/// A step that failed, and when it may be tried again.
#[derive(Clone, Debug)]
pub struct Failure {
    pub reason: &'static str,
    pub message: String,
    pub count: u32,
    pub at: Timestamp,
    pub retry_at: Timestamp,
}

/// A container on its way out.
#[derive(Clone, Debug)]
pub struct Stopping {
    pub deadline: Timestamp,
    pub pre_stop_done: bool,
    pub asked_at: Option<Timestamp>,
    pub killed_at: Option<Timestamp>,
    /// Signals in a row that could not be delivered.
    pub failures: u32,
    /// No signal is sent before this.
    pub retry_at: Option<Timestamp>,
}

/// What probes have said of one container attempt.
#[derive(Clone, Debug, Default)]
pub struct Health {
    pub started: Option<bool>,
    pub ready: Option<bool>,
    pub failed: Option<String>,
}

/// Removing the Pod's traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Removal {
    #[default]
    NotBegun,
    Cleaning,
    Cleaned,
    ObjectDeleted,
}

#[derive(Debug, Default)]
pub struct Memory {
    pub(super) busy: BTreeSet<Slot>,
    pub(super) failures: BTreeMap<Slot, Failure>,
    pub(super) stopping: BTreeMap<ContainerId, Stopping>,
    pub(super) health: BTreeMap<ContainerId, Health>,
    /// Starts that were told to give up.
    pub(super) cancelled: BTreeSet<String>,
    pub(super) published: Option<[u8; 32]>,
    pub(super) removal: Removal,
    /// When it was first seen that the Pod is deleted, or its object gone.
    pub(super) ending_since: Option<Timestamp>,
    /// The Pod's `deletionTimestamp`, and when its grace is over by the time that makes no steps.
    pub(super) due: Option<(Timestamp, Timestamp)>,
    /// When the Pod began, by the time that makes no steps.
    pub(super) started: Option<Timestamp>,
    /// When each attempt ended, by the time that makes no steps: set when the end is first seen.
    pub(super) ends: BTreeMap<ContainerId, Timestamp>,
    /// Reason and message of a Pod that the agent itself ended.
    pub(super) ended: Option<(&'static str, String)>,
    /// The Pod's result, once it has one: told or not.
    pub(super) verdict: Option<Verdict>,
    /// What was last said about a topic, so that it is said once.
    pub(super) said: BTreeMap<String, String>,
    /// The status as last decided: where transition times and the restart count come from.
    pub(super) status: Option<PodStatus>,
}

impl Memory {
    /// Begins with what the Pod's object says: after a restart of the agent, that is what it said before.
    pub fn of(pod: &Pod) -> Memory {
        let status = pod.status.clone();
        let mut memory = Memory::default();
        if let Some(status) = &status {
            let lists = status.container_statuses.iter().chain(&status.init_container_statuses);
            for container in lists.flatten() {
                let Some(id) = container.container_id.as_deref().and_then(|id| id.split("://").nth(1)) else {
                    continue;
                };
                let seen = |value: bool| value.then_some(true);
                memory.health.insert(
                    ContainerId(id.to_owned()),
                    Health {
                        started: seen(container.started == Some(true)),
                        ready: seen(container.ready),
                        failed: None,
                    },
                );
            }
        }
        memory.status = status;
        memory
    }

    pub fn is_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.removal == Removal::ObjectDeleted
    }

    pub(super) fn begin(&mut self, slot: Slot) {
        self.busy.insert(slot);
    }

    pub(super) fn is_free(&self, slot: &Slot) -> bool {
        !self.busy.contains(slot)
    }

    /// May a step of this slot be tried now? If a failure forbids it: until when.
    pub(super) fn held_until(&self, slot: &Slot, now: Timestamp) -> Option<Timestamp> {
        self.failures.get(slot).map(|failure| failure.retry_at).filter(|at| *at > now)
    }

    /// A step of this slot has ended.
    pub fn note(&mut self, slot: &Slot, outcome: Outcome, policy: &Policy, now: Timestamp) {
        self.busy.remove(slot);
        if let Slot::Container(name) = slot {
            self.cancelled.remove(name);
        }
        match outcome {
            Outcome::Done | Outcome::Published { .. } => {
                self.failures.remove(slot);
                if let Outcome::Published { fingerprint } = outcome {
                    self.published = fingerprint;
                }
                match (slot, self.removal) {
                    (Slot::Object, _) => self.removal = Removal::ObjectDeleted,
                    (Slot::Sandbox, Removal::Cleaning) => self.removal = Removal::Cleaned,
                    _ => {}
                }
            }
            Outcome::Failed { reason, message } => {
                let count = self.failures.get(slot).map_or(0, |failure| failure.count) + 1;
                let wait = match slot {
                    Slot::Container(_) | Slot::Sandbox if self.removal == Removal::NotBegun => policy.delay(count),
                    _ => retry_pause(count),
                };
                let retry_at = later(now, SignedDuration::try_from(wait).unwrap_or_default());
                self.failures.insert(slot.clone(), Failure { reason, message, count, at: now, retry_at });
            }
        }
    }

    pub(super) fn begin_cleaning(&mut self) {
        self.removal = Removal::Cleaning;
        self.begin(Slot::Sandbox);
    }

    /// A hook has run, or has had its time.
    pub fn note_pre_stop(&mut self, container: &str, id: &ContainerId) {
        self.busy.remove(&Slot::Container(container.to_owned()));
        if let Some(stopping) = self.stopping.get_mut(id) {
            stopping.pre_stop_done = true;
        }
    }

    /// A signal was delivered, or could not be: then it is sent again after a pause.
    pub fn note_signal(&mut self, container: &str, id: &ContainerId, delivered: bool, now: Timestamp) {
        self.busy.remove(&Slot::Container(container.to_owned()));
        let Some(stopping) = self.stopping.get_mut(id) else { return };
        if delivered {
            stopping.failures = 0;
            stopping.retry_at = None;
            return;
        }
        stopping.asked_at = None;
        stopping.killed_at = None;
        stopping.failures = stopping.failures.saturating_add(1);
        let pause = SignedDuration::try_from(retry_pause(stopping.failures)).unwrap_or_default();
        stopping.retry_at = Some(later(now, pause));
    }

    /// A probe has made up its mind.
    pub fn note_probe(&mut self, id: &ContainerId, kind: ProbeKind, success: bool, message: &str) {
        let health = self.health.entry(id.clone()).or_default();
        match (kind, success) {
            (ProbeKind::Startup, true) => health.started = Some(true),
            (ProbeKind::Startup | ProbeKind::Liveness, false) => health.failed = Some(message.to_owned()),
            (ProbeKind::Liveness, true) => {}
            (ProbeKind::Readiness, _) => health.ready = Some(success),
        }
    }

    /// True the first time, and whenever the text about this topic changes.
    pub(super) fn say(&mut self, topic: &str, text: &str) -> bool {
        if self.said.get(topic).is_some_and(|before| before == text) {
            return false;
        }
        self.said.insert(topic.to_owned(), text.to_owned());
        true
    }

    pub(super) fn unsay(&mut self, topic: &str) {
        self.said.remove(topic);
    }

    pub(super) fn forget_gone(&mut self, input: &Input<'_>, view: &View<'_>) {
        self.stopping.retain(|id, _| view.is_running(id));
        self.ends.retain(|id, _| view.knows(id));
        // An attempt that has only just been started may not be in the view yet, nor one that could not be looked at.
        let starting = self.busy.iter().any(|slot| matches!(slot, Slot::Container(_)));
        if !starting && !input.unseen {
            self.health.retain(|id, _| view.knows(id));
        }
    }

    /// Takes in which attempts have ended. None has ended later than it was first seen so, whatever the clocks say.
    pub(super) fn note_ends(&mut self, input: &Input<'_>) {
        for container in input.containers {
            let at = match &container.state {
                State::Exited(exit) => exit.finished_at,
                State::Created { at, error: Some(_) } => *at,
                State::Created { .. } | State::Running { .. } => continue,
            };
            self.ends.entry(container.id.clone()).or_insert_with(|| input.steady(at).min(input.now));
        }
    }

    /// When an attempt ended, by the time that makes no steps.
    pub(super) fn end_of(&self, id: &ContainerId, exit: &Exit) -> Timestamp {
        self.ends.get(id).copied().unwrap_or(exit.finished_at)
    }

    /// `None` when the decision panics. What it has begun does not count as begun then: nobody has its steps.
    pub(super) fn guarded<T>(&mut self, decide: impl FnOnce(&mut Memory) -> T) -> Option<T> {
        let busy = self.busy.clone();
        let decided = catch_unwind(AssertUnwindSafe(|| decide(self)));
        if decided.is_err() {
            self.busy = busy;
        }
        decided.ok()
    }
}

/// After so many failures in a row of a step that the engine did not take.
fn retry_pause(failures: u32) -> Duration {
    RETRY_AFTER.saturating_mul(failures.min(8))
}
