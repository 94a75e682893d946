//! What tests ask of a store, and nobody else. Acts.

use std::sync::atomic::Ordering::Relaxed;

use super::Store;
use crate::upkeep;

impl Store {
    /// Drops the applied part of the log, as happens by itself when the log grows: a replica that lags behind it is
    /// then filled by a snapshot. Returns whether anything went.
    #[doc(hidden)]
    pub async fn compact_log(&self) -> bool {
        let purged = || self.inner.log.purged().map(|at| at.index);
        let before = purged();
        let applied = self.inner.published.applied().borrow().map_or(0, |at| at.index);
        upkeep::purge(&self.inner.raft, applied).await;
        purged() > before
    }

    /// Keeps at most about so many bytes of the log for followers that lag, and some times as many while somebody needs them.
    #[doc(hidden)]
    pub fn bound_log(&self, bytes: u64) {
        self.inner.log.bound(bytes);
    }

    /// Holds at most about so much of the log in memory: more is read from the disk for those who lag.
    #[doc(hidden)]
    pub fn cache_log(&self, bytes: usize) {
        self.inner.log.cache_at_most(bytes);
    }

    /// The key of what [`Store::poison`] brings about.
    #[doc(hidden)]
    pub const STRAY: &'static [u8] = crate::machine::published::STRAY;

    /// The next change is applied wrongly here, as by a fault in the memory: besides it, an object comes into being that nobody
    /// wrote.
    #[doc(hidden)]
    pub fn poison(&self) {
        self.inner.published.poison.store(true, Relaxed);
    }

    /// Stops without handing over and without syncing, much as a killed process would.
    #[doc(hidden)]
    pub async fn kill(&self) {
        self.inner.stop.cancel();
        self.stop().await;
    }
}
