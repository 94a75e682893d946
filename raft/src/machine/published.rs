//! What the state machine shows to the rest of the replica: the state, how far it is applied, the changes. Acts.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::history::History;
use super::trail::Trail;
use crate::command::{Change, Revision, Versioned};
use crate::metrics::Metrics;
use crate::state::State;
use crate::types::LogId;

/// What a poisoned replica holds though nobody wrote it. For tests.
pub const STRAY: &[u8] = b"stray";

pub struct Published {
    /// Entries change it in place, each under the lock: while nobody holds a clone of it, nothing needs to be copied. The history
    /// has what led to it; how far it is applied is shown a moment later.
    state: RwLock<State>,
    applied: watch::Sender<Option<LogId>>,
    /// Follows the state: who sees a revision here finds the state at least as new.
    revision: watch::Sender<Revision>,
    trail: Mutex<Trail>,
    pub history: History,
    pub metrics: Arc<Metrics>,
    /// Cancelled once nothing is applied any more.
    pub ended: CancellationToken,
    /// The next change is applied wrongly. For tests.
    pub poison: AtomicBool,
}

impl Published {
    pub fn new(
        state: State,
        applied: Option<LogId>,
        history: History,
        metrics: Arc<Metrics>,
        ended: CancellationToken,
    ) -> Arc<Published> {
        let revision = watch::Sender::new(state.revision());
        let mut trail = Trail::default();
        if let Some(at) = applied {
            trail.record(at.index, state.digest());
        }
        let published = Published {
            state: RwLock::new(state),
            applied: watch::Sender::new(applied),
            revision,
            trail: Mutex::new(trail),
            history,
            metrics,
            ended,
            poison: AtomicBool::new(false),
        };
        published.report(applied);
        Arc::new(published)
    }

    pub fn state(&self) -> State {
        self.look(State::clone)
    }

    /// Without a clone, which would be in the way of the next changes.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().expect("no holder of the state panics"))
    }

    /// A whole entry's effect, and what the history is to have of it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.write().expect("no holder of the state panics"))
    }

    /// What a fault in the code or in the memory would do: an object comes into being that nobody wrote. The disk is to have what
    /// memory has: a restart finds no damage, but an odd state. For tests.
    pub(super) fn stray(&self, state: &mut State, changes: &[Change]) -> Option<Change> {
        let change = changes.last()?;
        if !self.poison.swap(false, Relaxed) {
            return None;
        }
        let (key, value) = (Bytes::from_static(STRAY), Bytes::from_static(b"what nobody wrote"));
        let (revision, created) = (change.revision, change.revision);
        state.insert(key.clone(), Versioned { revision, created, value: value.clone() });
        Some(Change { key, value: Some(value), ..change.clone() })
    }

    pub fn trail(&self) -> MutexGuard<'_, Trail> {
        self.trail.lock().expect("no holder of the trail panics")
    }

    /// Of entries that were applied, by index.
    pub fn record(&self, digests: &[(u64, u64)]) {
        let mut trail = self.trail();
        digests.iter().for_each(|(index, digest)| trail.record(*index, *digest));
    }

    pub fn revision(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }

    pub fn applied(&self) -> watch::Receiver<Option<LogId>> {
        self.applied.subscribe()
    }

    /// How far the state has come.
    pub fn show(&self, applied: Option<LogId>) {
        let revision = self.look(State::revision);
        self.applied.send_replace(applied);
        self.revision.send_if_modified(|shown| std::mem::replace(shown, revision) != revision);
        self.report(applied);
    }

    fn report(&self, applied: Option<LogId>) {
        self.look(|state| {
            Metrics::set(&self.metrics.state_digest, state.digest());
            Metrics::set(&self.metrics.revision, state.revision());
            Metrics::set(&self.metrics.objects, state.len() as u64);
        });
        Metrics::set(&self.metrics.applied_index, applied.map_or(0, |at| at.index));
    }
}
