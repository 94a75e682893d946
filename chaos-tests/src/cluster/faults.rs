//! Does to the world what the plan says. Acts.

use std::time::Duration;

use raft::{Store, Table};

use super::plan::{Fault, Kind, NEW_NODE, NEWCOMER, REPLICAS, USER, Who};
use super::run::Run;
use super::seen::Relief;
use crate::sim::links::{HostId, Loss};

impl Run {
    /// The fault with this number begins or ends.
    pub fn turn(&mut self, n: usize, begins: bool) {
        let kind = self.plan.faults[n].kind;
        let host = match kind {
            Kind::Crash(who, _)
            | Kind::Freeze(who)
            | Kind::CutOff(who, _)
            | Kind::Deaf(who)
            | Kind::Clock(who, _)
            | Kind::Reset(who)
            | Kind::Decay(who) => {
                // Whom it met when it began is healed when it ends.
                let met = if begins { self.who(who) } else { self.met.remove(&n) };
                let Some(host) = met else { return };
                if begins {
                    self.met.insert(n, host);
                }
                host
            }
            Kind::Transfer(host)
            | Kind::EngineHangs(host)
            | Kind::SlowDisk(host, _)
            | Kind::FullDisk(host)
            | Kind::FailSync(host)
            | Kind::FailWrite(host)
            | Kind::OneWay(host, _)
            | Kind::Bridge(host, _)
            | Kind::Flap(host, ..)
            | Kind::Compact(host)
            | Kind::Replace(host)
            | Kind::Relieve(host) => host,
            Kind::Guest => NEWCOMER,
            Kind::Slow(_) | Kind::ShortHistory { .. } => USER,
        };
        if !self.plan.has(host) {
            return;
        }
        let word = if begins { "begins" } else { "ends" };
        self.world.note(format_args!("fault {n} {word} on host {host}: {kind:?}"));
        self.look_back(n);
        // What lasts meets somebody later, if at all.
        let mut meets = false;
        match (kind, begins) {
            (Kind::Crash(_, powered), true) => meets = self.crash(host, powered),
            (Kind::Crash(..), false) => self.boot(host),
            (Kind::Freeze(_), true) => meets = self.world.freeze(host),
            (Kind::Freeze(_), false) => self.world.thaw(host),
            (Kind::CutOff(_, loss) | Kind::Flap(_, _, loss) | Kind::Bridge(_, loss), cut) => {
                self.part(&self.ways(kind, host), loss, cut);
            }
            (Kind::OneWay(..) | Kind::Deaf(_), cut) => self.part(&self.ways(kind, host), Loss::Lost, cut),
            (Kind::Transfer(to), true) => self.transfer(n, to),
            (Kind::Transfer(_), false) => {}
            (Kind::EngineHangs(_), hangs) => self.engines[&host].hang(hangs),
            (Kind::Slow(by_ms), begins) => self.slow(if begins { by_ms } else { 0 }),
            (Kind::Reset(_), true) => meets = self.reset(host) > 0,
            (Kind::Reset(_), false) => {}
            (Kind::SlowDisk(_, by_ms), begins) => {
                self.platters[&host].set(|faults| faults.slower_ms = if begins { by_ms } else { 0 });
            }
            (Kind::FullDisk(_), full) => self.platters[&host].set(|faults| faults.full = full),
            (Kind::FailSync(_), fails) => self.platters[&host].set(|faults| faults.fail_sync = fails),
            (Kind::FailWrite(_), fails) => self.platters[&host].set(|faults| faults.fail_write = fails),
            (Kind::Compact(_), true) => {
                let felt = self.felt.clone();
                self.with_store(host, move |store| felt.compact(Some(n), store));
            }
            (Kind::Compact(_), false) => {}
            (Kind::Decay(_), true) => {
                if let Some((table, key)) = self.platters[&host].rot(&Table::ALL) {
                    meets = true;
                    self.world.note(format_args!("a bit of {} {key:?} at host {host} turns over", table.name()));
                }
            }
            (Kind::Decay(_), false) => {}
            (Kind::Clock(_, offset_ms), begins) => {
                self.world.set_clock_offset(host, if begins { offset_ms } else { 0 });
            }
            (Kind::Relieve(_), true) => self.boot(NEW_NODE),
            // The operator sees to these, and each replica from its beginning on.
            (Kind::Relieve(_), false) | (Kind::Guest | Kind::Replace(_) | Kind::ShortHistory { .. }, _) => {}
        }
        self.felt.meets(meets.then_some(n));
        if let Some(count) = self.count(kind, host).filter(|_| begins) {
            self.under_way.insert(n, (host, count));
        }
    }

    /// Has the fault met somebody since it began?
    fn look_back(&mut self, n: usize) {
        let Some((host, before)) = self.under_way.remove(&n) else { return };
        let meets = self.count(self.plan.faults[n].kind, host).is_some_and(|count| count > before);
        self.felt.meets(meets.then_some(n));
    }

    /// A count that grows with whomever a fault meets on this host while it lasts. `None`: it strikes at once.
    fn count(&self, kind: Kind, host: HostId) -> Option<u64> {
        match kind {
            Kind::CutOff(..) | Kind::Flap(..) | Kind::Bridge(..) | Kind::OneWay(..) | Kind::Deaf(_) => {
                Some(self.world.cut_off(&self.ways(kind, host)))
            }
            Kind::Slow(_) => Some(self.world.sent()),
            Kind::Clock(..) => Some(self.world.misled(host)),
            Kind::EngineHangs(_) => Some(self.engines[&host].hung()),
            Kind::SlowDisk(..) => Some(self.platters[&host].met().slower),
            Kind::FullDisk(_) => Some(self.platters[&host].met().full),
            Kind::FailSync(_) => Some(self.platters[&host].met().fail_sync),
            Kind::FailWrite(_) => Some(self.platters[&host].met().fail_write),
            Kind::Crash(..)
            | Kind::Freeze(_)
            | Kind::Transfer(_)
            | Kind::Reset(_)
            | Kind::Compact(_)
            | Kind::Decay(_)
            | Kind::Guest
            | Kind::Replace(_)
            | Kind::Relieve(_)
            | Kind::ShortHistory { .. } => None,
        }
    }

    /// What goes on to the end of the run has met somebody by then, or nobody: an order that was taken, a history that somebody missed.
    pub fn look_back_at_the_end(&self) {
        let seen = self.shared.lock();
        let is_met = |fault: &Fault| match fault.kind {
            Kind::Guest | Kind::Replace(_) => self.newcomer.is_some(),
            Kind::Relieve(_) => seen.relief != Relief::Serves,
            Kind::ShortHistory { .. } => seen.gone > 0,
            _ => false,
        };
        for (n, fault) in self.plan.faults.iter().enumerate() {
            self.felt.meets(is_met(fault).then_some(n));
        }
    }

    fn who(&self, who: Who) -> Option<HostId> {
        match who {
            Who::Host(host) => Some(host),
            Who::Leader => self.leader(),
        }
    }

    fn transfer(&mut self, n: usize, to: HostId) {
        let (Some(leader), Some(to), felt) = (self.leader(), self.id_at(to), self.felt.clone()) else { return };
        self.with_store(leader, move |store| felt.transfer(Some(n), store, to));
    }

    fn with_store<F: Future<Output = ()> + Send + 'static>(&self, host: HostId, task: impl FnOnce(Store) -> F) {
        let store = self.shared.lock().stores.get(&host).cloned();
        if let Some(store) = store {
            self.world.spawn(host, task(store));
        }
    }

    /// Cuts these ways, or heals that.
    fn part(&mut self, ways: &[(HostId, HostId)], loss: Loss, cut: bool) {
        for (from, to) in ways.iter().copied() {
            match cut {
                true => self.world.cut(from, to, loss),
                false => self.world.heal(from, to),
            }
        }
    }

    /// Returns how many ends of connections broke.
    fn reset(&mut self, host: HostId) -> usize {
        let others = (0..self.plan.hosts()).filter(|other| *other != host);
        others.map(|other| self.world.reset(host, other)).sum()
    }

    fn slow(&mut self, by_ms: u64) {
        let hosts = self.plan.hosts();
        for host in 0..hosts {
            (host + 1..hosts).for_each(|other| self.world.slow(host, other, Duration::from_millis(by_ms)));
        }
    }

    /// Everything is well again.
    pub fn end_faults(&mut self) {
        let under_way: Vec<usize> = self.under_way.keys().copied().collect();
        under_way.into_iter().for_each(|n| self.look_back(n));
        self.met.clear();
        self.slow(0);
        let hosts = self.plan.hosts();
        for host in 0..hosts {
            (0..hosts).filter(|other| *other != host).for_each(|other| self.world.heal_all(host, other));
            self.world.thaw(host);
            self.world.set_clock_offset(host, 0);
            self.boot(host);
        }
        self.engines.values().for_each(|engine| engine.hang(false));
        self.platters.values().for_each(|platters| platters.set(|faults| *faults = Default::default()));
    }

    /// From where to where nothing goes while this fault of a host lasts.
    fn ways(&self, kind: Kind, host: HostId) -> Vec<(HostId, HostId)> {
        let both = |one, other| [(one, other), (other, one)];
        let others = (0..self.plan.hosts()).filter(|other| *other != host);
        match kind {
            Kind::CutOff(..) | Kind::Flap(..) => others.flat_map(|other| both(host, other)).collect(),
            Kind::Bridge(..) => both((host + 1) % REPLICAS, (host + 2) % REPLICAS).into(),
            Kind::OneWay(_, to) => vec![(host, to)],
            Kind::Deaf(_) => others.map(|other| (other, host)).collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
