//! One seed from beginning to end: replicas start, users work, things go wrong, everything heals, all must agree. Acts.

use std::collections::BTreeMap;
use std::sync::Once;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use proto::seam::Random;
use raft::{Action, Command, Outcome, Precondition, Role, Standing, Store};

use super::clients::op;
use super::plan::{Host, Plan};
use super::seen::Shared;
use super::watchers::PREFIXES;
use super::{actions, odd, replica, verdict};
use crate::check::acknowledged::Acknowledged;
use crate::check::changes::Told;
use crate::check::diagnosis::Diagnosis;
use crate::check::fences::Fences;
use crate::check::members::Members;
use crate::check::repairs::Repairs;
use crate::check::replicas::Replicas;
use crate::check::tasks::Tasks;
use crate::felt::Felt;
use crate::runner::Report;
use crate::sim::disk::Platters;
use crate::sim::os;
use crate::sim::world::World;

/// Users go on for so long after the faults have ended.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// Then everything must have converged within this: an election, a snapshot, a restart or two.
const SETTLE: Duration = Duration::from_secs(40);
/// Who was removed is given so long to disturb.
const CALM: Duration = Duration::from_secs(3);
/// Of one process, which has had up to 130 in some hundred seeds: a task that is left behind now and then shows.
const TASKS_MAX: usize = 300;
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
    /// Faults that met somebody, and of those that last how they began, and what was counted then.
    pub felt: Felt,
    pub under_way: BTreeMap<usize, (actions::Action, u64)>,
    /// Hosts that the supervisor will start anew.
    pub restart_at: BTreeMap<Host, Duration>,
    pub replicas: Replicas,
    pub members: Members,
    pub fences: Fences,
    pub repairs: Repairs,
    /// Who is to apply a command wrongly, and has not yet.
    pub poisons: Option<Host>,
    /// When the operator empties the disk of who did.
    pub empty_at: Option<Duration>,
    /// The replica on the host behind all others.
    pub newcomer: Option<u64>,
    pub snapshots: u64,
    pub tasks: Tasks,
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

/// What is made once per process with random bytes (certificates) is made in a world of its own, so that every world
/// draws the same from its seed.
fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| os::run(0, replica::prepare).expect("certificates can be made"));
}

impl Run {
    fn new(plan: Plan) -> Run {
        let names = (1..=plan.hosts() as u64).map(replica::name).collect();
        let world = World::new(names, plan.seed);
        let shared = Shared::new(world.trace(), world.epoch(), plan.rots());
        let platters = (0..plan.hosts()).map(|_| Platters::new(Random::from_seed(world.random.u64()))).collect();
        let watch = |(id, prefix): (usize, &&str)| Told {
            id,
            prefix: prefix.to_string(),
            after: 0,
            upto: 0,
            revisions: Vec::new(),
        };
        shared.lock().idle_watches = PREFIXES.iter().enumerate().map(watch).collect();
        let (felt, under_way, restart_at, replicas, members, fences, repairs) = Default::default();
        Run {
            plan,
            world,
            shared,
            platters,
            felt,
            under_way,
            restart_at,
            replicas,
            members,
            fences,
            repairs,
            poisons: None,
            empty_at: None,
            newcomer: None,
            snapshots: 0,
            tasks: Tasks::new(TASKS_MAX),
            steps: 0,
        }
    }

    fn play(mut self) -> Report {
        (0..self.plan.replicas).for_each(|host| self.boot(host));
        let ends = Duration::from_millis(self.plan.ends_ms);
        for (at_ms, n, action) in self.plan.actions() {
            self.until(Duration::from_millis(at_ms));
            self.strike(n, &action);
        }
        self.until(ends);
        self.end_faults();
        self.until(ends + AFTERWARDS);
        self.shared.quiet.store(true, Relaxed);
        if self.settle() && self.plan.hosts() > self.plan.replicas {
            self.stay_calm();
        }
        self.collect();
        self.stop();
        verdict::report(self)
    }

    /// Returns whether all is well.
    fn settle(&mut self) -> bool {
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
            self.watch_fences();
        }
        if self.steps.is_multiple_of(SUPERVISE_EVERY) {
            self.supervise();
            self.order_in_vain();
        }
        if self.steps.is_multiple_of(OPERATE_EVERY) {
            self.see_to_members((self.steps / OPERATE_EVERY) as usize % self.plan.replicas);
        }
        if self.steps.is_multiple_of(COMPARE_EVERY) {
            self.compare_states();
            self.count_tasks();
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

    /// Where a state is made odd, [`odd`] sees to what is found of that.
    pub fn hear_diagnosis(&self, store: &Store) {
        if self.plan.rots() {
            return;
        }
        let host = (0..self.plan.hosts()).find(|host| self.id_at(*host) == Some(store.id()));
        let notes = host.map_or(0, |host| self.platters[host].damaged_notes_read());
        if let Err(why) = Diagnosis::of(store).check(notes, self.plan.odd().is_some()) {
            self.shared.violated(why);
        }
    }

    fn count_tasks(&mut self) {
        for host in 0..self.plan.hosts() {
            if let Err(why) = self.tasks.see(host, self.world.tasks(host)) {
                self.shared.violated(why);
            }
        }
    }

    fn compare_states(&mut self) {
        let stores: Vec<_> = self.shared.lock().stores.iter().map(|(id, store)| (*id, store.clone())).collect();
        for (id, store) in stores {
            self.hear_diagnosis(&store);
            let (state, roster) = (store.state(), store.roster());
            let same = self.replicas.state(state.revision(), odd::written(&state), id);
            let applied = store.standing().borrow().applied_index;
            if let Err(why) = same.and(self.members.see(&roster.borrow(), applied)) {
                self.shared.violated(why);
            }
        }
    }

    /// The ids of those who are to be the members in the end, as far as they have joined.
    pub fn settled_ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.plan.settled().into_iter().filter_map(|host| self.id_at(host)).collect();
        ids.sort_unstable();
        ids
    }

    /// Nobody is elected while all is well, whatever those who were removed still do.
    fn stay_calm(&mut self) {
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

    /// Through every replica that has not managed one yet.
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
                        let mut seen = shared.lock();
                        seen.acknowledged.push(Acknowledged::Put { value, at: revisions[0] });
                        seen.finished.insert(id, revisions[0]);
                    }
                    other => shared.note(format_args!("a last write through {id}: {other:?}")),
                }
            });
        }
    }
}

#[cfg(test)]
#[path = "frozen_tests.rs"]
mod frozen_tests;

#[cfg(test)]
#[path = "pinned_tests.rs"]
mod pinned_tests;
