//! What this replica knows of itself. `decide` is pure; `follow` keeps it up to date.

use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::{RaftMetrics, ServerState};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::accord::guard::Fence;
use crate::disk::space::Level;
use crate::metrics::Metrics;
use crate::rhythm::Rhythm;
use crate::types::{LogId, Raft, Types, term_of};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Leader,
    Follower,
    Candidate,
    Learner,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Learner => "learner",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Role> {
        [Role::Leader, Role::Follower, Role::Candidate, Role::Learner].into_iter().find(|role| role.name() == name)
    }
}

/// What this replica knows of itself right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub id: u64,
    pub role: Role,
    pub term: u64,
    pub leader: Option<u64>,
    pub applied_index: u64,
    /// Leading, and the first entry of this term is applied: only then may the leader's tasks run.
    pub leads_in_term: Option<u64>,
}

impl Standing {
    pub(crate) fn new(id: u64) -> Standing {
        Standing { id, role: Role::Learner, term: 0, leader: None, applied_index: 0, leads_in_term: None }
    }
}

impl Standing {
    /// There is a leader, and if it is this replica, its tasks may run: only progress is still to come.
    fn is_settled(&self) -> bool {
        self.leader.is_some() && (self.role != Role::Leader || self.leads_in_term.is_some())
    }
}

pub(crate) fn role(state: ServerState) -> Role {
    match state {
        ServerState::Leader => Role::Leader,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Learner | ServerState::Shutdown => Role::Learner,
    }
}

/// `applied` is what the state machine shows, which may be ahead of the metrics.
/// `sidelined`: this replica may not serve, whatever its raft node says.
fn decide(metrics: &RaftMetrics<Types>, applied: Option<LogId>, sidelined: bool) -> Standing {
    let runs = metrics.running_state.is_ok() && !sidelined;
    let role = if runs { role(metrics.state) } else { Role::Learner };
    let term = metrics.current_term;
    // One leader per term: an entry of the term that this replica leads in is its own.
    let settled = applied.is_some_and(|at| term_of(&at) == term);
    Standing {
        id: metrics.id,
        role,
        term,
        leader: metrics.current_leader.filter(|_| runs),
        applied_index: applied.map_or(0, |at| at.index),
        leads_in_term: (role == Role::Leader && settled).then_some(term),
    }
}

/// Between two looks at how far a replica is, while nothing else changes.
const PROGRESS: Duration = Duration::from_millis(10);
/// Between two looks at the raft node's metrics, which every heartbeat changes, while the part that matters is the same.
const METRICS: Duration = Duration::from_millis(500);

/// Wakes the receivers when more than the applied index has changed. Ends with `stop`.
pub(crate) async fn follow(
    raft: Raft,
    mut applied: watch::Receiver<Option<LogId>>,
    (mut fence, mut level): (watch::Receiver<Fence>, watch::Receiver<Level>),
    standing: watch::Sender<Standing>,
    metrics: std::sync::Arc<Metrics>,
    rhythm: Rhythm,
    stop: CancellationToken,
) {
    let (mut raft_metrics, mut server_metrics) = (raft.metrics(), raft.server_metrics());
    loop {
        let (now, current) = {
            let fenced = *fence.borrow_and_update() != Fence::Open;
            // Its raft node is held up by the disk and cannot know whether it still leads.
            let held_up = *level.borrow_and_update() == Level::Out;
            let newest = server_metrics.borrow_and_update();
            let seen = raft_metrics.borrow_and_update();
            // openraft publishes the one a moment after the other.
            let current =
                (newest.vote, newest.state, newest.current_leader) == (seen.vote, seen.state, seen.current_leader);
            (decide(&seen, *applied.borrow_and_update(), fenced || held_up), current)
        };
        standing.send_if_modified(|before| {
            if now.leader.is_some() && now.leader != before.leader {
                Metrics::add(&metrics.leader_changes, 1);
            }
            let same = Standing { applied_index: now.applied_index, ..before.clone() } == now;
            *before = now;
            !same
        });
        // Progress alone, which under load comes thousands of times a second, is looked at now and then.
        let calm = current && standing.borrow().is_settled();
        let progress = async {
            let goes_on = applied.changed().await.is_ok();
            if calm {
                tokio::time::sleep(PROGRESS).await;
            }
            goes_on
        };
        let noise = async {
            if calm {
                rhythm.next(METRICS).await;
            }
            raft_metrics.changed().await.is_ok()
        };
        let goes_on = tokio::select! {
            () = stop.cancelled() => false,
            changed = server_metrics.changed() => changed.is_ok(),
            changed = fence.changed() => changed.is_ok(),
            changed = level.changed() => changed.is_ok(),
            goes_on = progress => goes_on,
            goes_on = noise => goes_on,
        };
        if !goes_on {
            break;
        }
    }
    // Whoever led does so no longer.
    standing.send_modify(|last| {
        (last.role, last.leader, last.leads_in_term) = (Role::Learner, None, None);
    });
}
