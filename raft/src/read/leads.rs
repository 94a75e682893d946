//! What a leader knows when it is asked for the index of a read, and who has to confirm it. Decides; only `look` asks
//! the raft node.
//!
//! A read may show what was committed up to an index that its leader tells, if no later leader can have committed anything
//! before the read began. A replica that, after that moment, still follows this leader's vote has promised no later one
//! anything until then; where such replicas and the leader itself are a majority, no later one can have been elected.
//! A follower that asks says whom it follows, so that it is one of them without being asked itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use openraft::{RaftState, ServerState};
use proto::mutants::{self, Mutant};

use crate::types::{Raft, StoredMembership, Types, Vote, term_of};

/// A replica that led when it was looked at.
#[derive(Debug)]
pub(crate) struct Leads {
    pub id: u64,
    /// That others may follow it by.
    pub vote: Vote,
    /// Everything that was acknowledged before the look, in this term or an earlier one, lies no higher.
    pub index: u64,
    membership: Arc<StoredMembership>,
}

impl Leads {
    /// `None`: this replica does not lead.
    pub async fn look(raft: &Raft, id: u64) -> Option<Leads> {
        raft.with_raft_state(move |state| Leads::of(state, id)).await.ok()?
    }

    fn of(state: &RaftState<Types>, id: u64) -> Option<Leads> {
        let vote = *state.vote_ref();
        let leads = state.server_state == ServerState::Leader && vote.committed && vote.leader_id.voted_for == id;
        if !leads {
            return None;
        }
        let (committed, last) = (state.local_committed(), state.log_ids.last());
        // What is committed is known from this very leadership: a restarted leader does not go on (`enable_leader_restore`), whose
        // knowledge, read from the disk, may be old.
        // Until an entry of its own is committed, a leader does not know how far earlier ones came: not beyond its own first.
        let own = |at: &&_| term_of(at) == vote.leader_id.term || mutants::on(Mutant::ReadsBeforeOwnEntry);
        let index = committed.filter(own).or(last.filter(own))?.index;
        Some(Leads { id, vote, index, membership: state.membership_state.effective().clone() })
    }

    /// Are these and the leader a majority: of both sets of voters, while they change?
    pub fn is_majority(&self, others: &BTreeSet<u64>) -> bool {
        are_majority(self.membership.get_joint_config(), self.id, others)
    }

    /// The other voters and where they are: the `preferred` ones first.
    pub fn others(&self, preferred: &BTreeSet<u64>) -> Vec<(u64, String)> {
        let voters: BTreeSet<u64> = self.membership.voter_ids().filter(|voter| *voter != self.id).collect();
        let (first, then): (Vec<u64>, Vec<u64>) = voters.into_iter().partition(|voter| preferred.contains(voter));
        let place = |id| Some((id, self.membership.get_node(&id)?.peer_address.clone()));
        first.into_iter().chain(then).filter_map(place).collect()
    }
}

fn are_majority(configs: &[BTreeSet<u64>], leader: u64, others: &BTreeSet<u64>) -> bool {
    let counts = |voter: &&u64| **voter == leader || others.contains(*voter);
    configs.iter().all(|voters| voters.iter().filter(counts).count() * 2 > voters.len())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::peer::wire;
    use crate::types::{Membership, Place, log_id};

    type Voters = &'static [&'static [u64]];

    #[test]
    fn a_majority_of_every_set_of_voters() {
        let cases: [(Voters, &[u64], bool); 13] = [
            (&[&[1]], &[], true),
            (&[&[1, 2]], &[], false),
            (&[&[1, 2]], &[2], true),
            (&[&[1, 2, 3]], &[], false),
            (&[&[1, 2, 3]], &[3], true),
            (&[&[1, 2, 3]], &[1], false),
            (&[&[1, 2, 3]], &[4], false),
            (&[&[1, 2, 3, 4]], &[2], false),
            (&[&[1, 2, 3, 4, 5]], &[5], false),
            (&[&[1, 2, 3, 4, 5]], &[2, 5], true),
            (&[&[1, 2, 3], &[1, 4, 5]], &[2], false),
            (&[&[1, 2, 3], &[1, 4, 5]], &[2, 5], true),
            (&[&[1, 2, 3], &[2, 3, 4]], &[2], false),
        ];
        for (configs, others, expected) in cases {
            let sets: Vec<BTreeSet<u64>> = configs.iter().map(|voters| voters.iter().copied().collect()).collect();
            let others: BTreeSet<u64> = others.iter().copied().collect();
            assert_eq!(are_majority(&sets, 1, &others), expected, "{configs:?} {others:?}");
        }
    }

    #[test]
    fn who_answered_last_is_asked_first_and_no_learner() {
        let place = |id: u64| Place { peer_address: format!("at-{id}"), ..Place::default() };
        let nodes: BTreeMap<u64, Place> = (1..=5).map(|id| (id, place(id))).collect();
        let voters = vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 2, 4])];
        let membership = Membership::new(voters, nodes).unwrap();
        let membership = Arc::new(StoredMembership::new(Some(log_id(1, 1)), membership));
        let vote = wire::vote_in(Some(proto::peer::Vote { term: 1, replica: 1, committed: true })).unwrap();
        let leads = Leads { id: 1, vote, index: 7, membership };
        let order = |preferred: &[u64]| -> Vec<u64> {
            leads.others(&preferred.iter().copied().collect()).into_iter().map(|(id, _)| id).collect()
        };
        assert_eq!(order(&[]), [2, 3, 4]);
        assert_eq!(order(&[4, 5, 9]), [4, 2, 3]);
        assert_eq!(leads.others(&BTreeSet::new())[0].1, "at-2");
    }
}
