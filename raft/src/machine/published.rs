//! What the state machine shows to the rest of the replica: the state, how far it is applied, the changes. Acts.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::history::History;
use super::trail::Trail;
use crate::command::{Change, Revision};
use crate::metrics::Metrics;
use crate::state::State;
use crate::types::LogId;

pub struct Published {
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
    pub fn new(state: State, applied: Option<LogId>, history: History, metrics: Arc<Metrics>) -> Arc<Published> {
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
            ended: CancellationToken::new(),
            poison: AtomicBool::new(false),
        };
        published.report(applied);
        Arc::new(published)
    }

    pub fn state(&self) -> State {
        self.state.read().expect("no holder of the state panics").clone()
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

    /// The order matters: whoever is woken finds the history, then the state.
    pub fn publish(&self, state: State, applied: Option<LogId>, changes: Vec<Arc<Change>>, bytes: u64) {
        self.history.remember(changes, bytes);
        self.show(state, applied);
    }

    /// After the history was replaced by a snapshot's.
    pub fn show(&self, state: State, applied: Option<LogId>) {
        let revision = state.revision();
        *self.state.write().expect("no holder of the state panics") = state;
        self.applied.send_replace(applied);
        self.revision.send_if_modified(|shown| std::mem::replace(shown, revision) != revision);
        self.report(applied);
    }

    fn report(&self, applied: Option<LogId>) {
        let state = self.state.read().expect("no holder of the state panics");
        Metrics::set(&self.metrics.state_digest, state.digest());
        Metrics::set(&self.metrics.revision, state.revision());
        Metrics::set(&self.metrics.objects, state.len() as u64);
        Metrics::set(&self.metrics.applied_index, applied.map_or(0, |at| at.index));
    }
}
