//! The faults have ended: everything heals, every replica takes a last write and confirms a last read, and then nothing happens any more. Acts; `unsettled`
//! decides.

use std::time::Duration;

use raft::{Action, Command, Outcome, Precondition, Revision, Store};

use super::clients::op;
use super::odd;
use super::plan::Host;
use super::run::Run;
use super::watchers::PREFIXES;
use crate::check::acknowledged::Acknowledged;

/// Everything must have converged within this: an election, a snapshot, a restart or two.
const SETTLE: Duration = Duration::from_secs(40);
/// Who was removed is given so long to disturb.
const CALM: Duration = Duration::from_secs(3);
/// A last write is tried again so often.
const LAST_WRITES_EVERY: u64 = 1000;

/// What a replica has just confirmed to be its newest state.
fn shows(store: &Store, written: Revision) -> Result<(), String> {
    let shown = store.state().revision();
    let why = || format!("replica {} confirmed revision {shown} after it had acknowledged {written}", store.id());
    if shown >= written { Ok(()) } else { Err(why()) }
}

impl Run {
    /// Returns whether all is well.
    pub fn settle(&mut self) -> bool {
        let deadline = self.world.now() + SETTLE;
        while let Some(why) = self.unsettled() {
            if self.world.now() > deadline || !self.shared.lock().violations.is_empty() {
                self.shared.violated(format!("not converged {SETTLE:?} after the faults ended: {why}"));
                return false;
            }
            if self.steps.is_multiple_of(LAST_WRITES_EVERY) {
                self.last_writes();
            }
            self.step();
        }
        true
    }

    /// Why not all replicas are well, agree, and take writes.
    fn unsettled(&self) -> Option<String> {
        let (mut standings, ids) = (self.standings(), self.settled_ids());
        // Whoever was removed knows no better.
        standings.retain(|standing| ids.contains(&standing.id));
        if standings.len() < self.plan.replicas {
            let failures = self.shared.lock().open_failures.clone();
            return Some(format!("only {} replicas run; {failures:?}", standings.len()));
        }
        let leader = standings[0].leader;
        if leader.is_none() || standings.iter().any(|standing| standing.leader != leader) {
            return Some(format!("no common leader: {standings:?}"));
        }
        let seen = self.shared.lock();
        if ids.iter().any(|id| !seen.finished.contains_key(id)) {
            return Some(format!("a last write went only through {:?}; {standings:?}", seen.finished.keys()));
        }
        let rotten = |host: &Host| self.plan.decays() && self.platters[*host].is_rotten();
        if let Some(host) = self.plan.settled().into_iter().find(rotten) {
            return Some(format!("a damaged record is still on the disk of host {host}"));
        }
        let stores: Vec<_> = ids.iter().filter_map(|id| seen.stores.get(id)).collect();
        let members =
            |store: &&Store| store.roster().borrow().members.iter().map(|member| member.id).collect::<Vec<_>>();
        let rosters: Vec<_> = stores.iter().map(members).collect();
        if rosters.iter().any(|members| *members != ids) {
            return Some(format!("the members are to be {ids:?}, they are {rosters:?}"));
        }
        if let Some(store) = stores.iter().find(|store| odd::is_odd(&store.state())) {
            return Some(format!("the state of replica {} is odd", store.id()));
        }
        let revisions: Vec<_> = stores.iter().map(|store| store.state().revision()).collect();
        if revisions.iter().any(|revision| *revision != revisions[0]) {
            return Some(format!("different revisions: {revisions:?}; {standings:?}"));
        }
        if seen.idle_watches.len() < PREFIXES.len() {
            return Some("some watches are still served".into());
        }
        let writers = self.shared.writers();
        (writers > 0).then(|| format!("{writers} who write have not ended"))
    }

    /// Through every replica that has not managed one yet, and then a linearizable read.
    fn last_writes(&self) {
        for host in self.plan.settled() {
            let (Some(id), shared) = (self.id_at(host), self.shared.clone()) else { continue };
            if shared.lock().finished.contains_key(&id) {
                continue;
            }
            let writing = shared.writing();
            self.with_store(host, move |store| async move {
                let _writing = writing;
                let value = shared.value();
                let put = op(&format!("last/{id}"), Precondition::Any, Action::Put(value.to_string().into()));
                let command = Command { fence: None, proposed_at_ms: 0, author: "last".into(), ops: vec![put] };
                match store.propose(command).await {
                    Ok(Outcome::Applied { revisions }) => {
                        shared.lock().acknowledged.push(Acknowledged::Put { value, at: revisions[0] });
                        if store.barrier().await.is_ok() {
                            shared.judge(shows(&store, revisions[0]));
                            shared.lock().finished.insert(id, revisions[0]);
                        }
                    }
                    other => shared.note(format_args!("a last write through {id}: {other:?}")),
                }
            });
        }
    }

    /// Nobody is elected while all is well, whatever those who were removed still do.
    pub fn stay_calm(&mut self) {
        let led = |run: &Run| {
            let ids = run.settled_ids();
            let terms = run.standings().into_iter().filter(|standing| ids.contains(&standing.id));
            terms.map(|standing| (standing.id, standing.term, standing.leader)).collect::<Vec<_>>()
        };
        let before = led(self);
        self.until(self.world.now() + CALM);
        let after = led(self);
        if before != after {
            let words = format!("all was well, and yet (replica, term, leader) went from {before:?} to {after:?}");
            self.shared.violated(words);
        }
    }

    /// The ids of those who are to be the members in the end, as far as they have joined.
    pub fn settled_ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.plan.settled().into_iter().filter_map(|host| self.id_at(host)).collect();
        ids.sort_unstable();
        ids
    }
}
