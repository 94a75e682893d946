//! Linearizable reads by read index: one round to the leader for all that wait. Acts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft::ReadPolicy;
use proto::peer::ReadIndexRequest;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::accord::guard::Guard;
use crate::metrics::Metrics;
use crate::mutants::{self, Mutant};
use crate::peer::channels::{Channels, Lane};
use crate::propose::leader;
use crate::standing::Standing;
use crate::types::{LogId, Raft};

/// One round's deadline; it is tried again while somebody waits.
const ROUND: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);
/// Where so many waited for a round, the next one begins a little later and serves the more: a round costs every replica
/// something, and who waits in a crowd waits for a processor anyway.
const CROWD: usize = 16;
const BREATH: Duration = Duration::from_millis(1);
const QUEUE: usize = 8192;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("no leader confirmed the read within {0:?}")]
    NoLeader(Duration),
    /// This replica's state cannot be trusted, for the reason given.
    #[error("this replica serves no reads: {0}")]
    Fenced(String),
}

struct Waiter {
    index: oneshot::Sender<u64>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    waiters: mpsc::Sender<Waiter>,
    applied: watch::Receiver<Option<LogId>>,
    guard: Arc<Guard>,
    metrics: Arc<Metrics>,
    timeout: Duration,
    /// The local state holds every write that was acknowledged before then.
    confirmed: Arc<Mutex<Option<Instant>>>,
}

impl Reader {
    pub fn start(
        raft: Raft,
        id: u64,
        channels: Channels,
        (applied, standing): (watch::Receiver<Option<LogId>>, watch::Receiver<Standing>),
        guard: Arc<Guard>,
        metrics: Arc<Metrics>,
        timeout: Duration,
    ) -> Reader {
        let (waiters, queue) = mpsc::channel(QUEUE);
        tokio::spawn(rounds(Rounds { raft, id, channels, standing, metrics: metrics.clone() }, queue));
        Reader { waiters, applied, guard, metrics, timeout, confirmed: Arc::default() }
    }

    /// Waits until the local state holds every write that was acknowledged before the call.
    pub async fn barrier(&self) -> Result<(), ReadError> {
        self.trusted()?;
        Metrics::add(&self.metrics.barriers, 1);
        let late = |_| ReadError::NoLeader(self.timeout);
        let began = Instant::now();
        let deadline = began + self.timeout;
        let index = tokio::time::timeout_at(deadline, self.index()).await.map_err(late)?;
        let index = index.ok_or(ReadError::NoLeader(self.timeout))?;
        let mut applied = self.applied.clone();
        let reached = applied.wait_for(|at| at.is_some_and(|at| at.index >= index));
        match tokio::time::timeout_at(deadline, reached).await {
            Ok(Ok(_)) => {
                let mut confirmed = self.confirmed.lock().expect("no holder of a time panics");
                *confirmed = (*confirmed).max(Some(began));
                self.trusted()
            }
            Ok(Err(_)) | Err(_) => Err(ReadError::NoLeader(self.timeout)),
        }
    }

    /// [`Reader::barrier`], which one of the last `stale_max` stands for.
    pub async fn barrier_within(&self, stale_max: Duration) -> Result<(), ReadError> {
        let confirmed = *self.confirmed.lock().expect("no holder of a time panics");
        match confirmed.is_some_and(|at| at.elapsed() <= stale_max) {
            true => self.trusted(),
            false => self.barrier().await,
        }
    }

    fn trusted(&self) -> Result<(), ReadError> {
        self.guard.why().map_or(Ok(()), |why| Err(ReadError::Fenced(why)))
    }

    /// An index that a leader, confirmed by a majority after the call, had committed. Other replicas' rounds wait here
    /// together with the leader's own. `None`: the store stops.
    pub async fn index(&self) -> Option<u64> {
        let (answer, index) = oneshot::channel();
        self.waiters.send(Waiter { index: answer }).await.ok()?;
        index.await.ok()
    }
}

struct Rounds {
    raft: Raft,
    id: u64,
    channels: Channels,
    standing: watch::Receiver<Standing>,
    metrics: Arc<Metrics>,
}

/// Round after round, while somebody waits. Ends with the last [`Reader`].
async fn rounds(mut asking: Rounds, mut queue: mpsc::Receiver<Waiter>) {
    let mut waiting: Vec<Waiter> = Vec::new();
    while queue.recv_many(&mut waiting, QUEUE).await > 0 {
        while !waiting.is_empty() {
            // Whoever came until now is served by a round that begins now.
            while let Ok(waiter) = queue.try_recv() {
                waiting.push(waiter);
            }
            Metrics::add(&asking.metrics.barrier_rounds, 1);
            let crowd = waiting.len() >= CROWD;
            match asking.round().await {
                Some(index) => waiting.drain(..).for_each(|waiter| _ = waiter.index.send(index)),
                None => tokio::time::sleep(PAUSE).await,
            }
            waiting.retain(|waiter| !waiter.index.is_closed());
            if crowd {
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

impl Rounds {
    /// `None`: nobody answered in time, or the one who was asked leads no more.
    async fn round(&mut self) -> Option<u64> {
        let leader = self.standing.borrow_and_update().leader;
        let mut standing = self.standing.clone();
        let replaced = async {
            if standing.wait_for(|now| now.leader.is_some() && now.leader != leader).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            index = tokio::time::timeout(ROUND, self.index()) => index.ok().flatten(),
            () = replaced => None,
        }
    }

    /// The index that the leader, confirmed by a majority, had committed when asked.
    async fn index(&self) -> Option<u64> {
        match leader(&self.raft)? {
            (leader, _) if leader == self.id && mutants::on(Mutant::LeaderReadsLocally) => Some(0),
            (leader, _) if leader != self.id && mutants::on(Mutant::FollowerReadsLocally) => Some(0),
            (leader, _) if leader == self.id => {
                let (read, _) = self.raft.get_read_log_id(ReadPolicy::ReadIndex).await.ok()?;
                Some(read.index())
            }
            (leader, address) => {
                let mut client = self.channels.client(leader, &address, Lane::Control);
                Some(client.read_index(ReadIndexRequest {}).await.ok()?.into_inner().index)
            }
        }
    }
}
