//! A leader's heartbeats come from its raft node, which sends none while it waits for its disk. For a while the others are told
//! from here that it is only late: an election would take nothing off its disk, and often theirs is as slow. Acts; `speaks` is
//! pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::future::join_all;
use openraft::async_runtime::watch::WatchReceiver as _;
use proto::peer::{FollowsReply, FollowsRequest};
use tokio::sync::watch;

use super::channels::{Channels, Lane};
use super::line::{Line, Wants};
use super::wire;
use crate::disk::space::Level;
use crate::types::{Place, Raft};

/// In beats: who has not come round by then does not lead.
const LATE_MAX: u64 = 6;

pub struct Herald {
    raft: Raft,
    id: u64,
    channels: Channels,
    level: watch::Receiver<Level>,
    pub heartbeat: Duration,
    given: u64,
    /// The last one that the raft node has come to.
    taken: Arc<AtomicU64>,
    lines: BTreeMap<u64, Line<FollowsRequest, FollowsReply>>,
}

fn speaks(given: u64, taken: u64, level: Level) -> bool {
    // Without room it may be long before it goes on.
    (1..=LATE_MAX).contains(&given.saturating_sub(taken)) && level != Level::Out
}

impl Herald {
    pub fn new(raft: Raft, id: u64, channels: Channels, level: watch::Receiver<Level>, heartbeat: Duration) -> Herald {
        let (taken, lines) = (Arc::default(), BTreeMap::new());
        Herald { raft, id, channels, level, heartbeat, given: 0, taken, lines }
    }

    /// With each heartbeat of a leader.
    pub async fn beat(&mut self) {
        let late = speaks(self.given, self.taken.load(Relaxed), *self.level.borrow());
        self.given += 1;
        let (taken, beat) = (self.taken.clone(), self.given);
        // An error: the raft node has ended.
        let _ = self.raft.external_request(move |_| taken.store(beat, Relaxed)).await;
        if late {
            // Whoever is late himself hears it later.
            let _ = tokio::time::timeout(self.heartbeat / 2, self.tell()).await;
        }
    }

    async fn tell(&mut self) {
        let (vote, voters) = {
            let metrics = self.raft.server_metrics();
            let metrics = metrics.borrow_watched();
            let place = |id: u64| Some((id, metrics.membership_config.get_node(&id)?.clone()));
            let voters: BTreeMap<u64, Place> = metrics.membership_config.voter_ids().filter_map(place).collect();
            (wire::vote_out(&metrics.vote), voters)
        };
        let (id, channels, lines) = (self.id, &self.channels, &mut self.lines);
        lines.retain(|voter, _| voters.contains_key(voter));
        for voter in voters.keys().filter(|voter| **voter != id) {
            lines.entry(*voter).or_default();
        }
        let told = lines.iter_mut().map(|(voter, line)| {
            let open = |questions| {
                let mut client = channels.client(*voter, &voters[voter].peer_address, Lane::Control);
                async move { client.follows(questions).await }
            };
            line.ask(FollowsRequest { vote: Some(vote) }, Wants::Newest, open)
        });
        join_all(told).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_speaks_for_who_is_late_and_not_for_who_is_stuck() {
        for (given, taken, level, expected) in [
            (0, 0, Level::Ample, false),
            (5, 5, Level::Ample, false),
            (5, 4, Level::Ample, true),
            (5, 4, Level::Out, false),
            (10, 4, Level::Ample, true),
            (11, 4, Level::Ample, false),
        ] {
            assert_eq!(speaks(given, taken, level), expected, "{given} {taken} {level:?}");
        }
    }
}
