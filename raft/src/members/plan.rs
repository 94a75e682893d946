//! May the members change so? Pure, decides; every refusal says why.

use std::collections::{BTreeMap, BTreeSet};

use super::address;
use crate::types::Place;

/// A learner that is so many entries behind at most may become a voter: it is through with them in well under a second.
pub const LAG_MAX: u64 = 1_000;

/// What an operator may ask for. One change at a time; each takes effect as a whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// A new learner. It gets an id that no replica ever had.
    Add { peer_address: String, client_address: String },
    /// A learner that has caught up becomes a voter.
    Promote { id: u64 },
    /// Out of the cluster, for ever.
    Remove { id: u64 },
    /// The replica is reached elsewhere now. Only the replica itself says so.
    Move { id: u64, peer_address: String, client_address: String },
    /// `None`: to the most advanced voter.
    Transfer { to: Option<u64> },
}

/// What the leader knows when it decides.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub leader: u64,
    pub voters: BTreeSet<u64>,
    pub members: BTreeMap<u64, Place>,
    pub last_index: u64,
    /// The members that answered just now, the leader included.
    pub seen: BTreeMap<u64, Seen>,
    /// Ids that are marked as removed.
    pub removed: BTreeSet<u64>,
    /// The highest id that was ever given, as far as it was written down.
    pub last_id: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub applied: u64,
    /// Empty, waiting to be filled.
    pub abstains: bool,
    /// It votes and acknowledges. Not where its disk has failed or is full, or its state is odd.
    pub serves: bool,
}

impl Seen {
    fn fault(self, id: u64) -> Option<Refusal> {
        match (self.abstains, self.serves) {
            (true, _) => Some(Refusal::Filling(id)),
            (false, false) => Some(Refusal::Unfit(id)),
            (false, true) => None,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// It is so already.
    Done,
    /// Add a learner here.
    Add(Place),
    /// One entry that changes at most one voter.
    Set {
        voters: BTreeSet<u64>,
        members: BTreeMap<u64, Place>,
    },
    Move(Place),
    /// The leadership goes elsewhere; what was asked for is then the new leader's to do.
    HandOver(Option<u64>),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no replica {id}; the replicas are {members}")]
    Unknown { id: u64, members: String },
    #[error("replica {0} was removed from this cluster: its id is never used again, add a new replica instead")]
    Removed(u64),
    #[error("{address:?} is the address of replica {taken_by} already")]
    AddressTaken { address: String, taken_by: u64 },
    #[error("{address:?} is no address of a replica: {why}")]
    Address { address: String, why: String },
    #[error("replica {0} does not answer; ask again once it runs and has caught up")]
    Silent(u64),
    #[error("replica {id} lags {lag} entries behind; it is promoted once it is at most {LAG_MAX} behind")]
    Lags { id: u64, lag: u64 },
    #[error("replica {0} is empty and still being filled; ask again once that is done")]
    Filling(u64),
    #[error("replica {0} takes no part at present, `kontiki status` says why; ask again once it does")]
    Unfit(u64),
    #[error("replica {0} is the last voter: the cluster would be gone")]
    LastVoter(u64),
    #[error(
        "of the {voters} voters there would be, {able} could vote and {needed} are needed: the cluster would stand \
         still. Silent, without a part at present, or empty and still being filled: {unable}"
    )]
    Quorum { voters: usize, able: usize, needed: usize, unable: String },
    #[error("replica {0} is a learner: it cannot lead; promote it first")]
    CannotLead(u64),
}

pub fn plan(view: &View, change: &MemberChange) -> Result<Step, Refusal> {
    match change {
        MemberChange::Add { peer_address, client_address } => {
            let place = Place { peer_address: peer_address.clone(), client_address: client_address.clone() };
            free(view, &place, None)?;
            Ok(Step::Add(place))
        }
        MemberChange::Promote { id } => promote(view, *id),
        MemberChange::Remove { id } => remove(view, *id),
        MemberChange::Move { id, peer_address, client_address } => {
            let place = Place { peer_address: peer_address.clone(), client_address: client_address.clone() };
            if *member(view, *id)? == place {
                return Ok(Step::Done);
            }
            free(view, &place, Some(*id))?;
            Ok(Step::Move(place))
        }
        MemberChange::Transfer { to: Some(to) } => {
            member(view, *to)?;
            match (*to == view.leader, view.voters.contains(to), view.seen.get(to)) {
                (true, _, _) => Ok(Step::Done),
                (_, false, _) => Err(Refusal::CannotLead(*to)),
                (_, _, None) => Err(Refusal::Silent(*to)),
                (_, _, Some(seen)) => seen.fault(*to).map_or(Ok(Step::HandOver(Some(*to))), Err),
            }
        }
        MemberChange::Transfer { to: None } => Ok(Step::HandOver(None)),
    }
}

fn promote(view: &View, id: u64) -> Result<Step, Refusal> {
    member(view, id)?;
    if view.voters.contains(&id) {
        return Ok(Step::Done);
    }
    let seen = view.seen.get(&id).ok_or(Refusal::Silent(id))?;
    if seen.applied == 0 {
        return Err(Refusal::Filling(id));
    }
    if let Some(fault) = seen.fault(id) {
        return Err(fault);
    }
    let lag = view.last_index.saturating_sub(seen.applied);
    if lag > LAG_MAX {
        return Err(Refusal::Lags { id, lag });
    }
    let mut voters = view.voters.clone();
    voters.insert(id);
    quorum(view, &voters)?;
    Ok(Step::Set { voters, members: view.members.clone() })
}

fn remove(view: &View, id: u64) -> Result<Step, Refusal> {
    if is_out(view, id) {
        return Ok(Step::Done);
    }
    member(view, id)?;
    let (mut voters, mut members) = (view.voters.clone(), view.members.clone());
    members.remove(&id);
    if voters.remove(&id) {
        if voters.is_empty() {
            return Err(Refusal::LastVoter(id));
        }
        quorum(view, &voters)?;
    }
    match id == view.leader {
        true => Ok(Step::HandOver(None)),
        false => Ok(Step::Set { voters, members }),
    }
}

/// Given once and no member any more. The mark of a removal is written after it, so a leader that changes in between has
/// only the highest id to go by, which is written before.
fn is_out(view: &View, id: u64) -> bool {
    !view.members.contains_key(&id) && (view.removed.contains(&id) || (1..=view.last_id).contains(&id))
}

fn member(view: &View, id: u64) -> Result<&Place, Refusal> {
    view.members.get(&id).ok_or_else(|| match is_out(view, id) {
        true => Refusal::Removed(id),
        false => Refusal::Unknown { id, members: list(view.members.keys()) },
    })
}

/// Can these voters, as far as they answer and take part, go on?
fn quorum(view: &View, voters: &BTreeSet<u64>) -> Result<(), Refusal> {
    let votes = |id: &&u64| view.seen.get(id).is_some_and(|seen| seen.fault(**id).is_none());
    let (able, unable): (Vec<u64>, Vec<u64>) = voters.iter().partition(votes);
    let needed = voters.len() / 2 + 1;
    match able.len() >= needed {
        true => Ok(()),
        false => Err(Refusal::Quorum { voters: voters.len(), able: able.len(), needed, unable: list(unable.iter()) }),
    }
}

fn free(view: &View, place: &Place, own: Option<u64>) -> Result<(), Refusal> {
    for address in [&place.peer_address, &place.client_address] {
        if let Some(why) = address::fault(address) {
            return Err(Refusal::Address { address: address.clone(), why });
        }
    }
    let others = view.members.iter().filter(|(id, _)| Some(**id) != own);
    for (id, other) in others {
        if other.peer_address == place.peer_address {
            return Err(Refusal::AddressTaken { address: place.peer_address.clone(), taken_by: *id });
        }
    }
    Ok(())
}

fn list<'a>(ids: impl Iterator<Item = &'a u64>) -> String {
    ids.map(|id| format!("replica {id}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
