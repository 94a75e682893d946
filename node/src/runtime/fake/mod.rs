//! A runtime in memory: containers that start, run, exit and are lost as a test or a simulation says. Deterministic.
//!
//! By itself a container runs until it is signalled. [`Fake::script`] gives images other lives; [`Fake::fail`] makes
//! calls fail; [`Fake::hang`] makes them wait; [`Fake::hide`] makes looks at one container fail, and [`Fake::silence`]
//! loses events; [`Fake::exit`] and [`Fake::lose`] do what the world does.

mod calls;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use proto::seam::Clock;
use tokio::sync::{broadcast, watch};

use super::{Change, Container, ContainerId, ContainerSpec, Error, Event, Exit, Labels, State};

/// What containers of an image do.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Exits by itself after this long, with this code.
    pub exits: Option<(Duration, i32)>,
    /// Takes no notice of its stop signal.
    pub ignores_stop: bool,
    /// Cannot be started.
    pub cannot_start: Option<String>,
    pub logs: String,
}

/// Clones share the engine.
#[derive(Clone)]
pub struct Fake(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    /// How long every call takes.
    latency: Duration,
    world: Mutex<World>,
    events: broadcast::Sender<(Labels, Event)>,
    hanging: watch::Sender<bool>,
}

#[derive(Default)]
struct World {
    containers: BTreeMap<ContainerId, (ContainerSpec, Container)>,
    names: BTreeMap<String, ContainerId>,
    scripts: BTreeMap<String, Script>,
    images: BTreeSet<String>,
    networks: BTreeSet<String>,
    volumes_removed: Vec<String>,
    failing: BTreeMap<&'static str, Error>,
    hidden: BTreeSet<ContainerId>,
    silent: bool,
    made: u32,
    hung: u64,
    /// Every call, in order: `create <name>`, `start <name>`, …
    calls: Vec<String>,
    /// Attempts of one container that ran together: there must be none.
    doubles: Vec<String>,
}

const EVENTS_KEPT: usize = 4096;

impl Fake {
    pub fn new(clock: Arc<dyn Clock>) -> Fake {
        Fake::with_latency(clock, Duration::from_millis(1))
    }

    pub fn with_latency(clock: Arc<dyn Clock>, latency: Duration) -> Fake {
        let inner = Inner {
            clock,
            latency,
            world: Mutex::default(),
            events: broadcast::Sender::new(EVENTS_KEPT),
            hanging: watch::Sender::new(false),
        };
        Fake(Arc::new(inner))
    }

    /// The image is on this host.
    pub fn add_image(&self, name: &str) {
        self.world().images.insert(name.to_owned());
    }

    pub fn script(&self, image: &str, script: Script) {
        let mut world = self.world();
        world.images.insert(image.to_owned());
        world.scripts.insert(image.to_owned(), script);
    }

    /// All calls of this name (`create`, `start`, `pull`, …) fail, until `None` is given.
    pub fn fail(&self, call: &'static str, error: Option<Error>) {
        let mut world = self.world();
        match error {
            Some(error) => world.failing.insert(call, error),
            None => world.failing.remove(call),
        };
    }

    /// No call returns while this holds.
    pub fn hang(&self, hangs: bool) {
        self.0.hanging.send_replace(hangs);
    }

    /// How many calls ever had to wait for that.
    pub fn hung(&self) -> u64 {
        self.world().hung
    }

    /// Looks at this container wait in vain, until their time is over, while this holds.
    pub fn hide(&self, id: &ContainerId, is_hidden: bool) {
        let mut world = self.world();
        match is_hidden {
            true => world.hidden.insert(id.clone()),
            false => world.hidden.remove(id),
        };
    }

    /// Events get lost while this holds.
    pub fn silence(&self, is_silent: bool) {
        self.world().silent = is_silent;
    }

    /// A container's process ends.
    pub fn exit(&self, id: &ContainerId, exit_code: i32) {
        self.end(id, exit_code, false);
    }

    /// The kernel ends a container for want of memory.
    pub fn run_out_of_memory(&self, id: &ContainerId) {
        self.end(id, 137, true);
    }

    /// The engine tells only now that the kernel had ended a container for want of memory.
    pub fn tell_out_of_memory(&self, id: &ContainerId) {
        let mut world = self.world();
        let Some((_, container)) = world.containers.get_mut(id) else { return };
        let State::Exited(exit) = &mut container.state else { return };
        exit.oom_killed = true;
        let labels = container.labels.clone();
        drop(world);
        self.emit(id, labels, Change::OutOfMemory);
    }

    /// Somebody removes a container behind the agent's back.
    pub fn lose(&self, id: &ContainerId) {
        self.end(id, 137, false);
        self.forget(id);
    }

    /// All containers that run, pause containers included.
    pub fn running(&self) -> Vec<Container> {
        let world = self.world();
        let all = world.containers.values().map(|(_, container)| container);
        all.filter(|container| matches!(container.state, State::Running { .. })).cloned().collect()
    }

    pub fn all(&self) -> Vec<Container> {
        self.world().containers.values().map(|(_, container)| container.clone()).collect()
    }

    pub fn spec(&self, id: &ContainerId) -> Option<ContainerSpec> {
        self.world().containers.get(id).map(|(spec, _)| spec.clone())
    }

    pub fn calls(&self) -> Vec<String> {
        self.world().calls.clone()
    }

    /// Containers of which two attempts ever ran together.
    pub fn doubles(&self) -> Vec<String> {
        self.world().doubles.clone()
    }

    pub fn volumes_removed(&self) -> Vec<String> {
        self.world().volumes_removed.clone()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().expect("no holder of the lock panics")
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.clock.now_ms() as i64).unwrap_or_default()
    }

    fn emit(&self, id: &ContainerId, labels: Labels, change: Change) {
        if self.world().silent {
            return;
        }
        let at_ns = self.0.clock.now_ms() as i64 * 1_000_000;
        let event = Event { id: id.clone(), pod_uid: labels.pod_uid.clone(), change, at_ns };
        let _ = self.0.events.send((labels, event));
    }

    fn end(&self, id: &ContainerId, exit_code: i32, oom_killed: bool) {
        let now = self.now();
        let mut world = self.world();
        let Some((_, container)) = world.containers.get_mut(id) else { return };
        let State::Running { started_at } = container.state else { return };
        container.state = State::Exited(Exit { started_at, finished_at: now, exit_code, oom_killed, message: None });
        let labels = container.labels.clone();
        drop(world);
        self.emit(id, labels, Change::Died);
    }

    fn forget(&self, id: &ContainerId) {
        let mut world = self.world();
        let Some((spec, container)) = world.containers.remove(id) else { return };
        world.names.remove(&spec.name);
        drop(world);
        self.emit(id, container.labels, Change::Removed);
    }

    /// What every call does first: takes its time, hangs if told to, fails if told to.
    async fn enter(&self, call: &'static str, about: &str) -> Result<(), Error> {
        let mut hanging = self.0.hanging.subscribe();
        self.world().hung += u64::from(*hanging.borrow());
        let _ = hanging.wait_for(|hangs| !hangs).await;
        tokio::time::sleep(self.0.latency).await;
        let mut world = self.world();
        world.calls.push(format!("{call} {about}"));
        match world.failing.get(call) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    fn no_container(id: &ContainerId) -> Error {
        Error::NotFound(format!("No such container: {id}"))
    }
}
