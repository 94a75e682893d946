//! One seed from beginning to end: a cluster starts, a Deployment rolls, things go wrong, everything heals, what is
//! wanted must come about, and everything must end when told to. Acts.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use node::runtime::fake::Fake;
use proto::seam::Random;
use raft::{News, Role};

use super::plan::{NODES, Plan, REPLICAS, USER};
use super::seen::Shared;
use super::{keeper, setting, user, verdict};
use crate::check::homes::Homes;
use crate::check::identities::Identities;
use crate::check::repairs::Repairs;
use crate::check::replicas::{Replicas, checksum};
use crate::check::tasks::Tasks;
use crate::check::terms::Terms;
use crate::felt::Felt;
use crate::runner::Report;
use crate::sim::disk::Platters;
use crate::sim::links::HostId;
use crate::sim::os;
use crate::sim::world::World;

/// Once the faults have ended, what is wanted must come about within this: a node that was lost is given up after nine
/// seconds, a Pod that hangs is tried again with growing pauses.
const SETTLE: Duration = Duration::from_secs(120);
/// What has come about must stay so.
const STAYS: Duration = Duration::from_secs(2);
/// Processes that are told to end have ended after this, and so have all their tasks: the store may take five seconds.
const STOP: Duration = Duration::from_secs(15);
/// Steps between two looks at all objects.
const LOOK_EVERY: u64 = 25;
/// Steps between two looks at all containers: about as long as an engine takes to start or to end one.
const LOOK_AT_CONTAINERS_EVERY: u64 = 5;
const SUPERVISE_EVERY: u64 = 50;
/// Of one process.
const TASKS_MAX: usize = 1000;
const ENGINE_LATENCY: Duration = Duration::from_millis(20);

pub struct Run {
    pub plan: Plan,
    pub world: World,
    pub shared: Shared,
    pub dir: PathBuf,
    pub platters: Vec<Platters>,
    pub engines: Vec<Fake>,
    /// Replicas that will be started anew.
    pub restart_at: BTreeMap<HostId, Duration>,
    /// Whom the faults under way met.
    pub met: BTreeMap<usize, HostId>,
    /// Faults that met somebody, and of those that last where, and what was counted when they began.
    pub felt: Felt,
    pub under_way: BTreeMap<usize, (HostId, u64)>,
    pub replicas: Replicas,
    pub repairs: Repairs,
    pub terms: Terms,
    pub tasks: Tasks,
    pub homes: Homes,
    pub identities: Identities,
    pub snapshots: u64,
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
        let world = World::new(setting::names(), plan.seed);
        let shared = Shared::new(world.trace(), world.epoch(), &plan);
        let platters = (0..REPLICAS).map(|_| Platters::new(Random::from_seed(world.random.u64()))).collect();
        let engine = |number| {
            let engine = Fake::with_latency(world.env(REPLICAS + number).clock, ENGINE_LATENCY);
            let images = (1..=user::IMAGES).map(user::image).chain([setting::PAUSE_IMAGE.into()]);
            images.for_each(|image| engine.add_image(&image));
            keeper::add_images(&engine);
            engine
        };
        let engines = (0..NODES).map(engine).collect();
        let (restart_at, met, felt, under_way, replicas, repairs, terms, homes, identities) = Default::default();
        let (tasks, snapshots, steps) = (Tasks::new(TASKS_MAX), 0, 0);
        Run {
            plan,
            world,
            shared,
            dir,
            platters,
            engines,
            restart_at,
            met,
            felt,
            under_way,
            replicas,
            repairs,
            terms,
            tasks,
            homes,
            identities,
            snapshots,
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
        verdict::report(self)
    }

    fn settle(&mut self) {
        let deadline = self.world.now() + SETTLE;
        let mut settled_at = None;
        while self.shared.lock().violations.is_empty() {
            match (verdict::unsettled(self), settled_at) {
                (None, None) => settled_at = Some(self.world.now()),
                (None, Some(since)) if self.world.now() >= since + STAYS => return,
                (None, Some(_)) => {}
                (Some(why), _) if self.world.now() > deadline => {
                    let words = format!("not converged {SETTLE:?} after the faults ended: {why}");
                    return self.shared.violated(words);
                }
                (Some(_), _) => settled_at = None,
            }
            self.until(self.world.now() + Duration::from_millis(100));
        }
    }

    fn until(&mut self, at: Duration) {
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
        let stores: Vec<_> = self.shared.lock().stores.iter().map(|(host, store)| (*host, store.clone())).collect();
        for (host, store) in stores {
            self.shared.hear_diagnosis(&store);
            let state = store.state();
            let checksum = checksum(state.range(b"", None));
            self.shared.judge(self.replicas.state(state.revision(), checksum, host as u64 + 1));
        }
        for host in 0..=USER {
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

    /// Reads the longest history that a replica has, and how often a snapshot was installed: whoever is filled by one has
    /// no history from before.
    fn collect(&mut self) {
        let seen = self.shared.lock();
        self.snapshots = seen.stores.values().map(|store| store.metrics().snapshots_installed.load(Relaxed)).sum();
        let longest = seen.stores.iter().min_by_key(|(_, store)| (store.oldest(), Reverse(store.state().revision())));
        let longest = longest.map(|(host, store)| (*host, store.clone()));
        drop(seen);
        let Some((host, store)) = longest else { return };
        let shared = self.shared.clone();
        self.world.spawn(host, async move {
            let newest = store.state().revision();
            let mut watcher = match store.watch(Default::default(), 0) {
                Ok(watcher) => watcher,
                Err(gone) => return shared.note(format_args!("no history reaches back: {gone}")),
            };
            let mut upto = 0;
            while upto < newest {
                match watcher.next().await {
                    Ok(News::Changes(changes)) => {
                        for change in changes.iter() {
                            upto = change.revision;
                            let (key, sum) =
                                (String::from_utf8_lossy(&change.key), change.value.as_deref().map(crc32fast::hash));
                            let (at, by) =
                                (change.proposed_at_ms - os::EPOCH_S * 1000, setting::proposer(change.proposed_at_ms));
                            shared.note(format_args!(
                                "revision {upto} {key} {sum:08x?} by {} at {at} on host {by}",
                                change.author
                            ));
                            shared.lock().history.push((**change).clone());
                        }
                    }
                    Ok(News::Progress(to)) => upto = to,
                    Err(gone) => return shared.violated(format!("the history ends: {gone}")),
                }
            }
        });
        self.until(self.world.now() + Duration::from_millis(100));
    }

    /// Every process ends when it is told to and leaves no task behind; containers run on.
    fn stop(&mut self) {
        if !self.shared.lock().violations.is_empty() {
            return;
        }
        let running = |run: &Run| run.engines.iter().map(|engine| engine.running().len()).sum::<usize>();
        let before = running(self);
        self.world.note(format_args!("no process has had more than {} tasks", self.tasks.most()));
        self.shared.stop.cancel();
        let deadline = self.world.now() + STOP;
        while (0..=USER).any(|host| self.world.tasks(host) > 0) && self.world.now() < deadline {
            self.until(self.world.now() + Duration::from_millis(100));
        }
        for host in 0..=USER {
            let tasks = self.world.tasks(host);
            if tasks > 0 {
                self.shared.violated(format!("host {host} was told to end {STOP:?} ago and has {tasks} tasks"));
            }
        }
        if running(self) != before {
            self.shared.violated(format!("of {before} containers {} outlive their agents", running(self)));
        }
    }
}
