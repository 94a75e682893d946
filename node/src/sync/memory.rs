//! What the agent remembers of a Pod between decisions, and how news change it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};

use super::view::View;
use super::{Policy, ProbeKind, RETRY_AFTER};
use crate::runtime::ContainerId;

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
    /// Reason and message of a Pod that the agent itself ended.
    pub(super) ended: Option<(&'static str, String)>,
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
                    _ => RETRY_AFTER.saturating_mul(count.min(8)),
                };
                let retry_at = now + jiff::SignedDuration::try_from(wait).unwrap_or_default();
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

    /// A signal was delivered, or could not be: then it is sent again at the next decision.
    pub fn note_signal(&mut self, container: &str, id: &ContainerId, delivered: bool) {
        self.busy.remove(&Slot::Container(container.to_owned()));
        if !delivered && let Some(stopping) = self.stopping.get_mut(id) {
            stopping.asked_at = None;
            stopping.killed_at = None;
        }
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

    pub(super) fn forget_gone(&mut self, view: &View<'_>) {
        self.stopping.retain(|id, _| view.is_running(id));
        // An attempt that has only just been started may not be in the view yet.
        let starting = self.busy.iter().any(|slot| matches!(slot, Slot::Container(_)));
        if !starting {
            self.health.retain(|id, _| view.knows(id));
        }
    }
}
