//! Hands the leadership over. A leader of openraft's that was told to hand over leads no more, whatever comes of it: it takes
//! nothing and sends no heartbeat until it hears of a later term. So it is told only when somebody can take over, and a
//! hand-over that comes to nothing is ended. Acts; `heir` decides.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::VoteRequest;
use openraft::type_config::alias::LeaderIdOf;
use openraft::vote::RaftLeaderId as _;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::accord::Accord;
use crate::disk::space::Level;
use crate::trouble;
use crate::types::{Raft, Types, Vote, log_id};

/// How long the others get to take the leadership over.
const WITHIN: Duration = Duration::from_secs(1);
/// Somebody may answer the next heartbeat.
const PAUSE: Duration = Duration::from_millis(50);
/// Who is so many entries behind at most has them in a moment: what a busy leader has under way is less.
const LAG_MAX: u64 = 8192;
/// Between two looks at whether somebody has more room, and after a hand-over for that.
const LOOK: Duration = Duration::from_millis(500);
const PAUSE_AFTER: Duration = Duration::from_secs(10);

/// A voter that may lead, as far as its answers to the newest heartbeats tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: u64,
    /// There is enough room on its disk.
    pub ample: bool,
    /// What it has acknowledged.
    pub matched: u64,
}

/// Who shall lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Anyone,
    /// With more room on the disk than here.
    Roomier,
    This(u64),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandedOver {
    /// Another replica leads, or this one does not.
    Done,
    /// Nobody can take over, and nothing was done: this replica leads on.
    Nobody,
    /// Somebody was told to, and was not seen to lead in time: he may yet, or another one; there is an election.
    Late,
}

/// The most advanced, and of equals the one with the lowest id. `last`: where the log ends here.
fn heir(candidates: &[Candidate], wish: Wish, last: u64) -> Option<u64> {
    let fits = |candidate: &&Candidate| match wish {
        Wish::Anyone => true,
        Wish::Roomier => candidate.ample,
        Wish::This(id) => candidate.id == id,
    };
    let near = |candidate: &&Candidate| candidate.matched.saturating_add(LAG_MAX) >= last;
    let best = candidates.iter().filter(fits).filter(near);
    best.max_by_key(|candidate| (candidate.matched, std::cmp::Reverse(candidate.id))).map(|candidate| candidate.id)
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Handover {
    pub raft: Raft,
    pub id: u64,
    pub accord: Arc<Accord>,
}

impl Handover {
    /// Within a second, and another one where somebody was told to take over and did not.
    pub async fn run(&self, wish: Wish) -> HandedOver {
        let deadline = Instant::now() + WITHIN;
        let to = loop {
            if self.leads().is_none() {
                return HandedOver::Done;
            }
            match self.heir(wish) {
                Some(to) => break to,
                None if Instant::now() + PAUSE >= deadline => return HandedOver::Nobody,
                None => tokio::time::sleep(PAUSE).await,
            }
        };
        let Some(vote) = self.leads() else { return HandedOver::Done };
        tracing::info!(to, "this replica hands the leadership over");
        if self.raft.trigger().transfer_leader(to).await.is_err() {
            return HandedOver::Done;
        }
        let mut metrics = self.raft.server_metrics();
        let gone = async { while self.leads().is_some() && metrics.changed().await.is_ok() {} };
        if timeout_at(deadline, gone).await.is_ok() {
            return HandedOver::Done;
        }
        self.end(vote, to).await;
        HandedOver::Late
    }

    /// A leader with little room on its disk lets another one lead that has more. Ends with `stop`.
    pub async fn while_room_is_short(self, mut level: watch::Receiver<Level>, stop: CancellationToken) {
        loop {
            let short = async {
                if level.wait_for(|level| *level != Level::Ample).await.is_err() {
                    return false;
                }
                if self.leads().is_some() && self.heir(Wish::Roomier).is_some() {
                    tracing::warn!("there is little room on the disk here: another replica shall lead");
                    self.run(Wish::Roomier).await;
                    tokio::time::sleep(PAUSE_AFTER).await;
                }
                tokio::time::sleep(LOOK).await;
                true
            };
            tokio::select! {
                () = stop.cancelled() => return,
                goes_on = short => if !goes_on { return },
            }
        }
    }

    /// Its vote, while this replica leads.
    fn leads(&self) -> Option<Vote> {
        if trouble::ended(&self.raft).is_some() {
            return None;
        }
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        (metrics.current_leader == Some(self.id)).then_some(metrics.vote)
    }

    /// Who would take over now.
    pub fn heir(&self, wish: Wish) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
        let matched = |id: u64| metrics.replication.as_ref()?.get(&id)?.as_ref().map(|at| at.index);
        let able = self.accord.able(&voters).into_iter().filter_map(|(id, ample)| {
            let matched = matched(id)?;
            Some(Candidate { id, ample, matched })
        });
        heir(&able.collect::<Vec<_>>(), wish, metrics.last_log_index.unwrap_or(0))
    }

    /// Gives `to` the vote that it did not come to ask for: then this replica follows, and may stand for election itself.
    async fn end(&self, vote: Vote, to: u64) {
        tracing::warn!(to, "nobody took the leadership over in time: there is an election");
        let leader_id = LeaderIdOf::<Types>::new(vote.leader_id.term + 1, to);
        let last = self.raft.metrics().borrow_watched().last_log_index;
        let last = last.map(|index| log_id(vote.leader_id.term, index));
        let mut request = VoteRequest::new(Vote { leader_id, committed: false }, last);
        request.leadership_transfer = true;
        // An error: the raft node has ended. No answer: it waits for room on its disk, and takes the vote when there is some.
        let _ = timeout(WITHIN, self.raft.vote(request)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_advanced_of_those_who_may_lead_is_the_heir() {
        let candidate = |id, ample, matched| Candidate { id, ample, matched };
        let all = [candidate(2, false, 100), candidate(3, true, 90), candidate(5, true, 100)];
        assert_eq!(heir(&all, Wish::Anyone, 100), Some(2));
        assert_eq!(heir(&all, Wish::Roomier, 100), Some(5));
        assert_eq!(heir(&all[..2], Wish::Roomier, 100), Some(3));
        assert_eq!(heir(&all, Wish::This(3), 100), Some(3));
        assert_eq!(heir(&all, Wish::This(4), 100), None);
        assert_eq!(heir(&all[..1], Wish::Roomier, 100), None);
        assert_eq!(heir(&[], Wish::Anyone, 100), None);
        assert_eq!(heir(&all, Wish::Anyone, 100 + LAG_MAX), Some(2));
        assert_eq!(heir(&all, Wish::This(3), 100 + LAG_MAX), None, "it would have to catch up first");
        assert_eq!(heir(&all, Wish::Anyone, 101 + LAG_MAX), None);
    }
}
