//! Notices at once when a peer's process dies: its sockets are closed by the kernel, which breaks the stream that
//! is kept open to it, and nothing listens on its port. If it was the leader, starts an election without waiting
//! for a timeout. Acts; `rank` decides who goes first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::TransferLeaderRequest;
use proto::peer::AliveRequest;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::channels::{Channels, Lane};
use crate::accord::guard::Franchise;
use crate::metrics::Metrics;
use crate::types::{Place, Raft, Vote};

/// A dead process's port refuses at once; a dead machine's does not answer at all.
const PROBE: Duration = Duration::from_millis(100);
const PROBE_AGAIN: Duration = Duration::from_millis(5);
const PROBES: u32 = 20;
/// Between the candidacies of two followers, so that the first is through before the second begins.
const STAGGER: Duration = Duration::from_millis(60);
/// Between two attempts of one follower; another voter may not have noticed the death yet.
const AGAIN: Duration = Duration::from_millis(80);
const ATTEMPTS: u32 = 10;
const RECONNECT: Duration = Duration::from_millis(250);
const DIAL: Duration = Duration::from_secs(2);

pub struct Alive {
    channels: Channels,
    franchise: Franchise,
    metrics: Arc<Metrics>,
    id: u64,
    /// Peers whose stream is open.
    up: Mutex<BTreeSet<u64>>,
}

impl Alive {
    pub fn new(id: u64, channels: Channels, franchise: Franchise, metrics: Arc<Metrics>) -> Arc<Alive> {
        Arc::new(Alive { channels, franchise, metrics, id, up: Mutex::default() })
    }

    /// Keeps a stream to every other member, as the membership changes. Ends with `stop`.
    pub async fn run(self: Arc<Self>, raft: Raft, stop: CancellationToken) {
        let mut watched: BTreeMap<u64, Place> = BTreeMap::new();
        let mut links = JoinSet::new();
        let mut metrics = raft.server_metrics();
        loop {
            let members = self.others(&raft);
            if members != watched {
                links.abort_all();
                for (id, place) in &members {
                    links.spawn(self.clone().link(raft.clone(), *id, place.clone()));
                }
                watched = members;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = metrics.changed() => if changed.is_err() { return },
            }
        }
    }

    fn others(&self, raft: &Raft) -> BTreeMap<u64, Place> {
        let metrics = raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.membership_config.nodes();
        nodes.filter(|(id, _)| **id != self.id).map(|(id, place)| (*id, place.clone())).collect()
    }

    async fn link(self: Arc<Self>, raft: Raft, peer: u64, place: Place) {
        loop {
            let mut client = self.channels.client(peer, &place.peer_address, Lane::Control);
            if let Ok(Ok(stream)) = tokio::time::timeout(DIAL, client.alive(AliveRequest {})).await {
                let mut stream = stream.into_inner();
                self.mark(peer, true);
                while let Ok(Some(_)) = stream.message().await {}
                self.mark(peer, false);
                self.replace(&raft, peer, &place).await;
            }
            tokio::time::sleep(RECONNECT).await;
        }
    }

    fn mark(&self, peer: u64, up: bool) {
        let mut all = self.up.lock().expect("no holder of the set panics");
        match up {
            true => all.insert(peer),
            false => all.remove(&peer),
        };
    }

    /// Is this process gone, as far as this replica can tell? Broken stream and closed port: a mere network
    /// fault shows neither.
    async fn dead(&self, peer: u64, place: &Place) -> bool {
        let up = self.up.lock().expect("no holder of the set panics").contains(&peer);
        !up && !self.channels.listens(peer, &place.peer_address, PROBE).await
    }

    /// The kernel closes a dying process's sockets one after the other: its port may be the last.
    async fn dies(&self, peer: u64, place: &Place) -> bool {
        for _ in 0..PROBES {
            if self.dead(peer, place).await {
                return true;
            }
            tokio::time::sleep(PROBE_AGAIN).await;
        }
        false
    }

    /// If the dead peer led: seeks the votes of the others, who have noticed it too, until somebody leads.
    async fn replace(&self, raft: &Raft, peer: u64, place: &Place) {
        let Some((_, rank)) = self.led_by(raft, peer) else { return };
        if !self.dies(peer, place).await {
            return;
        }
        tracing::info!(peer, "the leader's process has died");
        Metrics::add(&self.metrics.elections_after_reset, 1);
        tokio::time::sleep(STAGGER * rank).await;
        for _ in 0..ATTEMPTS {
            if self.replaced(raft, peer) || self.franchise.lost().is_some() {
                return;
            }
            if let Some((vote, _)) = self.led_by(raft, peer) {
                self.end_lease(raft, vote, peer).await;
            }
            if raft.trigger().elect(true).await.is_err() {
                return;
            }
            // Never the same for two voters: a split vote is not split again.
            tokio::time::sleep(AGAIN + STAGGER * rank).await;
        }
    }

    /// The vote of the leadership that this replica follows, if it is `peer`'s, and this replica's turn.
    fn led_by(&self, raft: &Raft, peer: u64) -> Option<(Vote, u32)> {
        let metrics = raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
        let follows = metrics.vote.committed && metrics.vote.leader_id.voted_for == peer;
        follows.then_some((metrics.vote, rank(&voters, peer, self.id)?))
    }

    fn replaced(&self, raft: &Raft, peer: u64) -> bool {
        raft.server_metrics().borrow_watched().current_leader.is_some_and(|leader| leader != peer)
    }

    /// Lets this replica grant a vote though the leader's lease has not run out, because the leader is dead.
    async fn end_lease(&self, raft: &Raft, vote: Vote, dead: u64) {
        // openraft ends the lease at every voter but the one named here, who is dead.
        let _ = raft.handle_transfer_leader(TransferLeaderRequest::new(vote, dead, None)).await;
    }

    /// Before this replica answers a pre-vote: it need not hold on to a leader that is dead. Returns whether it was.
    pub async fn release_dead_leader(&self, raft: &Raft) -> bool {
        let leader = {
            let metrics = raft.server_metrics();
            let metrics = metrics.borrow_watched();
            let id = metrics.vote.leader_id.voted_for;
            let place = metrics.membership_config.membership().get_node(&id).cloned();
            place.filter(|_| metrics.vote.committed && id != self.id).map(|place| (id, metrics.vote, place))
        };
        let Some((id, vote, place)) = leader else { return false };
        let dead = self.dead(id, &place).await;
        if dead {
            self.end_lease(raft, vote, id).await;
        }
        dead
    }
}

/// How many voters go before this one when `dead` must be replaced; `None`: it has no vote.
fn rank(voters: &BTreeSet<u64>, dead: u64, own: u64) -> Option<u32> {
    voters.contains(&own).then(|| voters.iter().filter(|id| **id < own && **id != dead).count() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_take_turns_in_the_order_of_their_ids() {
        let voters = BTreeSet::from([1, 2, 3, 7]);
        let ranks = |dead| [1, 2, 3, 7].map(|own| rank(&voters, dead, own));
        assert_eq!(ranks(2)[..], [Some(0), Some(1), Some(1), Some(2)]);
        assert_eq!(ranks(1)[1..], [Some(0), Some(1), Some(2)]);
        assert_eq!(rank(&voters, 1, 9), None, "a learner does not stand");
    }
}
