//! The leader's life: follows the store's standing, and runs the controllers for as long as a term lasts. Acts.
//! Read in this order:
//!
//! - [`run`]: from term to term;
//! - [`driver`]: one term: watch, queue, plan, propose; it begins with what is [`prepared`] (pure);
//! - [`queue`]: whose turn it is (pure);
//! - [`command`]: a plan as a command (pure);
//! - [`liveness`]: what is made of the heartbeats (pure);
//! - [`recorder`]: events, batched and limited (pure).

mod command;
mod driver;
mod liveness;
mod prepared;
mod queue;
mod recorder;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use control::{Controller, controllers, scheduler};
use proto::mutants::{self, Mutant};
use proto::seam::Env;
use raft::{Standing, Store};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// What the sessions hear from the agents, kept in memory on every replica.
pub trait Heartbeats: Send + Sync {
    /// Each node that was ever heard of by this process, as of its last heartbeat.
    fn snapshot(&self) -> BTreeMap<String, control::Liveness>;
}

/// What this replica is doing as a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Follower,
    /// Elected, but older terms' entries are still being applied: nothing may be decided yet.
    CatchingUp {
        term: u64,
    },
    Leading {
        term: u64,
    },
}

impl Role {
    pub fn of(standing: &Standing) -> Role {
        match (standing.leads_in_term, standing.role) {
            (Some(term), _) => Role::Leading { term },
            (None, raft::Role::Leader) => Role::CatchingUp { term: standing.term },
            (None, _) => Role::Follower,
        }
    }
}

/// What the controllers work with.
#[derive(Clone)]
pub struct Leader {
    pub store: Store,
    pub env: Env,
    pub heartbeats: Arc<dyn Heartbeats>,
    /// Where the replicas serve the API, as configured: the endpoints of the Service `kubernetes` until it is known who
    /// the members are.
    pub replicas: Vec<SocketAddr>,
}

/// How long a term's tasks get to end after they were told to; then they are dropped where they stand, which
/// is harmless, since each command takes effect as a whole.
const END_MAX: Duration = Duration::from_secs(5);
/// Before a replica that could not give the leadership away tries again to lead well.
pub const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Runs until `shutdown`. `role` is told of every change.
pub async fn run(leader: Leader, role: watch::Sender<Role>, shutdown: CancellationToken) {
    let mut standing = leader.store.standing();
    loop {
        let now = Role::of(&standing.borrow_and_update());
        role.send_if_modified(|before| std::mem::replace(before, now) != now);
        match now {
            Role::Leading { term } => lead(&leader, term, &mut standing, &shutdown).await,
            Role::Follower | Role::CatchingUp { .. } => {
                tokio::select! {
                    changed = standing.changed() => if changed.is_err() { break },
                    () = shutdown.cancelled() => break,
                }
            }
        }
        if shutdown.is_cancelled() {
            break;
        }
    }
    role.send_replace(Role::Follower);
}

/// One term, from its first applied entry to the loss of the leadership. A task that ends by itself makes the
/// replica give the leadership up: whoever is next may do better.
async fn lead(leader: &Leader, term: u64, standing: &mut watch::Receiver<Standing>, shutdown: &CancellationToken) {
    let revision = leader.store.state().revision();
    info!(term, revision, "leading: starting the scheduler and the controllers");
    let stop = shutdown.child_token();
    let mut tasks = JoinSet::new();
    let mut roster = leader.store.roster();
    let replicas = endpoints(&roster.borrow_and_update()).unwrap_or_else(|| leader.replicas.clone());
    tasks.spawn(driver::run(leader.clone(), term, controllers(&replicas), stop.clone()));
    let ended = tokio::select! {
        () = until_term_ends(term, standing) => None,
        () = shutdown.cancelled() => None,
        () = other_endpoints(&mut roster, &replicas) => {
            info!(term, "the replicas have changed: the controllers start anew");
            None
        }
        Some(ended) = tasks.join_next() => Some(ended),
    };
    match mutants::on(Mutant::ControllerOutlivesTerm) {
        true => tasks.detach_all(),
        false => stop.cancel(),
    }
    if timeout(END_MAX, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        warn!(term, "the controllers did not end in time and are dropped");
        tasks.shutdown().await;
    }
    match ended {
        None => info!(term, "the scheduler and the controllers have ended"),
        Some(Ok(driver::Ended::Fenced { term: newer })) => {
            info!(term, newer, "another leader was elected");
            pause(term, standing, shutdown).await;
        }
        Some(Ok(driver::Ended::Stopped)) => {}
        Some(Ok(driver::Ended::Broken(why))) => {
            give_up(&leader.store, term, &why).await;
            pause(term, standing, shutdown).await;
        }
        Some(Err(why)) => {
            give_up(&leader.store, term, &why.to_string()).await;
            pause(term, standing, shutdown).await;
        }
    }
}

/// What a leader has to do was not done to its end. Somebody else may do better.
pub async fn give_up(store: &Store, term: u64, why: &str) {
    error!(term, why, "what a leader does has ended by itself: giving the leadership up");
    match timeout(END_MAX, store.transfer_leadership(None)).await {
        Ok(Ok(())) => {}
        Ok(Err(failed)) => warn!(term, %failed, "could not give the leadership up"),
        Err(_) => warn!(term, "nobody took the leadership over in time"),
    }
}

/// Waits for the end of the term, but not for ever: if this replica still leads, it is to try again.
async fn pause(term: u64, standing: &mut watch::Receiver<Standing>, shutdown: &CancellationToken) {
    tokio::select! {
        _ = timeout(RESTART_AFTER, until_term_ends(term, standing)) => {}
        () = shutdown.cancelled() => {}
    }
}

/// The members' client addresses that are plain IP addresses; `None` as long as it is not known who the members are.
fn endpoints(roster: &raft::Roster) -> Option<Vec<SocketAddr>> {
    let addresses = roster.members.iter().filter_map(|member| member.client_address.parse().ok());
    (roster.index > 0).then(|| addresses.collect())
}

async fn other_endpoints(roster: &mut watch::Receiver<raft::Roster>, known: &[SocketAddr]) {
    let other = |roster: &raft::Roster| endpoints(roster).is_some_and(|now| now != known);
    if roster.wait_for(other).await.is_err() {
        // The store is gone, and the term will end with it.
        std::future::pending::<()>().await;
    }
}

async fn until_term_ends(term: u64, standing: &mut watch::Receiver<Standing>) {
    // An error means that the store is gone, and with it the term.
    let _ = standing.wait_for(|standing| standing.leads_in_term != Some(term)).await;
}

/// All controllers, made anew for each term: none carries anything over.
fn controllers(replicas: &[SocketAddr]) -> Vec<Box<dyn Controller>> {
    let replicas = replicas.to_vec();
    vec![
        Box::new(controllers::deployment::Deployments),
        Box::new(controllers::replica_set::ReplicaSets),
        Box::new(scheduler::Scheduler::default()),
        Box::new(controllers::node_lifecycle::NodeLifecycle),
        Box::new(controllers::pod_garbage::PodGarbage::default()),
        Box::new(controllers::endpoints::ServiceEndpoints { replicas: replicas.clone() }),
        Box::new(controllers::endpoint_slices::EndpointSlices { replicas }),
        Box::new(controllers::namespace::Namespaces),
        Box::new(controllers::garbage::Garbage),
        Box::new(controllers::event_ttl::EventTtl),
    ]
}

#[cfg(test)]
mod tests;
