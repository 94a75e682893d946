//! Changes the members: on the leader, or by asking it. Acts; `plan` decides.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::EntryPayload;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::error::{ClientWriteError, RaftError};
use openraft::raft::Precondition;
use proto::mutants::{self, Mutant};
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout_at};

use super::plan::{MemberChange, Seen, Step, View, plan};
use super::wire::{Answered, out};
use super::{Members, used};
use crate::handover::HandedOver;
use crate::peer::channels::Lane;
use crate::propose::leader;
use crate::types::{Membership, Place, StoredMembership, Types};

/// How long the members get to answer before a change is decided.
const ASK: Duration = Duration::from_millis(700);
/// For so long a change waits until the one before it is settled.
const TURN: Duration = Duration::from_secs(3);
/// A change that is not committed within this has an unknown outcome.
pub(super) const COMMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// Nothing was changed.
    #[error("no leader took the change within {0:?}")]
    NoLeader(Duration),
    /// It may or may not take effect; what it came to shows in the list of members.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

impl Members {
    /// Returns the id of the member that was changed, or that leads now. Takes no longer than `within`.
    pub async fn change(&self, change: MemberChange, within: Duration) -> Result<u64, ChangeError> {
        let deadline = Instant::now() + within;
        loop {
            let answered = match leader(&self.raft) {
                Some((leader, _)) if leader == self.id => {
                    let changed = timeout_at(deadline, self.in_turn(&change, deadline)).await;
                    changed.unwrap_or_else(|_| Answered::Unknown("it was not settled in time".into()))
                }
                Some((leader, address)) => self.ask_leader(leader, &address, &change, deadline).await,
                None => Answered::NotLeader,
            };
            match answered {
                Answered::Done(id) => return Ok(id),
                Answered::Refused(why) => return Err(ChangeError::Refused(why)),
                Answered::Unknown(why) => return Err(ChangeError::Unknown(why)),
                Answered::NotLeader if Instant::now() + PAUSE >= deadline => return Err(ChangeError::NoLeader(within)),
                Answered::NotLeader => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn ask_leader(&self, id: u64, address: &str, change: &MemberChange, deadline: Instant) -> Answered {
        let mut client = self.channels.client(id, address, Lane::Control);
        match timeout_at(deadline, client.change(out(change))).await {
            Ok(Ok(reply)) => Answered::of(reply.into_inner()),
            Ok(Err(status)) if proto::channel::never_sent(&status) => Answered::NotLeader,
            Ok(Err(status)) => Answered::Unknown(status.message().to_owned()),
            Err(_) => Answered::Unknown("the leader did not answer in time".into()),
        }
    }

    /// On the leader. One change at a time.
    pub(crate) async fn change_here(&self, change: &MemberChange) -> Answered {
        self.in_turn(change, Instant::now() + TURN).await
    }

    /// What has not got its turn by then is refused.
    async fn in_turn(&self, change: &MemberChange, deadline: Instant) -> Answered {
        let leads = || self.standing.borrow().leads_in_term;
        if leads().is_none() {
            return Answered::NotLeader;
        }
        let turn = timeout_at(waits_until(change).min(deadline), self.turn.clone().lock_owned()).await;
        // First: a change that is open here need not be under way any more where another one leads.
        let Some(term) = leads() else { return Answered::NotLeader };
        let Ok(turn) = turn else {
            return Answered::Refused("another change of the members is under way: one at a time".into());
        };
        let turn = Arc::new(turn);
        let (at, view) = self.view().await;
        let step = match plan(&view, change) {
            Ok(step) => step,
            Err(refusal) => return Answered::Refused(refusal.to_string()),
        };
        match (step, change) {
            (
                Step::Done,
                MemberChange::Promote { id } | MemberChange::Remove { id } | MemberChange::Move { id, .. },
            ) => Answered::Done(*id),
            (Step::Done, _) => Answered::Done(self.id),
            (Step::HandOver(to), _) => self.step_down(to, change).await,
            (Step::Add(place), _) => self.add(&turn, term, at, view, place).await,
            (Step::Move(place), MemberChange::Move { id, .. }) => self.relocate(&turn, at, *id, place).await,
            (Step::Set { voters, members }, MemberChange::Remove { id }) => {
                let highest = view.members.keys().next_back().copied().unwrap_or(0);
                if let Err(why) = self.raise(term, highest).await {
                    return why;
                }
                match self.append(&turn, at, voters, members).await {
                    Answered::Done(_) => self.bar(term, vec![*id]).await,
                    other => other,
                }
            }
            (Step::Set { voters, members }, MemberChange::Promote { id }) => {
                match self.append(&turn, at, voters, members).await {
                    Answered::Done(_) => Answered::Done(*id),
                    other => other,
                }
            }
            (step, change) => unreachable!("{step:?} is no step of {change:?}"),
        }
    }

    /// The membership in effect, and what the members answer.
    async fn view(&self) -> (StoredMembership, View) {
        let (membership, last_index) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (StoredMembership::clone(&metrics.membership_config), metrics.last_log_index.unwrap_or(0))
        };
        let answers = self.ask(ASK).await;
        let seen = answers.iter().filter(|status| status.reachable).map(|status| {
            let applied = status.applied_index.unwrap_or(0);
            (status.member.id, Seen { applied, abstains: status.filling, serves: status.serves })
        });
        let state = self.published.state();
        let view = View {
            leader: self.id,
            voters: membership.voter_ids().collect(),
            members: membership.nodes().map(|(id, place)| (*id, place.clone())).collect(),
            last_index,
            seen: seen.collect(),
            removed: used::removed(&state),
            last_id: used::last(&state),
        };
        (membership, view)
    }

    async fn step_down(&self, to: Option<u64>, change: &MemberChange) -> Answered {
        let handed = self.hand_over(to).await;
        if handed == HandedOver::Nobody {
            return Answered::Refused("no other voter can take the leadership over".into());
        }
        let MemberChange::Transfer { to } = change else {
            // The new leader carries it out.
            return Answered::NotLeader;
        };
        if handed == HandedOver::Late {
            return Answered::Unknown(
                "who was to take the leadership over did not in time: there is an election".into(),
            );
        }
        let mut standing = self.standing.clone();
        // What is shown here may still be this replica's own leadership.
        let known = standing.wait_for(|now| now.leader.is_some_and(|leader| leader != self.id));
        let leader = tokio::time::timeout(COMMIT, known).await.ok().and_then(|now| now.ok()?.leader);
        match (leader, to) {
            (None, _) => Answered::Unknown("nobody is known to lead yet".into()),
            (Some(leader), Some(to)) if leader != *to => {
                Answered::Refused(format!("replica {leader} took the leadership over, before replica {to} could"))
            }
            (Some(leader), _) => Answered::Done(leader),
        }
    }

    async fn add(&self, turn: &Turn, term: u64, at: StoredMembership, view: View, place: Place) -> Answered {
        let state = self.published.state();
        let given = view.members.keys().chain(&view.removed).copied().max().unwrap_or(0);
        let id = match mutants::on(Mutant::IdReused) {
            true => (1..).find(|id| !view.members.contains_key(id)).unwrap_or_default(),
            false => given.max(used::last(&state)) + 1,
        };
        if let Err(why) = self.raise(term, id).await {
            return why;
        }
        let mut members = view.members;
        members.insert(id, place);
        match self.append(turn, at, view.voters, members).await {
            Answered::Done(_) => Answered::Done(id),
            other => other,
        }
    }

    /// In one entry: two such memberships in a row always share a majority, so there is no state in between.
    async fn append(
        &self,
        turn: &Turn,
        at: StoredMembership,
        voters: BTreeSet<u64>,
        members: std::collections::BTreeMap<u64, Place>,
    ) -> Answered {
        let membership = match Membership::new(vec![voters], members) {
            Ok(membership) => membership,
            Err(error) => return Answered::Refused(error.to_string()),
        };
        let unchanged = Precondition::LastMembershipLogId { last_membership_log_id: *at.log_id() };
        let raft = self.raft.clone();
        let appended = async move { raft.append_membership(membership, EntryPayload::Blank, [unchanged]).await };
        answered(self.id, settle(turn, appended).await)
    }

    async fn relocate(&self, turn: &Turn, at: StoredMembership, id: u64, place: Place) -> Answered {
        let unchanged = Precondition::LastMembershipLogId { last_membership_log_id: *at.log_id() };
        let set = openraft::ChangeMembers::SetNodes([(id, place)].into());
        let raft = self.raft.clone();
        let changed = async move { raft.change_membership_if(set, true, [unchanged]).await };
        answered(id, settle(turn, changed).await)
    }
}

/// Who has moved says so every second, and need not wait.
fn waits_until(change: &MemberChange) -> Instant {
    match change {
        MemberChange::Move { .. } => Instant::now(),
        _ => Instant::now() + TURN,
    }
}

type Turn = Arc<OwnedMutexGuard<()>>;
type Written = Result<openraft::raft::ClientWriteResponse<Types>, RaftError<Types, ClientWriteError<Types>>>;

/// Waits no longer than [`COMMIT`]; `None`: it is open what comes of it. The turn lasts until that is settled: an id that is
/// being given would pass for one that was given by a leader who died, and be barred.
async fn settle(turn: &Turn, written: impl Future<Output = Written> + Send + 'static) -> Option<Written> {
    let turn = turn.clone();
    let written = tokio::spawn(async move {
        let written = written.await;
        drop(turn);
        written
    });
    tokio::time::timeout(COMMIT, written).await.ok()?.ok()
}

fn answered(id: u64, written: Option<Written>) -> Answered {
    match written {
        Some(Ok(_)) => Answered::Done(id),
        Some(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => Answered::NotLeader,
        Some(Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)))) => {
            Answered::Unknown("the leader changed".into())
        }
        Some(Err(RaftError::APIError(error))) => Answered::Refused(error.to_string()),
        Some(Err(RaftError::Fatal(error))) => Answered::Unknown(error.to_string()),
        None => Answered::Unknown("no majority answered in time".into()),
    }
}

#[cfg(test)]
#[path = "change_tests.rs"]
pub(super) mod tests;
