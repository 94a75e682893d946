//! One replica applies a command wrongly: besides what the command says, an object comes into being that nobody wrote and that no
//! user reads. It must be fenced, and then an operator does what docs/disk.md says: he empties its disk, and the others fill
//! it. Acts; [`crate::check::fences`] decides.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use raft::{ReadError, State, Store, Unwell};

use super::actions::Action;
use super::plan::Host;
use super::run::Run;
use crate::check::fences::Sight;
use crate::check::replicas::checksum;

/// Does this state hold what nobody wrote?
pub fn is_odd(state: &State) -> bool {
    state.get(Store::STRAY).is_some()
}

/// The checksum of all the rest. A replica that is odd keeps every promise about that.
pub fn written(state: &State) -> u32 {
    checksum(state.range(b"", None).filter(|(key, _)| &key[..] != Store::STRAY))
}

/// Is it its fence, and nothing else, that keeps this replica from serving?
fn is_held_by_its_fence(store: &Store) -> bool {
    match (store.health(), store.trusted()) {
        (Err(Unwell(why)), Err(ReadError::Fenced(fence))) => why == fence,
        _ => false,
    }
}

fn sight(store: &Store) -> Sight {
    let told = store.metrics();
    let [fenced, doubts, found] = [&told.fenced, &told.in_doubt, &told.divergences].map(|of| of.load(Relaxed) > 0);
    Sight { odd: is_odd(&store.state()), fenced, suspects: doubts || found }
}

impl Run {
    /// Looks at all fences, and poisons who is to be odd until it is.
    pub fn watch_fences(&mut self) {
        if self.plan.odd().is_none() {
            return;
        }
        let stores: Vec<Store> = self.shared.lock().stores.values().cloned().collect();
        let sights: BTreeMap<u64, Sight> = stores.iter().map(|store| (store.id(), sight(store))).collect();
        let seen = self.fences.see(&sights);
        for id in seen.iter().flatten() {
            self.world.note(format_args!("replica {id} is to be seen: {}", sights[id]));
        }
        let (now, calm) = (self.world.now(), self.calm_term());
        let on_time = self.fences.on_time(now, calm);
        self.shared.judge(seen.map(drop).and(on_time));
        if let Some(store) = self.poisons.and_then(|host| self.store_at(host)) {
            match is_odd(&store.state()) {
                true => self.poisons = None,
                // A process that dies forgets it.
                false => store.poison(),
            }
        }
    }

    /// In which term all replicas have one leader, after the end of all faults.
    fn calm_term(&self) -> Option<u64> {
        let standings = self.standings();
        let first = standings.first().filter(|first| first.leader.is_some())?;
        let is_over = self.world.now() >= Duration::from_millis(self.plan.ends_ms);
        let agree = standings.iter().all(|one| (one.term, one.leader) == (first.term, first.leader));
        (is_over && agree && standings.len() == self.plan.replicas).then_some(first.term)
    }

    /// What an operator does about a fence where a state is made odd. Returns whether that is why the replica of this host does
    /// not serve: then it is no use to start it anew, and a doubt ends by itself.
    pub fn see_to_fence(&mut self, host: Host) -> bool {
        let Some((odd, for_ms, purged)) = self.plan.odd() else { return false };
        let held = self.store_at(host).filter(|store| self.world.runs(host) && is_held_by_its_fence(store));
        let Some(store) = held else { return false };
        let is_fenced = sight(&store).fenced;
        drop(store);
        if host == odd && is_fenced {
            self.see_to_odd(host, Duration::from_millis(for_ms), purged);
        }
        true
    }

    fn see_to_odd(&mut self, host: Host, after: Duration, purged: bool) {
        let now = self.world.now();
        if self.empty_at.is_none() && purged {
            let others = (0..self.plan.replicas).filter(|other| *other != host);
            others.for_each(|other| self.act(&Action::Compact(other), None));
        }
        if now < *self.empty_at.get_or_insert(now + after) {
            return;
        }
        self.world.note(format_args!("the operator empties the disk of host {host}"));
        self.crash(host, true);
        self.act(&Action::NewDisk(host), None);
        if let Some(id) = self.id_at(host) {
            self.fences.emptied(id);
        }
        self.boot(host);
    }
}
