//! How long nobody could write: the longest time between two acknowledged writes. Keeps state.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

/// Cheap to clone; clones share.
#[derive(Clone)]
pub struct Gaps(Arc<Mutex<Since>>);

struct Since {
    last: Instant,
    longest: Duration,
}

impl Default for Gaps {
    fn default() -> Gaps {
        Gaps(Arc::new(Mutex::new(Since { last: Instant::now(), longest: Duration::ZERO })))
    }
}

impl Gaps {
    /// A write was acknowledged just now.
    pub fn written(&self) {
        let (mut since, now) = (self.lock(), Instant::now());
        since.longest = since.longest.max(now - since.last);
        since.last = now;
    }

    /// The longest since this was asked the last time.
    pub fn take(&self) -> Duration {
        let mut since = self.lock();
        let longest = since.longest.max(since.last.elapsed());
        since.longest = Duration::ZERO;
        longest
    }

    fn lock(&self) -> MutexGuard<'_, Since> {
        self.0.lock().expect("no holder of the gaps panics")
    }
}
