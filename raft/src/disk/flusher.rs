//! Group commit: one task syncs the disk once for all that wait, then answers them all. Acts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::storage::IOFlushed;
use proto::mutants::{self, Mutant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::room::Room;
use super::space::Level;
use crate::log::mark::Mark;
use crate::metrics::Metrics;
use crate::types::{LogId, Types};

/// Waits for a sync that begins after now.
struct Waiter {
    /// Where the log, or a state in its place, ends with what waits.
    upto: Option<LogId>,
    who: Who,
}

enum Who {
    Log(IOFlushed<Types>),
    Other(oneshot::Sender<io::Result<()>>),
}

/// openraft bounds the appends under way, so the queue stays short; unbounded because `append` may not block.
#[derive(Clone)]
pub struct Flusher {
    waiters: mpsc::UnboundedSender<Waiter>,
    mark: Arc<Mark>,
    level: watch::Receiver<Level>,
}

/// Who starts, or keeps house, waits no longer for a sync: he says so, and it is tried again.
pub const SYNC_DEADLINE: Duration = Duration::from_secs(30);
/// How many are taken from the queue for one sync.
const WAITERS_AT_ONCE: usize = 4096;
/// After a failed sync nothing may count as durable again: the kernel may have dropped the pages.
const BROKEN: &str = "an earlier sync of the disk failed";

impl Flusher {
    pub fn start(room: Arc<Room>, metrics: Arc<Metrics>) -> Flusher {
        let (waiters, mut queue) = mpsc::unbounded_channel::<Waiter>();
        let mark = Arc::new(Mark::open(room.clone(), &metrics));
        let (marking, level) = (mark.clone(), room.level());
        tokio::spawn(async move {
            let mut waiting = Vec::new();
            let mut broken = false;
            while queue.recv_many(&mut waiting, WAITERS_AT_ONCE).await > 0 {
                let started = Instant::now();
                metrics.syncing(Some(started));
                let synced = match broken {
                    true => Err(io::Error::other(BROKEN)),
                    false if mutants::on(Mutant::FailedSyncIgnored) => sync(&room).await.or(Ok(())),
                    false => sync(&room).await,
                };
                metrics.synced(started.elapsed());
                let upto = waiting.iter().filter_map(|waiter| waiter.upto).max();
                let synced = match (synced, upto) {
                    // Before anybody is told.
                    (Ok(()), Some(upto)) => marking.raise(upto).await,
                    (synced, _) => synced,
                };
                if let Err(error) = &synced {
                    broken = true;
                    metrics.disk_failed(error);
                }
                for waiter in waiting.drain(..) {
                    let result =
                        synced.as_ref().map(|_| ()).map_err(|error| io::Error::new(error.kind(), error.to_string()));
                    match waiter.who {
                        Who::Log(callback) => callback.io_completed(result),
                        Who::Other(answer) => drop(answer.send(result)),
                    }
                }
                if let Err(error) = marking.settle().await {
                    broken = true;
                    tracing::error!(%error, "how far the log is durable could not be kept");
                }
                metrics.syncing(None);
            }
        });
        Flusher { waiters, mark, level }
    }

    /// How far the log was durable at the start, and is now.
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Entries up to `last` were written; `done` hears when they are durable.
    pub fn appended(&self, last: Option<LogId>, done: IOFlushed<Types>) -> io::Result<()> {
        self.enqueue(Waiter { upto: last, who: Who::Log(done) })
    }

    /// The log, or a state in its place, was found to reach this far. Where the mark that said so went with a loss of power, it
    /// is raised again with a sync; nobody waits for that.
    pub fn vouch(&self, found: Option<LogId>) -> io::Result<()> {
        match self.mark.at() < found {
            true => self.enqueue(Waiter { upto: found, who: Who::Other(oneshot::channel().0) }),
            false => Ok(()),
        }
    }

    fn enqueue(&self, waiter: Waiter) -> io::Result<()> {
        self.waiters.send(waiter).map_err(|_| stopped())
    }

    fn wait(&self, upto: Option<LogId>) -> io::Result<oneshot::Receiver<io::Result<()>>> {
        let (answer, result) = oneshot::channel();
        self.enqueue(Waiter { upto, who: Who::Other(answer) })?;
        Ok(result)
    }

    /// Waits until everything written before the call is durable, however long the disk takes; where a state is among that which
    /// stands for the log, `upto` is where. For the raft node, which an error would end: as long as it waits it promises nothing, and
    /// goes on once the disk does.
    pub async fn durable_at_last(&self, upto: Option<LogId>) -> io::Result<()> {
        self.wait(upto)?.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// The same, for whoever can give up.
    pub async fn durable(&self, within: Duration) -> io::Result<()> {
        let (mut result, mut level, mut deadline) = (self.wait(None)?, self.level.clone(), Instant::now() + within);
        loop {
            // It waits for room, which may take any time; the disk has its own time after that.
            let waits = *level.borrow_and_update() == Level::Out;
            tokio::select! {
                result = &mut result => {
                    return result.unwrap_or_else(|_| Err(stopped()));
                }
                Ok(()) = level.changed() => if waits {
                    deadline = Instant::now() + within;
                },
                () = tokio::time::sleep_until(deadline), if !waits => {
                    let message = format!("the disk did not sync within {within:?}");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, message));
                }
            }
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the flusher has stopped")
}

/// Waits for room where an earlier write that found none bars the sync.
async fn sync(room: &Room) -> io::Result<()> {
    loop {
        match room.disk.sync().await {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => room.recover(error).await?,
            done => return done,
        }
    }
}
