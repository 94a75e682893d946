//! Linearizable reads by read index: one round to the leader for all that wait. Acts.

pub(crate) mod leads;
pub(crate) mod rounds;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::mutants::{self, Mutant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use self::rounds::{QUEUE, Rounds, Waiter};
use crate::accord::guard::Guard;
use crate::metrics::Metrics;
use crate::types::LogId;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("no leader confirmed the read within {0:?}")]
    NoLeader(Duration),
    /// This replica's state cannot be trusted, for the reason given.
    #[error("this replica serves no reads: {0}")]
    Fenced(String),
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
    pub(crate) fn start(
        rounds: Rounds,
        applied: watch::Receiver<Option<LogId>>,
        guard: Arc<Guard>,
        timeout: Duration,
    ) -> Reader {
        let (waiters, queue) = mpsc::channel(QUEUE);
        let metrics = rounds.metrics.clone();
        tokio::spawn(rounds::run(rounds, queue));
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
        match confirmed.is_some_and(|at| at.elapsed() <= stale_max || mutants::on(Mutant::StaleForEver)) {
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
