//! One term of the controllers: takes changes in, plans what they concern, proposes, and records events. Acts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use api::Key;
use bytes::Bytes;
use control::{Controller, Note, Plan, View, Write};
use jiff::Timestamp;
use proto::mutants::{self, Mutant};
use raft::{Change, Command, HistoryError, News, Outcome, Precondition, ProposeError, Watcher};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::Leader;
use super::command::{self, Stamp};
use super::liveness::Pulse;
use super::prepared::{self, Prepared, Work};
use super::queue::Queue;
use super::recorder::{self, Batch, Pending, Recorder};

/// How many plans may be on their way to the log at once. They concern different objects; where they do not,
/// one of them gets a conflict and is planned anew.
const FLYING_MAX: usize = 32;
/// Planning takes the thread for no longer at a time: on a small host it is the one that says that the leader lives.
const PLANNING_MAX: Duration = Duration::from_millis(10);
/// How often heartbeats are looked at.
const PULSE: Duration = Duration::from_millis(500);
/// The store has its own, shorter deadline; this one only guards against its failure.
const PROPOSE_MAX: Duration = Duration::from_secs(30);
/// A recheck is made at the latest after this time, so that a step of the wall clock cannot delay it for long.
const RECHECK_MAX: Duration = Duration::from_secs(60);
/// The controller that is told of heartbeats.
const NODE_LIFECYCLE: &str = "node-lifecycle";

/// How a term's work came to its end.
#[derive(Debug)]
pub enum Ended {
    Stopped,
    /// A command was refused because a newer term has begun.
    Fenced {
        term: u64,
    },
    Broken(String),
}

/// Drives all `controllers` until `stop`, or until the term is over.
pub async fn run(leader: Leader, term: u64, controllers: Vec<Box<dyn Controller>>, stop: CancellationToken) -> Ended {
    let led_since = Instant::now();
    let (state, watcher) = leader.store.state_and_watch(Bytes::new()).await;
    let revision = state.revision();
    // A large state takes seconds to parse: not on a thread that others wait for.
    let prepared = proto::seam::apart(move || Prepared::new(&state, controllers)).await;
    let Prepared { view, controllers, queue } = match prepared {
        Ok(prepared) => prepared,
        Err(failed) => return Ended::Broken(failed.to_string()),
    };
    let mut driver = Driver {
        leader,
        term,
        view,
        controllers,
        queue,
        flights: JoinSet::new(),
        event_flights: JoinSet::new(),
        recorder: Recorder::default(),
        recorded: 0,
        record_at: None,
        pulse: Pulse::new(led_since),
    };
    driver.queue.taken_in(revision);
    driver.run(watcher, stop).await
}

struct Driver {
    leader: Leader,
    term: u64,
    view: View,
    controllers: Vec<Box<dyn Controller>>,
    queue: Queue<Work>,
    flights: JoinSet<Flight>,
    /// At most one.
    event_flights: JoinSet<(Vec<Pending>, Result<Outcome, ProposeError>)>,
    recorder: Recorder,
    /// The revision of the last events written: the next are counted on top of them.
    recorded: u64,
    /// When the gathered notes are written.
    record_at: Option<Instant>,
    pulse: Pulse,
}

/// A proposal that came back.
struct Flight {
    work: Work,
    notes: Vec<Note>,
    result: Result<Outcome, ProposeError>,
}

impl Driver {
    async fn run(&mut self, mut watcher: Watcher, stop: CancellationToken) -> Ended {
        let mut pulse = interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.feel_pulse();
        loop {
            self.queue.wake(Instant::now());
            let goes_on = self.plan_some();
            let wake_at = self.queue.next_wake();
            let record_at = self.record_at.filter(|_| self.may_record());
            let step = tokio::select! {
                () = stop.cancelled() => return Ended::Stopped,
                news = watcher.next() => self.take_in(news),
                Some(flight) = self.flights.join_next() => self.land(flight),
                Some(result) = self.event_flights.join_next() => self.land_events(result),
                () = until(wake_at) => Ok(()),
                () = until(record_at) => { self.record(); Ok(()) }
                _ = pulse.tick() => { self.feel_pulse(); Ok(()) }
                () = tokio::task::yield_now(), if goes_on => Ok(()),
            };
            if let Err(ended) = step {
                return ended;
            }
        }
    }

    fn take_in(&mut self, news: Result<News, HistoryError>) -> Result<(), Ended> {
        match news {
            Ok(News::Changes(changes)) => {
                changes.iter().for_each(|change| self.take_in_change(change));
                if let Some(last) = changes.last() {
                    self.queue.taken_in(last.revision);
                }
            }
            Ok(News::Progress(revision)) => self.queue.taken_in(revision),
            Err(error) => return Err(Ended::Broken(format!("the controllers' watch ended: {error}"))),
        }
        Ok(())
    }

    fn take_in_change(&mut self, change: &Change) {
        // Claims are keys too, but no objects.
        let Some(key) = Key::decode(&change.key) else { return };
        let Some(change) = self.view.take_in(&key, change.revision, change.value.as_deref()) else { return };
        for (index, controller) in self.controllers.iter().enumerate() {
            for key in prepared::affected(&**controller, &change, &self.view) {
                self.queue.add((index, key));
            }
        }
    }

    /// Plans what is ready, as long as proposals may be under way, for a while. Is there more?
    fn plan_some(&mut self) -> bool {
        if !self.queue.has_ready() {
            return false;
        }
        self.view.now = self.now();
        let began = Instant::now();
        while self.queue.flying() < FLYING_MAX
            && let Some(work) = self.queue.pop()
        {
            let controller = &self.controllers[work.0];
            match catch_unwind(AssertUnwindSafe(|| controller.plan(&self.view, &work.1))) {
                Ok(plan) => self.follow(work, plan),
                // One object that a controller cannot cope with must not stop all others: every leader would meet it.
                Err(_) => {
                    error!(controller = controller.name(), key = %work.1, "planning panicked; this key is tried again later");
                    self.queue.failed(work, Instant::now());
                }
            }
            if began.elapsed() >= PLANNING_MAX {
                return self.queue.has_ready() && self.queue.flying() < FLYING_MAX;
            }
        }
        false
    }

    fn follow(&mut self, work: Work, plan: Plan) {
        let controller = self.controllers[work.0].name();
        let Plan { writes, events, recheck_at, reason } = plan;
        if writes.is_empty() {
            self.note_all(controller, events);
            let recheck_at = recheck_at.map(|at| self.instant_of(at));
            return self.queue.converged(work, recheck_at);
        }
        debug!(controller, key = %work.1, writes = writes.len(), reason, "planned");
        let command = self.command(controller, writes);
        let store = self.leader.store.clone();
        self.flights.spawn(async move { Flight { result: propose(&store, command).await, work, notes: events } });
    }

    fn land(&mut self, flight: Result<Flight, JoinError>) -> Result<(), Ended> {
        let Flight { work, notes, result } = flight.map_err(|failed| Ended::Broken(failed.to_string()))?;
        let controller = self.controllers[work.0].name();
        match result {
            Ok(Outcome::Applied { revisions }) => {
                debug!(term = self.term, controller, key = %work.1, ?revisions, "written");
                self.note_all(controller, notes);
                self.queue.wrote(work, revisions.into_iter().max().unwrap_or(0), Instant::now());
            }
            Ok(Outcome::Conflict { key, .. }) => {
                debug!(controller, key = %work.1, conflict = %String::from_utf8_lossy(&key), "planned from an old view");
                self.queue.failed(work, Instant::now());
            }
            Ok(Outcome::Fenced { term }) => return Err(Ended::Fenced { term }),
            Err(failed) => {
                warn!(controller, key = %work.1, %failed, "a plan could not be written");
                self.queue.failed(work, Instant::now());
            }
        }
        Ok(())
    }

    fn note_all(&mut self, controller: &'static str, notes: Vec<Note>) {
        let now = Instant::now();
        for note in notes {
            self.recorder.note(recorder::component(controller), note, now);
        }
        if !self.recorder.is_empty() {
            self.record_at.get_or_insert(now + recorder::GATHER);
        }
    }

    fn may_record(&self) -> bool {
        self.event_flights.is_empty() && self.recorded <= self.queue.revision()
    }

    /// Writes one batch of events.
    fn record(&mut self) {
        self.record_at = None;
        self.view.now = self.now();
        let Batch { writes, notes } = self.recorder.take_batch(&self.view);
        let dropped = self.recorder.take_dropped();
        if dropped > 0 {
            debug!(dropped, "events over the limit were dropped");
        }
        if !writes.is_empty() {
            let command = self.command("events", writes);
            let store = self.leader.store.clone();
            self.event_flights.spawn(async move { (notes, propose(&store, command).await) });
        }
        if !self.recorder.is_empty() {
            self.record_at = Some(Instant::now());
        }
    }

    fn land_events(
        &mut self,
        flight: Result<(Vec<Pending>, Result<Outcome, ProposeError>), JoinError>,
    ) -> Result<(), Ended> {
        let (notes, result) = flight.map_err(|failed| Ended::Broken(failed.to_string()))?;
        match result {
            Ok(Outcome::Applied { revisions }) => {
                debug!(term = self.term, controller = "events", ?revisions, "written");
                self.recorded = revisions.into_iter().max().unwrap_or(0);
                return Ok(());
            }
            Ok(Outcome::Fenced { term }) => return Err(Ended::Fenced { term }),
            Ok(Outcome::Conflict { key, .. }) => {
                debug!(key = %String::from_utf8_lossy(&key), "a batch of events met somebody else's write");
            }
            Err(failed) => warn!(%failed, "a batch of events could not be written"),
        }
        self.recorder.put_back(notes);
        if !self.recorder.is_empty() {
            self.record_at.get_or_insert(Instant::now() + recorder::GATHER);
        }
        Ok(())
    }

    /// Looks at the heartbeats, and wakes the plans of nodes that fare differently now.
    fn feel_pulse(&mut self) {
        self.view.now = self.now();
        self.view.liveness = self.pulse.judged(self.leader.heartbeats.snapshot(), &self.view, Instant::now());
        let Some(index) = self.controllers.iter().position(|controller| controller.name() == NODE_LIFECYCLE) else {
            return;
        };
        for name in self.pulse.changed(&self.view) {
            self.queue.add((index, Key::new("", "nodes", "", &name)));
        }
    }

    fn command(&self, controller: &str, writes: Vec<Write>) -> Command {
        let env = &self.leader.env;
        let stamp = Stamp {
            term: self.term,
            author: format!("system:kontiki:{controller}"),
            now_ms: env.clock.now_ms(),
            uid: &mut || env.random.uuid(),
        };
        let released = control::plan::released_claims(&writes, &self.view);
        let mut command = command::command(writes, stamp);
        command.ops.extend(released.iter().map(command::release));
        if mutants::on(Mutant::ControllerOutlivesTerm) {
            command.fence = None;
        }
        if mutants::on(Mutant::DecidedByTheOld) {
            let insists = command.ops.iter_mut().map(|op| &mut op.precondition);
            insists
                .filter(|insists| **insists != Precondition::Absent)
                .for_each(|insists| *insists = Precondition::Any);
        }
        command
    }

    fn now(&self) -> Timestamp {
        command::time(self.leader.env.clock.now_ms())
    }

    fn instant_of(&self, at: Timestamp) -> Instant {
        let wait = Duration::try_from(at.duration_since(self.view.now)).unwrap_or(Duration::ZERO);
        Instant::now() + wait.min(RECHECK_MAX)
    }
}

async fn propose(store: &raft::Store, command: Command) -> Result<Outcome, ProposeError> {
    timeout(PROPOSE_MAX, store.propose(command)).await.unwrap_or(Err(ProposeError::Unknown(PROPOSE_MAX)))
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
