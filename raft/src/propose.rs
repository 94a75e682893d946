//! A proposal's way: to the raft node here or to the leader, again only while it is certain that nothing was
//! appended. Acts.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use proto::mutants::{self, Mutant};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::admission::{Admission, Answer};
use crate::command::{Command, Outcome};
use crate::metrics::Metrics;
use crate::peer::ear::Ear;
use crate::peer::forward::Forwarder;
use crate::standing::Standing;
use crate::types::Raft;

/// A command that is larger is refused: it would hold up all others on the way.
pub const COMMAND_BYTES_MAX: usize = 8 << 20;
/// Between two attempts, unless the leader changes sooner.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// No leader could be reached in time; the command may or may not take effect later.
    #[error("no leader answered within {0:?}; the outcome is unknown")]
    Unknown(Duration),
    /// Certain: the command did not and will not take effect.
    #[error("not proposed: {0}")]
    Refused(String),
    /// Certain: it did not and will not take effect, and what grows the state will not before there is more room.
    /// Reads, deletes and small changes of what exists go on.
    #[error("insufficient storage: {0}")]
    NoSpace(String),
}

pub struct Proposer {
    pub raft: Raft,
    pub id: u64,
    pub admission: Admission,
    pub ear: Arc<Ear>,
    pub forwarder: Forwarder,
    pub standing: watch::Receiver<Standing>,
    pub metrics: Arc<Metrics>,
    pub timeout: Duration,
}

impl Proposer {
    pub async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        Metrics::add(&self.metrics.proposals, 1);
        let outcome = self.run(command).await;
        match &outcome {
            Ok(_) => {}
            Err(ProposeError::Unknown(_)) => Metrics::add(&self.metrics.proposals_unknown, 1),
            Err(ProposeError::NoSpace(_)) => Metrics::add(&self.metrics.proposals_no_space, 1),
            Err(ProposeError::Refused(_)) => Metrics::add(&self.metrics.proposals_refused, 1),
        }
        outcome
    }

    async fn run(&self, command: Command) -> Result<Outcome, ProposeError> {
        let started = Instant::now();
        let deadline = started + self.timeout;
        let bytes = command.encode();
        if bytes.len() > COMMAND_BYTES_MAX {
            let message = format!("the command has {} bytes, at most {COMMAND_BYTES_MAX} are taken", bytes.len());
            return Err(ProposeError::Refused(message));
        }
        let mut standing = self.standing.clone();
        loop {
            if let Some(why) = self.admission.guard.why() {
                return Err(ProposeError::Refused(why));
            }
            standing.borrow_and_update();
            let answer = match self.leader() {
                Some((leader, _)) if leader == self.id => {
                    let proposed = tokio::time::timeout_at(deadline, self.admission.propose(bytes.clone())).await;
                    proposed.unwrap_or_else(|_| Answer::Unknown("no majority answered".into()))
                }
                // It would only wait there. Who follows is heard of here first.
                Some(_) if self.ear.is_late(standing.borrow().term, Instant::now()) => Answer::NotTaken,
                Some((leader, address)) => {
                    Metrics::add(&self.metrics.proposals_forwarded, 1);
                    self.forwarder.forward(leader, &address, bytes.clone(), deadline).await
                }
                None => Answer::NotTaken,
            };
            match answer {
                Answer::Outcome(outcome) => return Ok(outcome),
                Answer::Unknown(why) if mutants::on(Mutant::UnknownIsRefused) => {
                    return Err(ProposeError::Refused(why));
                }
                Answer::Unknown(_) if mutants::on(Mutant::UnknownIsRetried) => {}
                Answer::Unknown(why) => {
                    tracing::debug!(why, "a proposal's outcome is unknown");
                    return Err(ProposeError::Unknown(started.elapsed()));
                }
                Answer::NoSpace(why) => return Err(ProposeError::NoSpace(why)),
                Answer::Refused(why) => return Err(ProposeError::Refused(why)),
                Answer::NotTaken => {}
            }
            if Instant::now() + PAUSE >= deadline {
                return Err(ProposeError::Refused(format!("no leader was found within {:?}", self.timeout)));
            }
            if let Ok(Err(_)) = tokio::time::timeout(PAUSE, standing.changed()).await {
                return Err(ProposeError::Refused("this replica has stopped".into()));
            }
        }
    }

    /// Who leads, as far as this replica knows, and where.
    fn leader(&self) -> Option<(u64, String)> {
        match self.admission.is_held_up() {
            true => self.leader_heard().or_else(|| leader(&self.raft)),
            false => leader(&self.raft),
        }
    }

    /// The raft node here waits for its disk, and may not know of a newer leader who has been heard.
    fn leader_heard(&self) -> Option<(u64, String)> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let leader = self.ear.leader_heard(metrics.vote.leader_id.term)?;
        let place = metrics.membership_config.membership().get_node(&leader)?;
        Some((leader, place.peer_address.clone()))
    }
}

pub fn leader(raft: &Raft) -> Option<(u64, String)> {
    let metrics = raft.server_metrics();
    let metrics = metrics.borrow_watched();
    let leader = metrics.current_leader?;
    let place = metrics.membership_config.membership().get_node(&leader)?;
    Some((leader, place.peer_address.clone()))
}
