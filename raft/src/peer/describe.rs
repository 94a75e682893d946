//! What a replica tells of itself. `reply` is pure.

use std::sync::atomic::Ordering::Relaxed;

use openraft::RaftMetrics;
use openraft::async_runtime::watch::WatchReceiver as _;
use proto::peer::{DescribeReply, Place, Repair, Voter};

use super::server::Server;
use super::wire;
use crate::standing;
use crate::trouble;
use crate::types::{LogId, Types, Vote, term_of};

/// What the metrics do not tell, or only a moment later.
#[cfg_attr(test, derive(Default))]
struct Own {
    id: u64,
    /// As it is saved.
    vote: Option<Vote>,
    last: Option<LogId>,
    /// Where the newest membership of the log lies.
    members_at: Option<u64>,
    abstains: bool,
    trouble: String,
    serves: bool,
    repair: Repair,
    /// Its raft node has not ended.
    runs: bool,
}

pub fn describe(server: &Server) -> DescribeReply {
    // The log before the metrics, which may be behind: so that none of their members are missed. And trouble looks at the raft
    // node's metrics itself: with a guard of theirs held, a writer that comes between the two would wait for the one and hold up
    // the other, for ever.
    let own = Own {
        id: server.id,
        vote: server.log.vote(),
        last: server.log.last(),
        members_at: server.log.members_at(),
        abstains: server.franchise.abstains.load(Relaxed),
        trouble: server.trouble.why().unwrap_or_default(),
        serves: server.trouble.serves(),
        repair: server.trouble.repair().out(),
        runs: trouble::ended(&server.raft).is_none(),
    };
    let metrics = server.raft.metrics();
    let metrics = metrics.borrow_watched();
    reply(own, &metrics)
}

fn reply(own: Own, metrics: &RaftMetrics<Types>) -> DescribeReply {
    let applied_index = metrics.last_applied.map_or(0, |at| at.index);
    let membership = &metrics.membership_config;
    let voters = membership.voter_ids().map(|id| Voter {
        id,
        place: membership.membership().get_node(&id).map(|place| Place {
            peer_address: place.peer_address.clone(),
            client_address: place.client_address.clone(),
        }),
    });
    // A vote counts from when it is saved, and the metrics may show an earlier or a later one: they follow a moment after, or,
    // where the disk has no room, much later.
    let term = own.vote.map_or(0, |vote| vote.leader_id.term);
    // A raft node that has ended shows for ever whom it followed.
    let is_current = metrics.current_term == term && own.runs;
    let leader = metrics.current_leader.filter(|_| is_current).unwrap_or(0);
    let has_own = metrics.last_applied.is_some_and(|at| term_of(&at) == term);
    let committed = &metrics.committed_membership_config;
    DescribeReply {
        term,
        leader,
        role: standing::role(metrics.state).name().into(),
        applied_index,
        // Entry 0 is the membership that a new replica gives itself; the next one comes from a leader.
        in_motion: applied_index > 0 || own.last.as_ref().is_some_and(|last| last.index > 0),
        initialized: membership.nodes().next().is_some(),
        last: own.last.as_ref().map(wire::log_id_out),
        abstains: own.abstains,
        trouble: own.trouble,
        voters: voters.collect(),
        voters_committed: committed.voter_ids().collect(),
        members_committed_at: committed.log_id().as_ref().map(wire::log_id_out),
        settled: leader == own.id && has_own,
        current: membership.log_id().as_ref().map(|at| at.index) >= own.members_at,
        serves: own.serves,
        repair: own.repair.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use openraft::{Membership, ServerState};

    use super::*;
    use crate::types::{StoredMembership, log_id};

    fn vote(term: u64, committed: bool) -> Option<Vote> {
        Some(wire::vote_in(Some(proto::peer::Vote { term, replica: 1, committed })).unwrap())
    }

    /// Replica 1 leads term 3, by a membership of entry 5.
    fn metrics() -> RaftMetrics<Types> {
        let places = [1, 2, 3].map(|id| (id, crate::types::Place::default()));
        let voters = Membership::new(vec![BTreeSet::from([1, 2, 3])], BTreeMap::from(places)).unwrap();
        let mut metrics = RaftMetrics::new_initial(1);
        metrics.current_term = 3;
        metrics.current_leader = Some(1);
        metrics.state = ServerState::Leader;
        metrics.last_applied = Some(log_id(3, 7));
        metrics.membership_config = StoredMembership::new(Some(log_id(3, 5)), voters).into();
        metrics
    }

    fn own() -> Own {
        Own { id: 1, vote: vote(3, true), last: Some(log_id(3, 7)), members_at: Some(5), runs: true, ..Own::default() }
    }

    #[test]
    fn a_leader_says_so() {
        let said = reply(own(), &metrics());
        assert_eq!((said.term, said.leader, said.settled, said.current), (3, 1, true, true));
        assert!(said.initialized && said.in_motion);
        let ids: Vec<_> = said.voters.iter().map(|voter| voter.id).collect();
        assert_eq!(ids, [1, 2, 3]);
    }

    #[test]
    fn what_is_promised_counts_before_the_metrics_show_it() {
        let said = reply(Own { vote: vote(4, false), ..own() }, &metrics());
        assert_eq!((said.term, said.leader, said.settled), (4, 0, false));
    }

    #[test]
    fn members_that_the_metrics_do_not_show_yet_are_not_current() {
        let said = reply(Own { members_at: Some(8), ..own() }, &metrics());
        assert!(!said.current);
    }
}
