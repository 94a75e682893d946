//! The agent's sessions with the replicas. Read in this order:
//!
//! - [`Work`], [`Health`], [`Tunnels`]: what goes in and out, for the rest of the agent;
//! - `assignment`: decides what becomes of a pushed assignment (pure);
//! - `saved`: the last assignment on the agent's disk;
//! - `scribe`: saves, then delivers, then confirms;
//! - `members`: who the replicas are, and which addresses are dialled for that (pure);
//! - [`Replicas`]: what is known of each;
//! - `fleet`: keeps a session with each of them, as they come and go;
//! - `remembered`: who they are, on the agent's disk;
//! - `dial`: one session with one replica, dialled again until it is of no more use;
//! - `stream`: one tunnel;
//! - [`proxy`]: the loopback TCP proxy that gives `kubectl` one address for all replicas.
//!
//! [`run`] wires them.

mod assignment;
mod dial;
mod fleet;
mod members;
pub mod proxy;
mod remembered;
mod replicas;
mod saved;
mod scribe;
mod stream;
mod tunnels;
mod work;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::seam::Env;
use proto::tls::Identity;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use assignment::Desk;
pub use members::Members;
pub use replicas::{Known, Replicas};
pub use tunnels::{Gone, Output, Refusal, Request, TunnelIo, Tunnels};
pub use work::{Health, Work};

use crate::tasks::{broken, named};

/// A tunnel's [`Tunnels::check`] must answer within this; the replica waits a little longer for the tunnel.
pub const TUNNEL_CHECK_MAX: Duration = Duration::from_secs(5);
/// Streams served at one time, of all replicas together: bounds memory (each holds a connection's buffers).
const TUNNELS_MAX: usize = 256;

pub struct Config {
    /// The node's name, as in its certificate (`system:node:<name>`).
    pub node: String,
    pub replicas: Replicas,
    pub tls: Identity,
    pub heartbeat_interval: Duration,
    /// Where the last assignment and the replicas are remembered; `None` keeps them in memory alone.
    pub state_dir: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the agent's identity cannot be used")]
    Tls(#[from] proto::tls::Error),
    #[error("the agent's state directory {path} cannot be used")]
    State {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{0}")]
    Broken(String),
}

/// Keeps a session with every replica until `shutdown`. `work` holds `None` until it is known what this node
/// must run, from the disk or from a leader: until then no container may be touched. What is from the disk says so
/// ([`Work::is_remembered`]). Only complete sets are delivered; a reader that is slow sees the latest.
/// One that has lost a part of itself ends.
pub async fn run(
    config: Config,
    env: Env,
    health: watch::Receiver<Health>,
    work: watch::Sender<Option<Arc<Work>>>,
    tunnels: Arc<dyn Tunnels>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let connector = proto::tls::connector(&config.tls, &["h2"])?;
    let state_error = |source| Error::State {
        path: config.state_dir.as_deref().unwrap_or(std::path::Path::new("")).display().to_string(),
        source,
    };
    let saved = match &config.state_dir {
        Some(dir) => saved::load(dir).map_err(state_error)?,
        None => None,
    };
    let remembered = match &config.state_dir {
        Some(dir) => remembered::load(dir).map_err(state_error)?,
        None => None,
    };
    remembered.into_iter().for_each(|members| config.replicas.learn(members));
    let desk = match saved {
        Some(saved) => {
            work.send_replace(Some(Arc::new(saved.work.clone())));
            Desk::new(saved.cluster_id, saved.work)
        }
        None => Desk::default(),
    };
    let (taken, to_save) = mpsc::channel(scribe::QUEUE_MAX);
    let stop = shutdown.child_token();
    let shared = Arc::new(Shared {
        boot_id: env.random.uuid(),
        node: config.node,
        replicas: config.replicas,
        heartbeat_interval: config.heartbeat_interval,
        env,
        connector,
        health,
        tunnels,
        desk: Mutex::new(desk),
        taken,
        tunnel_permits: Arc::new(Semaphore::new(TUNNELS_MAX)),
        tracker: TaskTracker::new(),
        shutdown: stop.clone(),
    });
    let mut tasks = JoinSet::new();
    let saving = scribe::run(config.state_dir.clone(), to_save, work, stop.clone());
    tasks.spawn(named("what saves the assignments", saving));
    tasks.spawn(named("what keeps them", fleet::run(shared.clone(), config.state_dir)));
    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(()),
        why = broken(&mut tasks, &stop) => Err(Error::Broken(why)),
    };
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    shared.tracker.close();
    shared.tracker.wait().await;
    outcome
}

/// What the tasks of one agent have in common.
struct Shared {
    node: String,
    boot_id: String,
    replicas: Replicas,
    heartbeat_interval: Duration,
    env: Env,
    connector: TlsConnector,
    health: watch::Receiver<Health>,
    tunnels: Arc<dyn Tunnels>,
    desk: Mutex<Desk>,
    taken: mpsc::Sender<scribe::Taken>,
    tunnel_permits: Arc<Semaphore>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
}
