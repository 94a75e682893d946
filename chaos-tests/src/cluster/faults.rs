//! Does to the world what the plan says. Acts.

use std::time::Duration;

use raft::{Store, Table};

use super::plan::{Kind, REPLICAS, USER, Who};
use super::run::Run;
use super::{processes, user};
use crate::check::repairs::Sight;
use crate::sim::links::{HostId, Loss};

/// How long the operator takes.
const RESTART: Duration = Duration::from_secs(1);
/// Where the replica has found damage, which it is to get over by itself.
const REPAIR: Duration = Duration::from_secs(15);

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
            | Kind::Compact(host) => host,
            Kind::Slow(_) => USER,
        };
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
                self.part(&ways(kind, host), loss, cut);
            }
            (Kind::OneWay(..) | Kind::Deaf(_), cut) => self.part(&ways(kind, host), Loss::Lost, cut),
            (Kind::Transfer(to), true) => self.transfer(n, to),
            (Kind::Transfer(_), false) => {}
            (Kind::EngineHangs(_), hangs) => self.engines[host - REPLICAS].hang(hangs),
            (Kind::Slow(by_ms), begins) => self.slow(if begins { by_ms } else { 0 }),
            (Kind::Reset(_), true) => meets = self.reset(host) > 0,
            (Kind::Reset(_), false) => {}
            (Kind::SlowDisk(_, by_ms), begins) => {
                self.platters[host].set(|faults| faults.slower_ms = if begins { by_ms } else { 0 });
            }
            (Kind::FullDisk(_), full) => self.platters[host].set(|faults| faults.full = full),
            (Kind::FailSync(_), fails) => self.platters[host].set(|faults| faults.fail_sync = fails),
            (Kind::FailWrite(_), fails) => self.platters[host].set(|faults| faults.fail_write = fails),
            (Kind::Compact(_), true) => {
                let felt = self.felt.clone();
                self.with_store(host, move |store| felt.compact(Some(n), store));
            }
            (Kind::Compact(_), false) => {}
            (Kind::Decay(_), true) => {
                if let Some((table, key)) = self.platters[host].rot(&Table::ALL) {
                    meets = true;
                    self.world.note(format_args!("a bit of {} {key:?} at host {host} turns over", table.name()));
                }
            }
            (Kind::Decay(_), false) => {}
            (Kind::Clock(_, offset_ms), begins) => {
                self.world.set_clock_offset(host, if begins { offset_ms } else { 0 });
            }
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
                Some(self.world.cut_off(&ways(kind, host)))
            }
            Kind::Slow(_) => Some(self.world.sent()),
            Kind::Clock(..) => Some(self.world.misled(host)),
            Kind::EngineHangs(_) => Some(self.engines[host - REPLICAS].hung()),
            Kind::SlowDisk(..) => Some(self.platters[host].met().slower),
            Kind::FullDisk(_) => Some(self.platters[host].met().full),
            Kind::FailSync(_) => Some(self.platters[host].met().fail_sync),
            Kind::FailWrite(_) => Some(self.platters[host].met().fail_write),
            Kind::Crash(..)
            | Kind::Freeze(_)
            | Kind::Transfer(_)
            | Kind::Reset(_)
            | Kind::Compact(_)
            | Kind::Decay(_) => None,
        }
    }

    fn who(&self, who: Who) -> Option<HostId> {
        match who {
            Who::Host(host) => Some(host),
            Who::Leader => self.leader(),
        }
    }

    /// Returns whether there was a process.
    fn crash(&mut self, host: HostId, powered: bool) -> bool {
        if !self.world.runs(host) {
            return false;
        }
        self.restart_at.remove(&host);
        let store = self.shared.lock().stores.remove(&host);
        store.iter().for_each(|store| self.shared.hear_diagnosis(store));
        self.world.kill(host, powered);
        drop(store);
        match host {
            ..REPLICAS => drop(self.platters[host].crash()),
            _ if powered => {}
            _ => {
                let engine = self.engines[host - REPLICAS].clone();
                engine.running().iter().for_each(|container| engine.exit(&container.id, 137));
            }
        }
        true
    }

    pub fn boot(&mut self, host: HostId) {
        if self.world.runs(host) {
            return;
        }
        let (env, dir, shared) = (self.world.env(host), self.dir.clone(), self.shared.clone());
        match host {
            USER => self.world.boot(host, user::main(env, shared)),
            ..REPLICAS => {
                self.world.boot(host, processes::replica(dir, host, self.platters[host].clone(), env, shared));
            }
            _ => {
                let engine = self.engines[host - REPLICAS].clone();
                self.world.boot(host, processes::agent(dir, host, engine, env, shared));
            }
        }
    }

    fn transfer(&mut self, n: usize, to: HostId) {
        let (Some(leader), felt) = (self.leader(), self.felt.clone()) else { return };
        self.with_store(leader, move |store| felt.transfer(Some(n), store, to as u64 + 1));
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
        let others = (0..=USER).filter(|other| *other != host);
        others.map(|other| self.world.reset(host, other)).sum()
    }

    fn slow(&mut self, by_ms: u64) {
        for host in 0..USER {
            (host + 1..=USER).for_each(|other| self.world.slow(host, other, Duration::from_millis(by_ms)));
        }
    }

    fn others(&mut self, host: HostId, each: impl Fn(&mut Run, HostId)) {
        (0..=USER).filter(|other| *other != host).for_each(|other| each(self, other));
    }

    /// What an operator does: a replica that trusts its disk no longer is started anew, for it would not do so by itself.
    /// Not one that is to begin anew by itself.
    pub fn supervise(&mut self) {
        let stores: Vec<_> = self.shared.lock().stores.iter().map(|(host, store)| (*host, store.clone())).collect();
        let able = self.look_at_repairs(&stores);
        for (host, store) in stores {
            if able.contains(&store.id()) {
                continue;
            }
            let Err(why) = store.health() else {
                self.restart_at.remove(&host);
                continue;
            };
            let (now, takes) = (self.world.now(), if store.metrics().rot().is_some() { REPAIR } else { RESTART });
            if now >= *self.restart_at.entry(host).or_insert(now + takes) {
                self.world.note(format_args!("host {host} is started anew: {why}"));
                drop(store);
                self.crash(host, true);
                self.boot(host);
            }
        }
    }

    /// Who can begin anew to be rid of damage, once all faults have ended.
    fn look_at_repairs(&mut self, stores: &[(HostId, Store)]) -> Vec<u64> {
        if self.world.now() < Duration::from_millis(self.plan.ends_ms) {
            return Vec::new();
        }
        let sights = stores.iter().map(|(_, store)| (store.id(), Sight::of(store))).collect();
        let begun = self.shared.lock().renewals;
        self.repairs.see(self.world.now(), &sights, REPLICAS, begun).unwrap_or_else(|why| {
            self.shared.violated(why);
            Vec::new()
        })
    }

    /// Everything is well again.
    pub fn end_faults(&mut self) {
        let under_way: Vec<usize> = self.under_way.keys().copied().collect();
        under_way.into_iter().for_each(|n| self.look_back(n));
        self.met.clear();
        self.slow(0);
        for host in 0..=USER {
            self.others(host, |run, other| run.world.heal_all(host, other));
            self.world.thaw(host);
            self.world.set_clock_offset(host, 0);
            self.boot(host);
        }
        self.engines.iter().for_each(|engine| engine.hang(false));
        self.platters.iter().for_each(|platters| platters.set(|faults| *faults = Default::default()));
    }
}

/// From where to where nothing goes while this fault of a host lasts.
fn ways(kind: Kind, host: HostId) -> Vec<(HostId, HostId)> {
    let both = |one, other| [(one, other), (other, one)];
    let others = (0..=USER).filter(|other| *other != host);
    match kind {
        Kind::CutOff(..) | Kind::Flap(..) => others.flat_map(|other| both(host, other)).collect(),
        Kind::Bridge(..) => both((host + 1) % REPLICAS, (host + 2) % REPLICAS).into(),
        Kind::OneWay(_, to) => vec![(host, to)],
        Kind::Deaf(_) => others.map(|other| (other, host)).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
