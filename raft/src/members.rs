//! The members of the cluster, each asked for its state; and the hand-over of the leadership. Acts.
//!
//! - `plan` decides whether the members may change, `change` does it, `wire` has both as messages;
//! - `address` knows what an address may look like;
//! - `used` knows the ids that are never used again, `marks` writes them down;
//! - `keep` looks after this replica's own membership.

pub mod address;
pub(crate) mod change;
pub(crate) mod keep;
mod marks;
pub mod plan;
pub(crate) mod used;
pub(crate) mod wire;

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use proto::peer::{DescribeReply, DescribeRequest};
use proto::seam::Clock;
use tokio::sync::{Mutex, watch};

use crate::handover::{HandedOver, Handover, Wish};
use crate::intake::Intake;
use crate::machine::published::Published;
use crate::peer::channels::{Channels, Lane};
use crate::renewal::Repair;
use crate::standing::{Role, Standing};
use crate::trouble::Trouble;
use crate::types::{Place, Raft};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: u64,
    pub peer_address: String,
    pub client_address: String,
}

impl Member {
    pub(crate) fn new(id: u64, place: &Place) -> Member {
        Member { id, peer_address: place.peer_address.clone(), client_address: place.client_address.clone() }
    }

    pub(crate) fn place(&self) -> Place {
        Place { peer_address: self.peer_address.clone(), client_address: self.client_address.clone() }
    }
}

/// Who the members are, as of a membership that is applied here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// Of the log entry that made them the members; 0 as long as none is applied.
    pub index: u64,
    /// Sorted by id.
    pub members: Vec<Member>,
}

#[derive(Clone, Debug)]
pub struct MemberStatus {
    pub member: Member,
    pub role: Option<Role>,
    pub applied_index: Option<u64>,
    pub reachable: bool,
    /// The newest term that it knows of, and who leads in that.
    pub term: u64,
    pub leader: Option<u64>,
    /// Why it does not take part in full.
    pub trouble: Option<String>,
    /// Otherwise a learner: it is filled, but does not count.
    pub voter: bool,
    /// It is empty, and does not vote until it is filled.
    pub filling: bool,
    /// It votes, acknowledges and serves, as far as it is itself concerned.
    pub serves: bool,
    pub repair: Repair,
}

impl MemberStatus {
    fn told(member: Member, voter: bool, reply: DescribeReply) -> MemberStatus {
        MemberStatus {
            member,
            role: Role::named(&reply.role),
            applied_index: Some(reply.applied_index),
            reachable: true,
            term: reply.term,
            leader: Some(reply.leader).filter(|id| *id > 0),
            voter,
            filling: reply.abstains,
            serves: reply.serves,
            repair: Repair::read(reply.repair()),
            trouble: Some(reply.trouble).filter(|why| !why.is_empty()),
        }
    }

    fn silent(member: Member, voter: bool) -> MemberStatus {
        MemberStatus {
            member,
            role: None,
            applied_index: None,
            reachable: false,
            term: 0,
            leader: None,
            trouble: None,
            voter,
            filling: false,
            serves: false,
            repair: Repair::None,
        }
    }
}

pub(crate) struct Members {
    pub raft: Raft,
    pub handover: Handover,
    pub intake: Intake,
    pub id: u64,
    pub channels: Channels,
    pub standing: watch::Receiver<Standing>,
    pub trouble: Trouble,
    /// Shown as long as this replica knows no membership; and where this replica is to be reached.
    pub initial: Vec<Member>,
    pub published: Arc<Published>,
    pub abstains: Arc<std::sync::atomic::AtomicBool>,
    pub clock: Arc<dyn Clock>,
    /// Kept up to date by [`keep`].
    pub roster: watch::Sender<Roster>,
    /// Held by the change that is under way on this replica, until it is settled.
    pub turn: Arc<Mutex<()>>,
}

impl Members {
    fn known(&self) -> Vec<Member> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let known: Vec<Member> = metrics.membership_config.nodes().map(|(id, place)| Member::new(*id, place)).collect();
        if known.is_empty() { self.initial.clone() } else { known }
    }

    /// Waits until the members known here are no older than the state: openraft shows them a moment after they are applied.
    /// Ends with the raft node, too.
    pub async fn caught_up(&self) {
        let applied = self.published.applied().borrow().map_or(0, |at| at.index);
        let mut metrics = self.raft.metrics();
        loop {
            let shown = metrics.borrow_and_update().last_applied.map_or(0, |at| at.index);
            if shown >= applied || metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Sorted by id. Takes no longer than the deadline.
    pub async fn ask(&self, deadline: Duration) -> Vec<MemberStatus> {
        let mut members = self.known();
        members.sort_by_key(|member| member.id);
        futures::future::join_all(members.into_iter().map(|member| self.ask_one(member, deadline))).await
    }

    async fn ask_one(&self, member: Member, deadline: Duration) -> MemberStatus {
        let voter = self.raft.server_metrics().borrow_watched().membership_config.voter_ids().any(|id| id == member.id);
        if member.id == self.id {
            return self.own(member, voter);
        }
        let mut client = self.channels.client(member.id, &member.peer_address, Lane::Control);
        match tokio::time::timeout(deadline, client.describe(DescribeRequest {})).await {
            Ok(Ok(reply)) => MemberStatus::told(member, voter, reply.into_inner()),
            Ok(Err(_)) | Err(_) => MemberStatus::silent(member, voter),
        }
    }

    fn own(&self, member: Member, voter: bool) -> MemberStatus {
        let standing = self.standing.borrow().clone();
        MemberStatus {
            member,
            role: Some(standing.role),
            applied_index: Some(standing.applied_index),
            reachable: true,
            term: standing.term,
            leader: standing.leader,
            trouble: self.trouble.why(),
            voter,
            filling: self.abstains.load(std::sync::atomic::Ordering::Relaxed),
            serves: self.trouble.serves(),
            repair: self.trouble.repair(),
        }
    }

    /// Goes on to its end also where nobody waits for that: one broken off would leave a leader that leads no more.
    pub async fn hand_over(&self, to: Option<u64>) -> HandedOver {
        let handover = self.handover.clone();
        let run = tokio::spawn(async move { handover.run(to.map_or(Wish::Anyone, Wish::This)).await });
        run.await.unwrap_or(HandedOver::Late)
    }
}
