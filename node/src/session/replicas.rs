//! What the agent knows of each replica: shared by the sessions (which learn it) and by those who use it, the proxy and
//! the client. Keeps state; [`super::members`] decides.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use super::members::{Members, Met, wanted};

/// Cheap to clone; clones share.
#[derive(Clone)]
pub struct Replicas(Arc<Inner>);

struct Inner {
    /// As configured.
    seeds: Vec<String>,
    state: Mutex<State>,
    /// Ticks whenever anything in the state changed.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    members: Members,
    /// Those to be dialled.
    addresses: Vec<String>,
    known: BTreeMap<String, (Known, u64)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// A session stands, and its last heartbeat was answered in time.
    pub live: bool,
    pub leads: bool,
    pub term: u64,
}

impl Replicas {
    /// `seeds`: `host:port` of the API of some replicas; the others are learned from them.
    pub fn new(seeds: Vec<String>) -> Replicas {
        let state = Mutex::new(State { addresses: seeds.clone(), ..State::default() });
        Replicas(Arc::new(Inner { seeds, state, changed: watch::Sender::new(0) }))
    }

    /// Where replicas are to be found at present.
    pub fn addresses(&self) -> Vec<String> {
        self.lock().addresses.clone()
    }

    pub fn known(&self, address: &str) -> Known {
        self.lock().known.get(address).map_or(Known::default(), |(known, _)| *known)
    }

    pub fn members(&self) -> Members {
        self.lock().members.clone()
    }

    pub fn note(&self, address: &str, now: Known) {
        self.change(|state| {
            let (known, _) = state.known.entry(address.to_owned()).or_default();
            std::mem::replace(known, now) != now
        });
    }

    /// This replica answers at this address.
    pub fn met(&self, address: &str, replica: u64) {
        self.change(|state| {
            let (_, known) = state.known.entry(address.to_owned()).or_default();
            std::mem::replace(known, replica) != replica
        });
    }

    /// Takes over who the members are, unless something newer is known.
    pub fn learn(&self, members: Members) {
        self.change(|state| {
            let newer = members.supersedes(&state.members);
            if newer {
                state.members = members;
            }
            newer
        });
    }

    /// Ticks at every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// The order in which to try replicas: live ones first, among them `favourite` first, then the others in turn
    /// after it.
    pub fn order(&self, favourite: Option<&str>) -> Vec<String> {
        let state = self.lock();
        let first = state.addresses.iter().position(|address| Some(address.as_str()) == favourite).unwrap_or(0);
        let mut order: Vec<String> =
            state.addresses[first..].iter().chain(&state.addresses[..first]).cloned().collect();
        order.sort_by_key(|address| !state.is_live(address));
        order
    }

    pub fn any_live(&self) -> bool {
        self.lock().known.values().any(|(known, _)| known.live)
    }

    fn change(&self, change: impl FnOnce(&mut State) -> bool) {
        let mut state = self.lock();
        if !change(&mut state) {
            return;
        }
        let met = |address: &str| {
            let (known, replica) = state.known.get(address).copied().unwrap_or_default();
            Met { live: known.live, replica }
        };
        let addresses = wanted(&self.0.seeds, &state.members, met);
        // Of addresses that are of no more use nothing is kept.
        let stays = |address: &String| addresses.contains(address) || self.0.seeds.contains(address);
        state.known.retain(|address, (known, _)| known.live || stays(address));
        state.addresses = addresses;
        drop(state);
        self.0.changed.send_modify(|tick| *tick += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder of the lock panics")
    }
}

impl State {
    fn is_live(&self, address: &str) -> bool {
        self.known.get(address).is_some_and(|(known, _)| known.live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: Known = Known { live: true, leads: false, term: 0 };

    #[test]
    fn live_replicas_come_first_and_the_favourite_among_them() {
        let replicas = Replicas::new(vec!["a".into(), "b".into(), "c".into()]);
        assert_eq!(replicas.order(Some("b")), ["b", "c", "a"]);
        replicas.note("a", LIVE);
        assert_eq!(replicas.order(Some("b")), ["a", "b", "c"]);
        replicas.note("b", LIVE);
        assert_eq!(replicas.order(Some("b")), ["b", "a", "c"]);
        assert_eq!(replicas.order(Some("gone")), ["a", "b", "c"]);
    }

    #[test]
    fn only_changes_tick() {
        let replicas = Replicas::new(vec!["a".into()]);
        let mut changes = replicas.changes();
        changes.mark_unchanged();
        replicas.note("a", Known::default());
        assert!(!changes.has_changed().unwrap());
        replicas.note("a", LIVE);
        assert!(changes.has_changed().unwrap());
    }

    #[test]
    fn what_is_learned_is_dialled() {
        let replicas = Replicas::new(vec!["a".into()]);
        let addresses = [(1, "a".to_owned()), (2, "b".to_owned())].into();
        let members = Members { cluster_id: "c".into(), epoch: 0, index: 5, addresses };
        replicas.learn(members.clone());
        assert_eq!(replicas.addresses(), ["a", "b"]);
        replicas.learn(Members { index: 4, addresses: [(1, "a".to_owned())].into(), ..members });
        assert_eq!(replicas.addresses(), ["a", "b"], "a replica that lags");
    }
}
