//! Notices at once when a peer's process dies: its sockets are closed by the kernel, which breaks the stream that
//! is kept open to it, and nothing listens on its port. If it was the leader, starts an election without waiting
//! for a timeout. Acts; `rank` decides who goes first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use proto::peer::AliveRequest;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::channels::{Channels, Lane};
use super::ear::Ear;
use super::succession::{STAGGER, Succession};
use crate::metrics::Metrics;
use crate::types::Place;

/// A dead process's port refuses at once; a dead machine's does not answer at all.
const PROBE: Duration = Duration::from_millis(100);
const PROBE_AGAIN: Duration = Duration::from_millis(5);
const PROBES: u32 = 20;
const ATTEMPTS: u32 = 10;
const RECONNECT: Duration = Duration::from_millis(250);
const DIAL: Duration = Duration::from_secs(2);

pub struct Alive {
    channels: Channels,
    succession: Succession,
    ear: Arc<Ear>,
    metrics: Arc<Metrics>,
    /// Peers whose stream is open.
    up: Mutex<BTreeSet<u64>>,
}

impl Alive {
    pub fn new(channels: Channels, succession: Succession, ear: Arc<Ear>, metrics: Arc<Metrics>) -> Arc<Alive> {
        Arc::new(Alive { channels, succession, ear, metrics, up: Mutex::default() })
    }

    /// Keeps a stream to every other member, as the membership changes. Ends with `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut watched: BTreeMap<u64, (Place, AbortHandle)> = BTreeMap::new();
        let mut links = JoinSet::new();
        let mut metrics = self.succession.raft.server_metrics();
        loop {
            let members = self.others();
            watched.retain(|id, (place, link)| {
                let stays = members.get(id) == Some(place);
                if !stays {
                    link.abort();
                    self.mark(*id, false);
                }
                stays
            });
            for (id, place) in members {
                watched.entry(id).or_insert_with(|| (place.clone(), links.spawn(self.clone().link(id, place))));
            }
            while links.try_join_next().is_some() {}
            tokio::select! {
                () = stop.cancelled() => return,
                changed = metrics.changed() => if changed.is_err() { return },
            }
        }
    }

    fn others(&self) -> BTreeMap<u64, Place> {
        let metrics = self.succession.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let nodes = metrics.membership_config.nodes();
        nodes.filter(|(id, _)| **id != self.succession.id).map(|(id, place)| (*id, place.clone())).collect()
    }

    async fn link(self: Arc<Self>, peer: u64, place: Place) {
        loop {
            let mut client = self.channels.client(peer, &place.peer_address, Lane::Control);
            if let Ok(Ok(stream)) = tokio::time::timeout(DIAL, client.alive(AliveRequest {})).await {
                let mut stream = stream.into_inner();
                self.mark(peer, true);
                while let Ok(Some(_)) = stream.message().await {}
                self.mark(peer, false);
                self.replace(peer, &place).await;
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
    /// fault shows not both. A reset alone is left to the silence that may follow (ADR 25 has the argument).
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
    async fn replace(&self, peer: u64, place: &Place) {
        let Some(rank) = self.succession.followed().filter(|leader| leader.id == peer).and_then(|leader| leader.rank)
        else {
            return;
        };
        if !self.dies(peer, place).await {
            return;
        }
        tracing::info!(peer, "the leader's process has died");
        Metrics::add(&self.metrics.elections_after_reset, 1);
        tokio::time::sleep(STAGGER * rank).await;
        self.succession.seek(peer, rank, ATTEMPTS, || false).await;
    }

    /// Before this replica answers a pre-vote.
    pub async fn judge(&self) -> Leader {
        let Some(followed) = self.succession.followed() else { return Leader::None };
        let lost = self.ear.is_lost(followed.term(), Instant::now()) || self.dead(followed.id, &followed.place).await;
        match lost {
            true => {
                self.succession.end_lease(&followed).await;
                Leader::Lost
            }
            false if self.ear.patience_ends(followed.term()).is_some() => Leader::Heard,
            false => Leader::None,
        }
    }
}

/// What a replica that is asked for its vote knows of the leader it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leader {
    /// It follows none, or was never spoken to by it: openraft decides by its lease.
    None,
    /// Heard a moment ago. Nobody gets a vote against it, whatever has become of its lease.
    Heard,
    /// Its process is dead, or it is silent: its lease is over.
    Lost,
}
