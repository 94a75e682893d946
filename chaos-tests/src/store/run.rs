//! One seed from beginning to end: replicas start, users work, things go wrong, everything heals, all must agree. Acts.

use std::collections::BTreeMap;
use std::sync::Once;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use proto::seam::Random;
use raft::{Action, Command, News, Outcome, Precondition, Role, Standing};

use super::clients::op;
use super::plan::{Host, Plan};
use super::replica;
use super::seen::Shared;
use super::verdict;
use super::watchers::PREFIXES;
use crate::check::changes::Told;
use crate::check::replicas::Replicas;
use crate::runner::Report;
use crate::sim::disk::Platters;
use crate::sim::os;
use crate::sim::world::World;

/// Users go on for so long after the faults have ended.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// Then everything must have converged within this: an election, a snapshot, a restart or two.
const SETTLE: Duration = Duration::from_secs(40);
const MONITOR_EVERY: u64 = 5;
const SUPERVISE_EVERY: u64 = 50;
const COMPARE_EVERY: u64 = 150;
/// The operator looks at the members.
const OPERATE_EVERY: u64 = 400;
/// A last write is tried again so often.
const LAST_WRITES_EVERY: u64 = 1000;

pub struct Run {
    pub plan: Plan,
    pub world: World,
    pub shared: Shared,
    pub platters: Vec<Platters>,
    /// Hosts that the supervisor will start anew.
    pub restart_at: BTreeMap<Host, Duration>,
    pub replicas: Replicas,
    steps: u64,
}

/// Runs a plan in a world of its own.
pub fn run(plan: &Plan) -> Report {
    run_with(plan, || ())
}

/// `before` runs first on the world's thread.
pub fn run_with(plan: &Plan, before: impl FnOnce() + Send + 'static) -> Report {
    prepare();
    let own = plan.clone();
    Report::of(plan.seed, move || {
        before();
        Run::new(own).play()
    })
}

/// Whatever is made once per process with random bytes (the keys of some hash maps, certificates) is made in a short
/// world of its own, so that every later world draws the same from its seed.
fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let warmed = os::run(0, || {
            replica::prepare();
            let mut run = Run::new(Plan { seed: 0, replicas: 3, faults: Vec::new(), ends_ms: 500 });
            (0..3).for_each(|host| run.boot(host));
            run.until(Duration::from_secs(2));
        });
        warmed.expect("a world without faults can be had");
    });
}

impl Run {
    fn new(plan: Plan) -> Run {
        let names = (1..=plan.hosts() as u64).map(replica::name).collect();
        let world = World::new(names, plan.seed);
        let shared = Shared::new(world.trace(), world.epoch());
        let platters = (0..plan.hosts()).map(|_| Platters::new(Random::from_seed(world.random.u64()))).collect();
        let watch = |(id, prefix): (usize, &&str)| Told {
            id,
            prefix: prefix.to_string(),
            after: 0,
            upto: 0,
            revisions: Vec::new(),
        };
        shared.lock().idle_watches = PREFIXES.iter().enumerate().map(watch).collect();
        Run { plan, world, shared, platters, restart_at: BTreeMap::new(), replicas: Replicas::default(), steps: 0 }
    }

    fn play(mut self) -> Report {
        (0..self.plan.replicas).for_each(|host| self.boot(host));
        let ends = Duration::from_millis(self.plan.ends_ms);
        for (at_ms, action) in self.plan.actions() {
            self.until(Duration::from_millis(at_ms));
            self.act(&action);
        }
        self.until(ends);
        self.end_faults();
        self.until(ends + AFTERWARDS);
        self.shared.quiet.store(true, Relaxed);
        let deadline = self.world.now() + SETTLE;
        let mut unsettled = self.unsettled();
        while let Some(why) = unsettled {
            if self.world.now() > deadline || !self.shared.lock().violations.is_empty() {
                self.shared.violated(format!("not converged {SETTLE:?} after the faults ended: {why}"));
                break;
            }
            if self.steps.is_multiple_of(LAST_WRITES_EVERY) {
                self.last_writes();
            }
            self.step();
            unsettled = self.unsettled();
        }
        self.collect();
        verdict::report(self)
    }

    fn until(&mut self, at: Duration) {
        while self.world.now() < at {
            self.step();
        }
    }

    fn step(&mut self) {
        self.world.step();
        self.steps += 1;
        if self.steps.is_multiple_of(MONITOR_EVERY) {
            self.watch_leaders();
        }
        if self.steps.is_multiple_of(SUPERVISE_EVERY) {
            self.supervise();
        }
        if self.steps.is_multiple_of(OPERATE_EVERY) {
            self.see_to_guest((self.steps / OPERATE_EVERY) as usize % self.plan.replicas);
        }
        if self.steps.is_multiple_of(COMPARE_EVERY) {
            self.compare_states();
        }
    }

    pub fn standings(&self) -> Vec<Standing> {
        self.shared.lock().stores.values().map(|store| store.standing().borrow().clone()).collect()
    }

    fn watch_leaders(&mut self) {
        for standing in self.standings() {
            if standing.role != Role::Leader {
                continue;
            }
            match self.replicas.leads(standing.term, standing.id) {
                Ok(true) => self.world.note(format_args!("replica {} leads term {}", standing.id, standing.term)),
                Ok(false) => {}
                Err(why) => self.shared.violated(why),
            }
        }
    }

    fn compare_states(&mut self) {
        let stores: Vec<_> = self.shared.lock().stores.iter().map(|(id, store)| (*id, store.state())).collect();
        for (id, state) in stores {
            if let Err(why) = self.replicas.state(state.revision(), verdict::checksum(&state), id) {
                self.shared.violated(why);
            }
        }
    }

    /// Why not all replicas are well, agree, and take writes.
    fn unsettled(&self) -> Option<String> {
        let mut standings = self.standings();
        // A guest that was removed knows no better.
        standings.retain(|standing| standing.id <= self.plan.replicas as u64);
        if standings.len() < self.plan.replicas {
            let failures = self.shared.lock().open_failures.clone();
            return Some(format!("only {} replicas run; {failures:?}", standings.len()));
        }
        let leader = standings[0].leader;
        if leader.is_none() || standings.iter().any(|standing| standing.leader != leader) {
            return Some(format!("no common leader: {standings:?}"));
        }
        let seen = self.shared.lock();
        if seen.finished.len() < self.plan.replicas {
            return Some(format!("a last write went only through {:?}; {standings:?}", seen.finished.keys()));
        }
        let founders: Vec<_> = seen.stores.range(..=self.plan.replicas as u64).map(|(_, store)| store).collect();
        let rosters: Vec<_> = founders.iter().map(|store| store.roster().borrow().members.len()).collect();
        if rosters.iter().any(|members| *members != self.plan.replicas) {
            return Some(format!("numbers of members: {rosters:?}"));
        }
        let revisions: Vec<_> = founders.iter().map(|store| store.state().revision()).collect();
        if revisions.iter().any(|revision| *revision != revisions[0]) {
            return Some(format!("different revisions: {revisions:?}; {standings:?}"));
        }
        (seen.idle_watches.len() < PREFIXES.len()).then(|| "some watches are still served".into())
    }

    /// Through every replica that has not managed one yet.
    fn last_writes(&self) {
        for host in 0..self.plan.replicas {
            let (id, shared) = (host as u64 + 1, self.shared.clone());
            if shared.lock().finished.contains_key(&id) {
                continue;
            }
            self.with_store(host, move |store| async move {
                let put = op(&format!("last/{id}"), Precondition::Any, Action::Put(shared.value().to_string().into()));
                let command = Command { fence: None, proposed_at_ms: 0, author: "last".into(), ops: vec![put] };
                match store.propose(command).await {
                    Ok(Outcome::Applied { revisions }) => {
                        shared.lock().finished.insert(id, revisions[0]);
                    }
                    other => shared.note(format_args!("a last write through {id}: {other:?}")),
                }
            });
        }
    }

    /// Reads every replica's history as far back as it goes.
    fn collect(&mut self) {
        for host in 0..self.plan.replicas {
            let (id, shared) = (host as u64 + 1, self.shared.clone());
            self.with_store(host, move |store| async move {
                let (oldest, newest) = (store.oldest(), store.state().revision());
                let mut told =
                    Told { id: 0, prefix: String::new(), after: oldest, upto: oldest, revisions: Vec::new() };
                let mut watcher = match store.watch(Default::default(), oldest) {
                    Ok(watcher) => watcher,
                    Err(gone) => return shared.violated(format!("replica {id}'s own oldest revision: {gone}")),
                };
                while told.upto < newest {
                    match watcher.next().await {
                        Ok(News::Changes(changes)) => {
                            let changes: Vec<_> = changes.iter().map(|change| (**change).clone()).collect();
                            let taken = shared.lock().agreed.take(&mut told, &changes);
                            if let Err(why) = taken {
                                return shared.violated(format!("replica {id}'s history: {why}"));
                            }
                        }
                        Ok(News::Progress(_)) => {}
                        Err(gone) => return shared.violated(format!("replica {id}'s history ends: {gone}")),
                    }
                }
                shared.lock().histories.insert(id, (oldest, newest));
            });
        }
        for _ in 0..50 {
            self.world.step();
        }
    }
}

#[cfg(test)]
#[path = "frozen_tests.rs"]
mod frozen_tests;
