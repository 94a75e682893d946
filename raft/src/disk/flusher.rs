//! Group commit: one task syncs the disk once for all that wait, then answers them all. Acts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::room::Room;
use crate::metrics::Metrics;
use crate::mutants::{self, Mutant};
use crate::types::Types;

/// Who waits for a sync that begins after now.
pub enum Waiter {
    Log(IOFlushed<Types>),
    Vote(oneshot::Sender<io::Result<()>>),
}

/// openraft bounds the appends under way, so the queue stays short; unbounded because `append` may not block.
#[derive(Clone)]
pub struct Flusher {
    waiters: mpsc::UnboundedSender<Waiter>,
}

/// How many are taken from the queue for one sync.
const WAITERS_AT_ONCE: usize = 4096;
/// After a failed sync nothing may count as durable again: the kernel may have dropped the pages.
const BROKEN: &str = "an earlier sync of the disk failed";

impl Flusher {
    pub fn start(room: Arc<Room>, metrics: Arc<Metrics>) -> Flusher {
        let (waiters, mut queue) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut waiting = Vec::new();
            let mut broken = false;
            while queue.recv_many(&mut waiting, WAITERS_AT_ONCE).await > 0 {
                let started = Instant::now();
                let synced = match broken {
                    true => Err(io::Error::other(BROKEN)),
                    false if mutants::on(Mutant::FailedSyncIgnored) => sync(&room).await.or(Ok(())),
                    false => sync(&room).await,
                };
                metrics.synced(started.elapsed());
                if let Err(error) = &synced {
                    broken = true;
                    metrics.disk_failed(error);
                }
                for waiter in waiting.drain(..) {
                    let result =
                        synced.as_ref().map(|_| ()).map_err(|error| io::Error::new(error.kind(), error.to_string()));
                    match waiter {
                        Waiter::Log(callback) => callback.io_completed(result),
                        Waiter::Vote(answer) => drop(answer.send(result)),
                    }
                }
            }
        });
        Flusher { waiters }
    }

    pub fn enqueue(&self, waiter: Waiter) -> io::Result<()> {
        self.waiters.send(waiter).map_err(|_| io::Error::other("the flusher has stopped"))
    }

    /// Waits until everything written before the call is durable.
    pub async fn durable(&self, within: Duration) -> io::Result<()> {
        let (answer, result) = oneshot::channel();
        self.enqueue(Waiter::Vote(answer))?;
        match tokio::time::timeout(within, result).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(io::Error::other("the flusher has stopped")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("the disk did not sync within {within:?}"))),
        }
    }
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
