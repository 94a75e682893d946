//! Round after round for the index that waiting reads may begin at: a follower asks its leader, a leader has itself
//! confirmed. Acts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use proto::mutants::{self, Mutant};
use proto::peer::{FollowsReply, FollowsRequest, ReadIndexReply, ReadIndexRequest};
use tokio::sync::{mpsc, oneshot, watch};

use super::leads::Leads;
use crate::log::LogStore;
use crate::metrics::Metrics;
use crate::peer::channels::{Channels, Lane};
use crate::peer::line::{Line, Wants};
use crate::peer::wire;
use crate::propose::leader;
use crate::standing::Standing;
use crate::types::{Raft, Vote};

/// One round's deadline; it is tried again while somebody waits.
const ROUND: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);
/// A leader asks no more replicas than it needs, those first that answered last; after so long it asks all.
const PATIENCE: Duration = Duration::from_millis(20);
/// Where so many waited for a round, the next one begins when most of them are back, or a little later: a round costs every
/// replica something, and who waits in a crowd waits for a processor anyway.
const CROWD: usize = 16;
const BREATH: Duration = Duration::from_millis(1);
pub(super) const QUEUE: usize = 8192;

pub(super) struct Waiter {
    pub index: oneshot::Sender<u64>,
}

/// What a round needs.
pub(crate) struct Rounds {
    pub raft: Raft,
    pub id: u64,
    pub log: LogStore,
    pub channels: Channels,
    pub standing: watch::Receiver<Standing>,
    pub metrics: Arc<Metrics>,
}

/// Until the last [`super::Reader`] is gone.
pub(super) async fn run(rounds: Rounds, mut queue: mpsc::Receiver<Waiter>) {
    let mut asking = Asking { rounds, leader: None, voters: BTreeMap::new(), answered: BTreeSet::new() };
    let mut waiting: Vec<Waiter> = Vec::new();
    while queue.recv_many(&mut waiting, QUEUE).await > 0 {
        while !waiting.is_empty() {
            // Whoever came until now is served by a round that begins now.
            while let Ok(waiter) = queue.try_recv() {
                waiting.push(waiter);
            }
            Metrics::add(&asking.rounds.metrics.barrier_rounds, 1);
            let crowd = waiting.len();
            match asking.round().await {
                Some(index) => waiting.drain(..).for_each(|waiter| _ = waiter.index.send(index)),
                None => tokio::time::sleep(PAUSE).await,
            }
            waiting.retain(|waiter| !waiter.index.is_closed());
            if crowd >= CROWD {
                wait_for(crowd - crowd / 4, &mut queue, &mut waiting).await;
            }
        }
    }
}

/// Until so many are there, or the time is up.
async fn wait_for(most: usize, queue: &mut mpsc::Receiver<Waiter>, waiting: &mut Vec<Waiter>) {
    // Cancelled, it has lost nobody.
    let gather = async { while waiting.len() < most && queue.recv_many(waiting, QUEUE).await > 0 {} };
    let _ = tokio::time::timeout(BREATH, gather).await;
}

type Confirming = Line<FollowsRequest, FollowsReply>;

struct Asking {
    rounds: Rounds,
    leader: Option<(u64, Line<ReadIndexRequest, ReadIndexReply>)>,
    voters: BTreeMap<u64, Confirming>,
    /// Who confirmed the last round.
    answered: BTreeSet<u64>,
}

impl Asking {
    /// `None`: nobody answered in time, or the one who was asked leads no more.
    async fn round(&mut self) -> Option<u64> {
        let leader = self.rounds.standing.borrow_and_update().leader;
        let mut standing = self.rounds.standing.clone();
        let replaced = async {
            if standing.wait_for(|now| now.leader.is_some() && now.leader != leader).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let index = tokio::select! {
            index = tokio::time::timeout(ROUND, self.index()) => index.ok().flatten(),
            () = replaced => None,
        };
        if index.is_none() {
            // A leader without a majority answers nobody, and not those either who come after the one that waits.
            self.leader = None;
        }
        index
    }

    async fn index(&mut self) -> Option<u64> {
        let id = self.rounds.id;
        match leader(&self.rounds.raft)? {
            (leader, _) if leader == id && mutants::on(Mutant::LeaderReadsLocally) => Some(0),
            (leader, _) if leader != id && mutants::on(Mutant::FollowerReadsLocally) => Some(0),
            (leader, _) if leader == id => {
                let leads = Leads::look(&self.rounds.raft, id).await?;
                self.is_confirmed(&leads).await.then_some(leads.index)
            }
            (leader, address) => self.ask(leader, &address).await,
        }
    }

    async fn ask(&mut self, leader: u64, address: &str) -> Option<u64> {
        let line = self.leader.take().filter(|(to, _)| *to == leader);
        let (_, line) = self.leader.insert(line.unwrap_or((leader, Line::default())));
        let channels = &self.rounds.channels;
        let open = |questions| {
            let mut client = channels.client(leader, address, Lane::Control);
            async move { client.read_index(questions).await }
        };
        // What it says of itself is to be true after every read of this round has begun.
        let follows = self.rounds.log.vote().as_ref().map(wire::vote_out);
        Some(line.ask(ReadIndexRequest { follows }, Wants::Own, open).await.ok()?.index)
    }

    /// Asks others whether they follow this leader, until enough do.
    async fn is_confirmed(&mut self, leads: &Leads) -> bool {
        let mut rest = leads.others(&self.answered).into_iter();
        self.voters.retain(|id, _| rest.as_slice().iter().any(|(voter, _)| voter == id));
        let (mut asked, mut answered) = (BTreeSet::new(), BTreeSet::new());
        let mut answers = FuturesUnordered::new();
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        let mut all = false;
        while !leads.is_majority(&answered) {
            // No more than are needed, unless one of them is slow or refuses.
            while all || !leads.is_majority(&asked) {
                let Some((voter, address)) = rest.next() else { break };
                asked.insert(voter);
                let line = self.voters.remove(&voter).unwrap_or_default();
                answers.push(follows(self.rounds.channels.clone(), line, voter, address, leads.vote));
            }
            tokio::select! {
                Some((voter, line, follows)) = answers.next() => {
                    self.voters.insert(voter, line);
                    match follows {
                        true => _ = answered.insert(voter),
                        false => all = true,
                    }
                }
                () = &mut patience, if !all => all = true,
                else => return false,
            }
        }
        self.answered = answered;
        true
    }
}

async fn follows(
    channels: Channels,
    mut line: Confirming,
    voter: u64,
    address: String,
    vote: Vote,
) -> (u64, Confirming, bool) {
    let open = |questions| {
        let mut client = channels.client(voter, &address, Lane::Control);
        async move { client.follows(questions).await }
    };
    let answer = line.ask(FollowsRequest { vote: Some(wire::vote_out(&vote)) }, Wants::Own, open).await;
    (voter, line, answer.is_ok_and(|answer| answer.follows))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Answer = oneshot::Receiver<u64>;

    fn came(queue: &mpsc::Sender<Waiter>) -> Answer {
        let (index, answer) = oneshot::channel();
        queue.try_send(Waiter { index }).unwrap_or_else(|_| panic!("there is room"));
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_is_waited_for_until_most_of_it_is_back_and_not_for_long() {
        let (sender, mut queue) = mpsc::channel(QUEUE);
        let began = tokio::time::Instant::now();
        let mut waiting = Vec::new();

        let answers: Vec<Answer> = (0..12).map(|_| came(&sender)).collect();
        wait_for(12, &mut queue, &mut waiting).await;
        assert_eq!((waiting.len(), began.elapsed()), (12, Duration::ZERO));

        let late = came(&sender);
        wait_for(14, &mut queue, &mut waiting).await;
        assert_eq!((waiting.len(), began.elapsed()), (13, BREATH), "who came is kept when the time is up");

        waiting.into_iter().for_each(|waiter| waiter.index.send(7).expect("it is waited for"));
        for answer in answers.into_iter().chain([late]) {
            assert_eq!(answer.await, Ok(7));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_that_cannot_come_any_more_is_not_waited_for() {
        let (sender, mut queue) = mpsc::channel(QUEUE);
        drop(sender);
        let began = tokio::time::Instant::now();
        wait_for(12, &mut queue, &mut Vec::new()).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
