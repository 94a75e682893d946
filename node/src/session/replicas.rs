//! What the agent knows of each replica: shared by the sessions (which learn it) and the proxy (which uses it).

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

/// Cheap to clone; clones share.
#[derive(Clone)]
pub struct Replicas(Arc<Inner>);

struct Inner {
    addresses: Vec<String>,
    known: Mutex<Vec<Known>>,
    /// Ticks whenever anything in `known` changed.
    changed: watch::Sender<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// A session stands, and its last heartbeat was answered in time.
    pub live: bool,
    pub leads: bool,
    pub term: u64,
}

impl Replicas {
    /// `addresses`: `host:port` of every replica's API.
    pub fn new(addresses: Vec<String>) -> Replicas {
        let known = Mutex::new(vec![Known::default(); addresses.len()]);
        Replicas(Arc::new(Inner { addresses, known, changed: watch::Sender::new(0) }))
    }

    pub fn addresses(&self) -> &[String] {
        &self.0.addresses
    }

    pub fn known(&self, index: usize) -> Known {
        self.lock()[index]
    }

    pub fn note(&self, index: usize, now: Known) {
        let mut known = self.lock();
        if known[index] != now {
            known[index] = now;
            self.0.changed.send_modify(|tick| *tick += 1);
        }
    }

    /// Ticks at every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// The order in which to try replicas: live ones first, among them `favourite` first, then the others in turn
    /// after it.
    pub fn order(&self, favourite: usize) -> Vec<usize> {
        let known = self.lock();
        let count = known.len();
        let mut order: Vec<usize> = (0..count).map(|step| (favourite + step) % count).collect();
        order.sort_by_key(|&index| !known[index].live);
        order
    }

    pub fn any_live(&self) -> bool {
        self.lock().iter().any(|known| known.live)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Known>> {
        self.0.known.lock().expect("no holder of the lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_replicas_come_first_and_the_favourite_among_them() {
        let replicas = Replicas::new(vec!["a".into(), "b".into(), "c".into()]);
        assert_eq!(replicas.order(1), [1, 2, 0]);
        replicas.note(0, Known { live: true, ..Known::default() });
        assert_eq!(replicas.order(1), [0, 1, 2]);
        replicas.note(1, Known { live: true, ..Known::default() });
        assert_eq!(replicas.order(1), [1, 0, 2]);
    }

    #[test]
    fn only_changes_tick() {
        let replicas = Replicas::new(vec!["a".into()]);
        let mut changes = replicas.changes();
        changes.mark_unchanged();
        replicas.note(0, Known::default());
        assert!(!changes.has_changed().unwrap());
        replicas.note(0, Known { live: true, ..Known::default() });
        assert!(changes.has_changed().unwrap());
    }
}
