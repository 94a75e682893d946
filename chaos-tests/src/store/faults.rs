//! Does to the world what the plan says. Acts.

use std::time::Duration;

use raft::{Store, Table, Timing};

use super::actions::Action;
use super::plan::Host;
use super::replica::{self, Setting};
use super::run::Run;
use crate::check::repairs::{ALONE, Sight};
use crate::sim::disk::SCRUB;

/// How long the supervisor takes.
const RESTART: Duration = Duration::from_millis(700);
/// A replica that runs has these in memory, or does without.
const PASSIVE: &[Table] = &[Table::Objects, Table::History];

impl Run {
    /// `account`: the fault, by its number, to which it counts if this meets somebody.
    pub fn act(&mut self, action: &Action, account: Option<usize>) {
        self.world.note(format_args!("{action:?}"));
        // What lasts meets somebody later, if at all.
        let mut meets = false;
        match action {
            Action::Cut(pairs, loss) => pairs.iter().for_each(|(from, to)| self.world.cut(*from, *to, *loss)),
            Action::Heal(pairs) => pairs.iter().for_each(|(from, to)| self.world.heal(*from, *to)),
            Action::Slow(by_ms) => {
                self.all_links(|run, from, to| run.world.slow(from, to, Duration::from_millis(*by_ms)));
            }
            Action::Reset(one, other) => meets = self.world.reset(*one, *other) > 0,
            Action::Crash(host, powered) => meets = self.crash(*host, *powered),
            Action::Boot(host) => self.boot(*host),
            Action::Freeze(host) => meets = self.world.freeze(*host),
            Action::Thaw(host) => self.world.thaw(*host),
            Action::SlowDisk(host, by_ms) => self.platters[*host].set(|faults| faults.slower_ms = *by_ms),
            Action::FailSync(host, fails) => self.platters[*host].set(|faults| faults.fail_sync = *fails),
            Action::FailWrite(host, fails) => self.platters[*host].set(|faults| faults.fail_write = *fails),
            Action::FullDisk(host, full) => self.platters[*host].set(|faults| faults.full = *full),
            Action::LittleRoom(host, little) => self.platters[*host].set(|faults| faults.little_room = *little),
            Action::FailReads(host, fails) => self.platters[*host].set(|faults| faults.fail_reads = *fails),
            Action::Clock(host, offset_ms) => self.world.set_clock_offset(*host, *offset_ms),
            Action::Transfer(host, to) => {
                let (Some(to), felt) = (self.id_at(*to), self.felt.clone()) else { return };
                self.with_store(*host, move |store| felt.transfer(account, store, to));
            }
            Action::Compact(host) => {
                let felt = self.felt.clone();
                self.with_store(*host, move |store| felt.compact(account, store));
            }
            Action::NewDisk(host) => meets = self.platters[*host].replace(),
            Action::LoseEnd(host) => self.platters[*host].will_lose_end(),
            Action::TearNotes(host, tear) => self.platters[*host].set(|faults| faults.tear_notes = *tear),
            Action::RotNote(host) => {
                meets = self.platters[*host].rot_note().is_some();
                self.tell_damaged_notes(*host);
            }
            Action::Odd(host) => self.poisons = Some(*host),
            Action::Rot { host, passive } => {
                let tables = if *passive { PASSIVE } else { &Table::ALL };
                if let Some((table, key)) = self.platters[*host].rot(tables) {
                    meets = true;
                    self.world.note(format_args!("a bit of {} {key:?} at host {host} turns over", table.name()));
                }
            }
        }
        self.felt.meets(account.filter(|_| meets));
    }

    /// Returns whether there was a process.
    pub fn crash(&mut self, host: Host, powered: bool) -> bool {
        if !self.world.runs(host) {
            return false;
        }
        self.watch_fences();
        // Whoever still holds the store holds a dead one.
        let store = self.id_at(host).and_then(|id| self.shared.lock().stores.remove(&id));
        store.iter().for_each(|store| {
            self.hear_diagnosis(store);
            self.count_filled(host, store);
        });
        self.world.kill(host, powered);
        drop(store);
        if let Some(id) = self.id_at(host) {
            self.fences.ends(id);
        }
        let (lost, durable) = self.platters[host].crash();
        self.restart_at.remove(&host);
        self.world
            .note(format_args!("host {host} is down; {lost} unsynced batches are lost, and {durable} durable ones"));
        self.tell_damaged_notes(host);
        true
    }

    fn tell_damaged_notes(&self, host: Host) {
        for note in self.platters[host].damaged_notes() {
            self.world.note(format_args!("the {} of host {host} is damaged", note.name()));
        }
    }

    pub fn boot(&mut self, host: Host) {
        let Some(id) = self.id_at(host).filter(|_| !self.world.runs(host)) else { return };
        let env = self.world.env(host);
        let (platters, shared) = (self.platters[host].clone(), self.shared.clone());
        let own = replica::member(id, host as u64 + 1);
        let setting = Setting {
            founders: self.plan.replicas as u64,
            history: self.plan.window(host),
            save: Duration::from_millis(self.plan.save_ms),
            scrub: if self.plan.decays() { SCRUB } else { Timing::default().scrub },
            log_bytes: self.plan.log_bytes,
            is_studied: !self.plan.windows.is_empty(),
            is_crowded: self.plan.is_crowded,
            seed: self.plan.seed ^ (self.world.now().as_millis() as u64) << 16 ^ (host as u64) << 56,
        };
        self.world.boot(host, replica::main(own, setting, platters, env, shared));
    }

    /// Which replica runs on a host, or would if its process did. `None`: none ever joined there.
    pub fn id_at(&self, host: Host) -> Option<u64> {
        match host < self.plan.replicas {
            true => Some(host as u64 + 1),
            false => self.newcomer,
        }
    }

    /// Everything is well again.
    pub fn end_faults(&mut self) {
        self.look_back_at_all();
        self.all_links(|run, from, to| {
            run.world.heal_all(from, to);
            run.world.slow(from, to, Duration::ZERO);
        });
        for host in 0..self.plan.hosts() {
            self.world.thaw(host);
            self.platters[host].set(|faults| *faults = Default::default());
            self.world.set_clock_offset(host, 0);
            self.boot(host);
        }
    }

    /// What a supervisor does: a process whose store has stopped, or could not start, is started anew. Not one that is to begin anew by
    /// itself.
    pub fn supervise(&mut self) {
        let able = self.look_at_repairs();
        for host in 0..self.plan.hosts() {
            let Some(id) = self.id_at(host).filter(|id| !able.contains(id)) else { continue };
            if self.see_to_fence(host) {
                continue;
            }
            let store = self.store_at(host);
            let stopped = store.as_ref().and_then(|store| store.health().err()).map(|why| why.to_string());
            let may_end = if stopped.is_some() { self.plan.may_stop(host) } else { self.plan.may_not_start(host) };
            let unwell = stopped.or_else(|| self.shared.lock().open_failures.get(&id).cloned());
            let Some(why) = unwell.filter(|_| self.world.runs(host)) else {
                self.restart_at.remove(&host);
                continue;
            };
            let takes = if store.is_some_and(|store| store.metrics().rot().is_some()) { ALONE } else { RESTART };
            let now = self.world.now();
            let due = *self.restart_at.entry(host).or_insert(now + takes);
            if now >= due {
                self.world.note(format_args!("host {host} starts anew: {why}"));
                if !may_end {
                    self.shared
                        .violated(format!("replica {id} ended by itself, for nothing that was done to it: {why}"));
                }
                self.crash(host, true);
                self.shared.lock().open_failures.remove(&id);
                self.boot(host);
            }
        }
    }

    /// Who can begin anew to be rid of damage, once all faults have ended.
    fn look_at_repairs(&mut self) -> Vec<u64> {
        if self.world.now() < Duration::from_millis(self.plan.ends_ms) {
            return Vec::new();
        }
        let seen = self.shared.lock();
        let ids = self.settled_ids();
        let sights = ids.iter().filter_map(|id| Some((*id, Sight::of(seen.stores.get(id)?)))).collect();
        let begun = seen.renewals;
        drop(seen);
        let able = self.repairs.see(self.world.now(), &sights, self.plan.settled().len(), begun);
        able.unwrap_or_else(|why| {
            self.shared.violated(why);
            Vec::new()
        })
    }

    fn all_links(&mut self, each: impl Fn(&mut Run, Host, Host)) {
        for from in 0..self.plan.hosts() {
            for to in (0..self.plan.hosts()).filter(|to| *to != from) {
                each(self, from, to);
            }
        }
    }

    pub fn store_at(&self, host: Host) -> Option<Store> {
        self.id_at(host).and_then(|id| self.shared.lock().stores.get(&id).cloned())
    }

    pub fn with_store<F: Future<Output = ()> + Send + 'static>(&self, host: Host, task: impl FnOnce(Store) -> F) {
        if let Some(store) = self.store_at(host) {
            self.world.spawn(host, task(store));
        }
    }
}
