//! Replaces a leader that is lost, whoever noticed it: seeks the votes of the others until somebody leads. Acts; `rank`
//! decides who goes first.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::TransferLeaderRequest;

use crate::accord::guard::Franchise;
use crate::types::{Place, Raft, Vote};

/// Between the candidacies of two followers, so that the first is through before the second begins.
pub const STAGGER: Duration = Duration::from_millis(60);
/// Between two attempts of one follower; another voter may not have noticed the loss yet.
const AGAIN: Duration = Duration::from_millis(80);

/// Cheap to clone.
#[derive(Clone)]
pub struct Succession {
    pub raft: Raft,
    pub id: u64,
    pub franchise: Franchise,
}

/// The leader that this replica follows.
pub struct Followed {
    pub id: u64,
    pub place: Place,
    pub vote: Vote,
    /// How many voters go before this one when the leader must be replaced; `None`: this one has no vote.
    pub rank: Option<u32>,
}

impl Followed {
    pub fn term(&self) -> u64 {
        self.vote.leader_id.term
    }
}

impl Succession {
    /// Whose leadership this replica follows; `None`: its own, or none that it knows of.
    pub fn followed(&self) -> Option<Followed> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let (vote, id) = (metrics.vote, metrics.vote.leader_id.voted_for);
        if !vote.committed || id == self.id {
            return None;
        }
        let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
        let place = metrics.membership_config.membership().get_node(&id).cloned()?;
        Some(Followed { id, place, vote, rank: rank(&voters, id, self.id) })
    }

    fn replaced(&self, lost: u64) -> bool {
        self.raft.server_metrics().borrow_watched().current_leader.is_some_and(|leader| leader != lost)
    }

    /// Lets this replica grant a vote though the leader's lease has not run out.
    pub async fn end_lease(&self, followed: &Followed) {
        // openraft ends the lease at every voter but the one named here, who is lost.
        let request = TransferLeaderRequest::new(followed.vote, followed.id, None);
        let _ = self.raft.handle_transfer_leader(request).await;
    }

    /// Seeks the votes of the others, up to `attempts` times, until somebody else than `lost` leads. Stops when `back`
    /// says that it is there again.
    pub async fn seek(&self, lost: u64, rank: u32, attempts: u32, back: impl Fn() -> bool) {
        for _ in 0..attempts {
            if self.replaced(lost) || self.franchise.lost().is_some() || back() {
                return;
            }
            if let Some(followed) = self.followed().filter(|followed| followed.id == lost) {
                self.end_lease(&followed).await;
            }
            // With a pre-vote: whoever still hears the leader says no, and nothing has happened.
            if self.raft.trigger().elect(true).await.is_err() {
                return;
            }
            // Never the same for two voters: a split vote is not split again.
            tokio::time::sleep(AGAIN + STAGGER * rank).await;
        }
    }
}

fn rank(voters: &BTreeSet<u64>, lost: u64, own: u64) -> Option<u32> {
    voters.contains(&own).then(|| voters.iter().filter(|id| **id < own && **id != lost).count() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_take_turns_in_the_order_of_their_ids() {
        let voters = BTreeSet::from([1, 2, 3, 7]);
        let ranks = |lost| [1, 2, 3, 7].map(|own| rank(&voters, lost, own));
        assert_eq!(ranks(2)[..], [Some(0), Some(1), Some(1), Some(2)]);
        assert_eq!(ranks(1)[1..], [Some(0), Some(1), Some(2)]);
        assert_eq!(rank(&voters, 1, 9), None, "a learner does not stand");
    }
}
