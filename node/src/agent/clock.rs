//! The agent's two times: the wall clock's, for what it tells, and one that makes no steps, for what it waits for. And
//! when its loop wakes by itself. Decides nothing else.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proto::seam::Clock;
use tokio::time::Instant;

use super::entry::Entry;
use super::run::Agent;

pub struct Times {
    wall: Arc<dyn Clock>,
    began: Instant,
    /// By the wall clock.
    began_at: Timestamp,
}

impl Times {
    pub fn new(wall: Arc<dyn Clock>) -> Times {
        Times { began: Instant::now(), began_at: read(&*wall), wall }
    }

    pub fn wall(&self) -> Timestamp {
        read(&*self.wall)
    }

    /// The wall clock's time at the agent's start, and what has passed since.
    pub fn steady(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.began.elapsed()).unwrap_or_default();
        self.began_at.checked_add(passed).unwrap_or(self.began_at)
    }
}

fn read(clock: &dyn Clock) -> Timestamp {
    Timestamp::from_millisecond(clock.now_ms() as i64).unwrap_or_default()
}

impl Agent {
    /// Makes no steps: for waits.
    pub(super) fn now(&self) -> Timestamp {
        self.times.steady()
    }

    pub(super) fn next_recheck(&self) -> Option<Duration> {
        let due = |entry: &Entry| entry.recheck_at.into_iter().chain(entry.doubt_at).min();
        let earliest = self.entries.values().filter_map(due).min()?;
        let wait = earliest.duration_since(self.now());
        // A little late rather than a moment too early, which would spin.
        Some(Duration::try_from(wait).unwrap_or_default() + Duration::from_millis(2))
    }

    pub(super) fn wake_due(&mut self) {
        let now = self.now();
        for (uid, entry) in &mut self.entries {
            if entry.recheck_at.is_some_and(|at| at <= now) {
                entry.recheck_at = None;
                self.dirty.insert(uid.clone());
            }
            if entry.doubt(now) {
                self.dirty.insert(uid.clone());
            }
        }
    }
}
