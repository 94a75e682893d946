//! A watch: every change after a revision, in order, once each, or the word that they are gone. Acts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::mutants::{self, Mutant};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::accord::guard::{Fence, Guard};
use crate::command::{Change, Revision};
use crate::machine::history::{self, Stretch};
use crate::machine::published::Published;
use crate::metrics::Metrics;
use crate::store::{Gone, HistoryError, Untold};

/// A watcher that nothing concerns hears this often how far it is, while other keys change.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// What a watcher keeps with [`Mutant::SlowWatcherLosesEvents`].
const SLOW: usize = 16;

#[derive(Debug)]
pub enum News {
    /// In order; a command's changes arrive together. About 256 KiB at most, or one command.
    Changes(Vec<Arc<Change>>),
    /// Nothing for this watcher up to this revision. Sent now and then, for bookmarks.
    Progress(Revision),
}

pub struct Watcher {
    published: Arc<Published>,
    prefix: Bytes,
    revision: watch::Receiver<Revision>,
    /// Everything up to here was handed out or is of no concern.
    position: Revision,
    /// Up to here the caller knows it, and since when.
    told: Revision,
    told_at: Instant,
    /// A read of the disk, which goes on where [`Watcher::next`] is cancelled. In a task of its own: it waits for its turn
    /// among other reads, and a turn must not come to somebody who is not looking.
    reading: Option<AbortOnDropHandle<Result<Stretch, HistoryError>>>,
    fence: watch::Receiver<Fence>,
}

impl Watcher {
    pub(crate) fn new(
        published: Arc<Published>,
        guard: &Guard,
        prefix: Bytes,
        after: Revision,
    ) -> Result<Watcher, Gone> {
        let fence = guard.subscribe();
        let oldest = published.history.floor();
        if after < oldest {
            return Err(Gone { asked: after, oldest });
        }
        Metrics::add(&published.metrics.watchers, 1);
        let revision = published.revision();
        let after = after + u64::from(after > 0 && mutants::on(Mutant::WatchResumesLate));
        let (told_at, reading) = (Instant::now(), None);
        Ok(Watcher { published, prefix, revision, position: after, told: after, told_at, reading, fence })
    }

    /// Cancel safe. `Err` ends the watch: the caller fell behind the history window, or this replica's
    /// state cannot be trusted any more; or its history cannot be told at present.
    pub async fn next(&mut self) -> Result<News, HistoryError> {
        let mut fence = self.fence.clone();
        tokio::select! {
            biased;
            // Not simply the end: what it told of late may be wrong, and whoever believed that is to begin anew.
            _ = fence.wait_for(|fence| fence.why().is_some()) => {
                Err(Gone { asked: self.position, oldest: self.published.history.floor() }.into())
            }
            news = self.news() => news,
        }
    }

    async fn news(&mut self) -> Result<News, HistoryError> {
        loop {
            if let Some(changes) = self.collect().await? {
                return Ok(News::Changes(changes));
            }
            let due = self.told_at + PROGRESS_INTERVAL;
            if self.position > self.told {
                if Instant::now() >= due {
                    self.tell();
                    return Ok(News::Progress(self.position + u64::from(mutants::on(Mutant::ProgressAhead))));
                }
                // Errs when the store is gone: then only the progress is left to wait for.
                let _ = tokio::time::timeout_at(due, changed(&mut self.revision)).await;
            } else {
                changed(&mut self.revision).await;
            }
        }
    }

    /// Moves on to the newest revision, or to the first changes that concern this watcher.
    async fn collect(&mut self) -> Result<Option<Vec<Arc<Change>>>, HistoryError> {
        loop {
            let newest = *self.revision.borrow_and_update();
            if newest <= self.position {
                return Ok(None);
            }
            let (mut changes, reached) = self.since(newest).await?;
            self.position = reached;
            if mutants::on(Mutant::SlowWatcherLosesEvents) {
                changes.drain(..changes.len().saturating_sub(SLOW));
            }
            if !changes.is_empty() {
                self.tell();
                return Ok(Some(changes));
            }
            if reached < newest {
                // A long way through foreign changes: let others run in between.
                tokio::task::yield_now().await;
            }
        }
    }

    /// What comes next, up to `newest` at most.
    async fn since(&mut self, newest: Revision) -> Result<Stretch, HistoryError> {
        let after = self.position;
        let reading = match &mut self.reading {
            Some(reading) => reading,
            None => {
                if let Some(found) = self.published.history.recent(after, newest, &self.prefix)? {
                    return Ok(found);
                }
                let (published, prefix) = (self.published.clone(), self.prefix.clone());
                let read = async move { history::since(&published, after, newest, &prefix).await };
                self.reading.insert(AbortOnDropHandle::new(tokio::spawn(read)))
            }
        };
        let read = reading.await;
        self.reading = None;
        read.unwrap_or_else(|error| Err(Untold(error.to_string()).into()))
    }

    fn tell(&mut self) {
        (self.told, self.told_at) = (self.position, Instant::now());
    }
}

/// Never returns once the store is gone: the watch then simply has no more news.
async fn changed(revision: &mut watch::Receiver<Revision>) {
    if revision.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.published.metrics.watchers.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}
