//! The sessions this replica has, and when it heard from whom. In memory only. Acts on its own state.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use control::Liveness;
use proto::mutants::{self, Mutant};
use proto::seam::Env;
use proto::session::{Heartbeat, ReplicaMessage};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::tunnel::Waiting;

/// Entries of the queue towards one agent. A full set is one entry. An agent that does not take even these is
/// disconnected, and starts over with a full set.
pub(super) const OUTBOUND_MAX: usize = 64;
/// A node that has no session and was silent for so long is forgotten; its Node object was NotReady long ago.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Cheap to clone; clones share.
#[derive(Clone)]
pub struct Sessions(pub(super) Arc<Inner>);

pub struct Config {
    /// Told to agents: terms of different clusters do not compare.
    pub cluster_id: String,
    /// How often the cluster was recovered: members of an earlier epoch are out of date.
    pub epoch: u64,
    /// Who the replicas are: told to agents, so that they find new ones.
    pub roster: watch::Receiver<raft::Roster>,
    pub standing: watch::Receiver<raft::Standing>,
}

pub(super) struct Inner {
    pub config: Config,
    pub env: Env,
    nodes: Mutex<BTreeMap<String, Entry>>,
    /// Ticks when a session comes or goes.
    changed: watch::Sender<u64>,
    numbers: AtomicU64,
    pub tunnels: Mutex<BTreeMap<String, Waiting>>,
}

#[derive(Default)]
struct Entry {
    session: Option<Connected>,
    heard: Option<Instant>,
    engine_ready: bool,
    engine_message: String,
    applied: Option<Applied>,
}

impl Entry {
    /// Does this session stand? An earlier one had the same name, and its end may be noticed after the next one has begun.
    fn is_held_by(&self, session: &Connected) -> bool {
        let is_same = |current: &Connected| current.number == session.number;
        self.session.as_ref().is_some_and(|current| is_same(current) || mutants::on(Mutant::EarlierSessionCounts))
    }
}

/// The last assignment that a node confirmed to this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    pub term: u64,
    pub sequence: u64,
}

/// One session that stands (or has just ended). Cheap to clone.
#[derive(Clone)]
pub struct Connected {
    /// Unique within the process: a node's later session has a higher one.
    pub number: u64,
    pub node: String,
    pub(super) outbound: mpsc::Sender<Vec<ReplicaMessage>>,
    pub(super) ended: CancellationToken,
}

impl Connected {
    /// Queues messages, in order. False: the agent is too slow or gone, and the session ends.
    pub fn push(&self, messages: Vec<ReplicaMessage>) -> bool {
        let queued = self.outbound.try_send(messages).is_ok();
        if !queued {
            self.ended.cancel();
        }
        queued
    }
}

impl Sessions {
    pub fn new(config: Config, env: Env) -> Sessions {
        Sessions(Arc::new(Inner {
            config,
            env,
            nodes: Mutex::default(),
            changed: watch::Sender::new(0),
            numbers: AtomicU64::new(0),
            tunnels: Mutex::default(),
        }))
    }

    /// When each node was last heard from, by this replica. Nodes that never were are missing.
    pub fn snapshot(&self) -> BTreeMap<String, Liveness> {
        let now = Instant::now();
        let liveness = |entry: &Entry| {
            let silent_for = now.duration_since(entry.heard?);
            let (engine_ready, engine_message) = (entry.engine_ready, entry.engine_message.clone());
            Some(Liveness { silent_for, engine_ready, engine_message })
        };
        self.nodes().iter().filter_map(|(node, entry)| Some((node.clone(), liveness(entry)?))).collect()
    }

    /// Every session that stands, one per node.
    pub fn connected(&self) -> Vec<Connected> {
        self.nodes().values().filter_map(|entry| entry.session.clone()).collect()
    }

    /// Ticks when a session comes or goes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// What the node last confirmed, in the session that stands.
    pub fn applied(&self, node: &str) -> Option<Applied> {
        self.nodes().get(node)?.applied
    }

    pub(super) fn session(&self, node: &str) -> Option<Connected> {
        self.nodes().get(node)?.session.clone()
    }

    /// The newest session of a node wins: an older one ends.
    pub(super) fn join(&self, node: &str) -> (Connected, mpsc::Receiver<Vec<ReplicaMessage>>) {
        let (outbound, queue) = mpsc::channel(OUTBOUND_MAX);
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let session = Connected { number, node: node.to_owned(), outbound, ended: CancellationToken::new() };
        let mut nodes = self.nodes();
        nodes.retain(|_, entry| entry.session.is_some() || entry.heard.is_some_and(|at| at.elapsed() < REMEMBERED));
        let entry = nodes.entry(node.to_owned()).or_default();
        if let Some(before) = entry.session.replace(session.clone()) {
            before.ended.cancel();
        }
        entry.applied = None;
        drop(nodes);
        self.tick();
        (session, queue)
    }

    pub(super) fn leave(&self, session: &Connected) {
        session.ended.cancel();
        let mut nodes = self.nodes();
        if let Some(entry) = nodes.get_mut(&session.node)
            && entry.is_held_by(session)
        {
            entry.session = None;
            drop(nodes);
            self.tick();
        }
    }

    pub(super) fn heard(&self, session: &Connected, heartbeat: Heartbeat) {
        self.with(session, |entry| {
            entry.heard = Some(Instant::now());
            entry.engine_ready = heartbeat.engine_ready;
            entry.engine_message = heartbeat.engine_message;
        });
    }

    pub(super) fn confirmed(&self, session: &Connected, applied: Applied) {
        self.with(session, |entry| entry.applied = Some(applied));
    }

    /// Only the session that stands speaks for its node.
    fn with(&self, session: &Connected, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.nodes().get_mut(&session.node)
            && entry.is_held_by(session)
        {
            change(entry);
        }
    }

    fn tick(&self) {
        self.0.changed.send_modify(|tick| *tick += 1);
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.nodes.lock().expect("no holder of the lock panics")
    }
}
