//! Processes that start and die: with faults, and where somebody looks after them, who joins, and who is not needed any more. Acts.

use std::time::Duration;

use raft::Store;

use super::plan::{NEWCOMER, USER};
use super::run::Run;
use super::seen::Relief;
use super::{processes, setting, user};
use crate::check::repairs::{ALONE, Sight};
use crate::sim::links::HostId;

/// How long whoever starts a replica anew takes.
const RESTART: Duration = Duration::from_secs(1);

impl Run {
    /// Which replica runs on a host, or would if its process did. `None`: none has joined there yet.
    pub fn id_at(&self, host: HostId) -> Option<u64> {
        match host {
            NEWCOMER => self.newcomer.as_ref().map(|joined| joined.id),
            _ => Some(host as u64 + 1),
        }
    }

    /// Returns whether there was a process.
    pub fn crash(&mut self, host: HostId, powered: bool) -> bool {
        if !self.world.runs(host) {
            return false;
        }
        self.restart_at.remove(&host);
        let store = self.shared.lock().stores.remove(&host);
        store.iter().for_each(|store| self.shared.hear_diagnosis(store));
        self.world.kill(host, powered);
        drop(store);
        match self.platters.get(&host) {
            Some(platters) => drop(platters.crash()),
            None if powered => {}
            None => self.end_containers(host),
        }
        true
    }

    fn end_containers(&self, host: HostId) {
        let engine = &self.engines[&host];
        engine.running().iter().for_each(|container| engine.exit(&container.id, 137));
    }

    pub fn boot(&mut self, host: HostId) {
        if self.world.runs(host) || self.retired == Some(host) || !self.plan.has(host) {
            return;
        }
        if host == USER {
            let env = self.world.env(host);
            self.world.boot(host, user::main(env, self.shared.clone()));
        } else if let Some(platters) = self.platters.get(&host).cloned() {
            let config = match &self.newcomer {
                _ if host != NEWCOMER => setting::founder(&self.dir, host, &self.plan),
                Some(joined) => setting::newcomer(&self.dir, joined, &self.plan),
                None => return,
            };
            let (env, dir, shared) = (self.world.env(host), self.dir.clone(), self.shared.clone());
            self.world.boot(host, processes::replica(config, dir, host, platters, env, shared));
        } else {
            let (env, dir, shared) = (self.world.env(host), self.dir.clone(), self.shared.clone());
            self.world.boot(host, processes::agent(dir, host, self.engines[&host].clone(), env, shared));
        }
    }

    /// What an operator does: a replica that trusts its disk no longer is started anew, for it would not do so by itself.
    /// Not one that is to begin anew by itself, nor one that was removed, which ends by itself.
    pub fn supervise(&mut self) {
        self.see_to_newcomer();
        self.see_to_relief();
        let stores: Vec<_> = self.shared.lock().stores.iter().map(|(host, store)| (*host, store.clone())).collect();
        let able = self.look_at_repairs(&stores);
        for (host, store) in stores {
            if able.contains(&store.id()) || store.removed().borrow().is_some() {
                continue;
            }
            let Err(why) = store.health() else {
                self.restart_at.remove(&host);
                continue;
            };
            let (now, takes) = (self.world.now(), if store.metrics().rot().is_some() { ALONE } else { RESTART });
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
        let settled = self.plan.settled();
        let members = stores.iter().filter(|(host, _)| settled.contains(host));
        let sights = members.map(|(_, store)| (store.id(), Sight::of(store))).collect();
        let begun = self.shared.lock().renewals;
        self.repairs.see(self.world.now(), &sights, settled.len(), begun).unwrap_or_else(|why| {
            self.shared.violated(why);
            Vec::new()
        })
    }

    /// Whoever the operator has taken in is started where it belongs.
    fn see_to_newcomer(&mut self) {
        let known = self.id_at(NEWCOMER);
        let Some(joined) = self.shared.lock().joined.clone().filter(|joined| known != Some(joined.id)) else { return };
        // That it joined under another id before was overruled.
        if known.is_some() {
            self.crash(NEWCOMER, true);
            self.platters[&NEWCOMER].replace();
        }
        self.world.note(format_args!("replica {} is to run on host {NEWCOMER}", joined.id));
        setting::write_pki(&self.dir, NEWCOMER, joined.id);
        self.newcomer = Some(joined);
        self.boot(NEWCOMER);
    }

    /// The machine of a node that has no Pod any more is switched off for good.
    fn see_to_relief(&mut self) {
        let is_drained = self.shared.lock().relief == Relief::Drained;
        let Some((_, host)) = self.plan.relieved().filter(|_| is_drained) else { return };
        self.world.note(format_args!("host {host} is switched off for good"));
        self.crash(host, false);
        self.end_containers(host);
        self.retired = Some(host);
        self.shared.lock().relief = Relief::SwitchedOff;
    }
}
