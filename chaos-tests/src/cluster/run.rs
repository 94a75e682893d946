//! One seed from beginning to end: a cluster starts, a Deployment rolls, things go wrong, everything heals, what is
//! wanted must come about, and everything must end when told to. Acts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use node::runtime::fake::Fake;
use proto::seam::Random;
use raft::{Role, Store};

use super::plan::{Plan, USER};
use super::seen::{Joined, Shared};
use super::{keeper, setting, user, verdict};
use crate::check::homes::Homes;
use crate::check::identities::Identities;
use crate::check::members::Members;
use crate::check::repairs::Repairs;
use crate::check::replicas::{Replicas, checksum};
use crate::check::tasks::Tasks;
use crate::check::terms::Terms;
use crate::felt::Felt;
use crate::runner::Report;
use crate::sim::disk::Platters;
use crate::sim::links::HostId;
use crate::sim::world::World;

/// Once the faults have ended, what is wanted must come about within this: a node that was lost is given up after nine
/// seconds, a Pod that hangs is tried again with growing pauses.
const SETTLE: Duration = Duration::from_secs(120);
/// What has come about must stay so.
const STAYS: Duration = Duration::from_secs(2);
/// Steps between two looks at all objects.
const LOOK_EVERY: u64 = 25;
/// Steps between two looks at all containers: about as long as an engine takes to start or to end one.
const LOOK_AT_CONTAINERS_EVERY: u64 = 5;
const SUPERVISE_EVERY: u64 = 50;
/// Of one process.
const TASKS_MAX: usize = 1000;
const ENGINE_LATENCY: Duration = Duration::from_millis(20);

/// A replica's id, the newest term that it knows of, and who leads in that.
pub type Led = (u64, u64, Option<u64>);

pub struct Run {
    pub plan: Plan,
    pub world: World,
    pub shared: Shared,
    pub dir: PathBuf,
    /// Of each host with a replica, and of each with an agent.
    pub platters: BTreeMap<HostId, Platters>,
    pub engines: BTreeMap<HostId, Fake>,
    /// The further replica, once it has joined.
    pub newcomer: Option<Joined>,
    /// Where a node was switched off for good.
    pub retired: Option<HostId>,
    /// Replicas that will be started anew.
    pub restart_at: BTreeMap<HostId, Duration>,
    /// Whom the faults under way met.
    pub met: BTreeMap<usize, HostId>,
    /// Faults that met somebody, and of those that last where, and what was counted when they began.
    pub felt: Felt,
    pub under_way: BTreeMap<usize, (HostId, u64)>,
    pub replicas: Replicas,
    pub members: Members,
    pub repairs: Repairs,
    pub terms: Terms,
    pub tasks: Tasks,
    pub homes: Homes,
    pub identities: Identities,
    pub snapshots: u64,
    /// Changes from before a snapshot that another replica told.
    pub fetched: u64,
    steps: u64,
}

/// Runs a plan in a world of its own. `before` runs first on the world's thread.
pub fn run_with(plan: &Plan, before: impl FnOnce() + Send + 'static) -> Report {
    setting::prepare();
    let (own, dir) = (plan.clone(), Scratch::new());
    let path = dir.0.path().to_owned();
    Report::of(plan.seed, move || {
        before();
        Run::new(own, path).play()
    })
}

/// The files of a run, in memory where the system has such a place.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Scratch {
        let made = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let dir = Scratch(made.expect("a directory can be made"));
        setting::write(dir.0.path());
        dir
    }
}

impl Run {
    fn new(plan: Plan, dir: PathBuf) -> Run {
        let mut names = setting::names();
        names.truncate(plan.hosts());
        let world = World::new(names, plan.seed);
        let shared = Shared::new(world.trace(), world.epoch(), &plan);
        let disk = |host| (host, Platters::new(Random::from_seed(world.random.u64())));
        let platters = plan.replicas().into_iter().map(disk).collect();
        let engine = |host| {
            let engine = Fake::with_latency(world.env(host).clock, ENGINE_LATENCY);
            let images = (1..=user::IMAGES).map(user::image).chain([setting::PAUSE_IMAGE.into()]);
            images.for_each(|image| engine.add_image(&image));
            keeper::add_images(&engine);
            (host, engine)
        };
        let engines = plan.nodes().into_iter().map(engine).collect();
        let (restart_at, met, felt, under_way, replicas, members, repairs, terms, homes, identities) =
            Default::default();
        let (tasks, snapshots, fetched, steps) = (Tasks::new(TASKS_MAX), 0, 0, 0);
        Run {
            plan,
            world,
            shared,
            dir,
            platters,
            engines,
            newcomer: None,
            retired: None,
            restart_at,
            met,
            felt,
            under_way,
            replicas,
            members,
            repairs,
            terms,
            tasks,
            homes,
            identities,
            snapshots,
            fetched,
            steps,
        }
    }

    fn play(mut self) -> Report {
        (0..=USER).for_each(|host| self.boot(host));
        for (at_ms, n, begins) in self.plan.moments() {
            self.until(Duration::from_millis(at_ms));
            self.turn(n, begins);
        }
        self.until(Duration::from_millis(self.plan.ends_ms));
        self.end_faults();
        self.shared.quiet.store(true, Relaxed);
        self.settle();
        self.collect();
        self.stop();
        self.look_back_at_the_end();
        verdict::report(self)
    }

    fn settle(&mut self) {
        let deadline = self.world.now() + SETTLE;
        let mut settled = None;
        while self.shared.lock().violations.is_empty() {
            settled = match (verdict::unsettled(self), settled) {
                (None, None) => Some((self.world.now(), self.led())),
                (None, Some((since, led))) if self.world.now() >= since + STAYS => return self.stays_led(&led),
                (None, stays) => stays,
                (Some(why), _) if self.world.now() > deadline => {
                    let words = format!("not converged {SETTLE:?} after the faults ended: {why}");
                    return self.shared.violated(words);
                }
                (Some(_), _) => None,
            };
            self.until(self.world.now() + Duration::from_millis(100));
        }
    }

    /// Nobody is elected while all is well, whatever one that was removed still does.
    fn stays_led(&self, before: &[Led]) {
        let after = self.led();
        if self.plan.leaves().is_some() && before != after {
            let words = format!("all was well, and yet (replica, term, leader) went from {before:?} to {after:?}");
            self.shared.violated(words);
        }
    }

    pub fn until(&mut self, at: Duration) {
        while self.world.now() < at {
            self.world.step();
            self.steps += 1;
            self.watch_leaders();
            if self.steps.is_multiple_of(LOOK_EVERY) {
                self.look();
            }
            if self.steps.is_multiple_of(LOOK_AT_CONTAINERS_EVERY) {
                self.look_at_containers();
            }
            if self.steps.is_multiple_of(SUPERVISE_EVERY) && !self.shared.stop.is_cancelled() {
                self.supervise();
            }
        }
    }

    /// The replica that leads, and knows of no newer term.
    pub fn leader(&self) -> Option<HostId> {
        let seen = self.shared.lock();
        let standings = seen.stores.iter().map(|(host, store)| (*host, store.standing().borrow().clone()));
        let leaders = standings.filter(|(_, standing)| standing.role == Role::Leader);
        leaders.max_by_key(|(_, standing)| standing.term).map(|(host, _)| host)
    }

    /// Who leads, as those know it who are to be the members in the end.
    pub fn led(&self) -> Vec<Led> {
        let (seen, settled) = (self.shared.lock(), self.plan.settled());
        let stores = settled.iter().filter_map(|host| seen.stores.get(host));
        let told = |store: &Store| {
            let standing = store.standing().borrow().clone();
            (standing.id, standing.term, standing.leader)
        };
        stores.map(told).collect()
    }

    fn watch_leaders(&mut self) {
        let seen = self.shared.lock();
        let mut wrong = None;
        for store in seen.stores.values() {
            let standing = store.standing().borrow().clone();
            if let Some(term) = standing.leads_in_term {
                self.terms.begins(term, standing.id, store.state().revision());
            }
            if standing.role == Role::Leader {
                match self.replicas.leads(standing.term, standing.id) {
                    Ok(true) => self.world.note(format_args!("replica {} leads term {}", standing.id, standing.term)),
                    Ok(false) => {}
                    Err(why) => wrong = Some(why),
                }
            }
        }
        drop(seen);
        self.shared.judge(wrong.map_or(Ok(()), Err));
    }

    /// What must hold of the states, and of the processes, at every moment.
    fn look(&mut self) {
        let stores: Vec<Store> = self.shared.lock().stores.values().cloned().collect();
        for store in stores {
            self.shared.hear_diagnosis(&store);
            let (state, roster) = (store.state(), store.roster());
            let same = self.replicas.state(state.revision(), checksum(state.range(b"", None)), store.id());
            let applied = store.standing().borrow().applied_index;
            self.shared.judge(same.and(self.members.see(&roster.borrow(), applied)));
        }
        for host in 0..self.plan.hosts() {
            self.shared.judge(self.tasks.see(host, self.world.tasks(host)));
        }
    }

    fn look_at_containers(&mut self) {
        let containers = verdict::containers(self);
        for found in &containers {
            self.shared.judge(self.homes.see(&found.pod_uid, &found.node));
        }
        self.shared.judge(self.identities.look(&containers));
    }
}

#[cfg(test)]
#[path = "moves_tests.rs"]
mod moves_tests;
