//! One seed from beginning to end: replicas start, users work, things go wrong, everything heals, all must agree. Acts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Once;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use proto::seam::Random;
use raft::{Role, Standing, Store};

use super::plan::{Host, Plan};
use super::seen::Shared;
use super::watchers::PREFIXES;
use super::{actions, odd, replica, verdict};
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
/// Of one process, which has had up to 130 in some hundred seeds: a task that is left behind now and then shows.
const TASKS_MAX: usize = 300;
const MONITOR_EVERY: u64 = 5;
const SUPERVISE_EVERY: u64 = 50;
const COMPARE_EVERY: u64 = 150;
/// The operator looks at the members.
const OPERATE_EVERY: u64 = 400;

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
    /// Changes from before a snapshot that another replica told.
    pub fetched: u64,
    /// Who was filled with a snapshot.
    pub filled: BTreeSet<Host>,
    pub tasks: Tasks,
    pub steps: u64,
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
            fetched: 0,
            filled: Default::default(),
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

    pub fn until(&mut self, at: Duration) {
        while self.world.now() < at {
            self.step();
        }
    }

    pub fn step(&mut self) {
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
        let host = (0..self.plan.hosts()).find(|host| self.id_at(*host) == Some(store.id()));
        if host.is_none_or(|host| self.plan.rots_at(host)) {
            return;
        }
        let notes = host.map_or(0, |host| self.platters[host].damaged_notes_read());
        self.shared.judge(Diagnosis::of(store).check(notes, self.plan.odd().is_some()));
    }

    /// Before its process ends.
    pub fn count_filled(&mut self, host: Host, store: &Store) {
        let told = store.metrics();
        let (filled, fetched) = (told.snapshots_installed.load(Relaxed), told.history_fetched.load(Relaxed));
        self.snapshots += filled;
        self.fetched += fetched;
        if filled > 0 {
            self.filled.insert(host);
        }
    }

    fn count_tasks(&mut self) {
        for host in 0..self.plan.hosts() {
            self.shared.judge(self.tasks.see(host, self.world.tasks(host)));
        }
    }

    fn compare_states(&mut self) {
        let stores: Vec<_> = self.shared.lock().stores.iter().map(|(id, store)| (*id, store.clone())).collect();
        for (id, store) in stores {
            self.hear_diagnosis(&store);
            let (state, roster) = (store.state(), store.roster());
            let same = self.replicas.state(state.revision(), odd::written(&state), id);
            let applied = store.standing().borrow().applied_index;
            self.shared.judge(same.and(self.members.see(&roster.borrow(), applied)));
        }
    }
}

#[cfg(test)]
#[path = "frozen_tests.rs"]
mod frozen_tests;

#[cfg(test)]
#[path = "pinned_tests.rs"]
mod pinned_tests;
