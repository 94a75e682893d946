//! How far the objects on the disk have come, and how far back the history relies on the log: in between the log is
//! needed on the disk. Decides nothing.

use std::sync::Mutex;

use proto::mutants::{self, Mutant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::command::Revision;
use crate::types::LogId;

/// The objects are written now and then, each key once however often it changed since. What came later is made again from
/// the log, which must not be dropped before. The history's rows leave the values where they are in the log.
#[derive(Default)]
pub struct Reach {
    at: Mutex<Reached>,
    moved: Notify,
    /// Cancelled once nothing is applied any more.
    pub ended: CancellationToken,
}

#[derive(Clone, Copy, Default)]
pub struct Reached {
    pub applied: Option<LogId>,
    pub revision: Revision,
    /// Nothing was applied since.
    pub whole: bool,
    /// No row of the history relies on an entry up to this one.
    unrelied: Option<LogId>,
}

impl Reached {
    /// The last entry that neither a restart nor the history needs.
    pub fn needless(&self) -> Option<LogId> {
        self.applied.min(self.unrelied)
    }
}

impl Reach {
    pub fn now(&self) -> Reached {
        *self.at.lock().expect("no holder of the reach panics")
    }

    pub fn set(&self, applied: Option<LogId>, revision: Revision) {
        let mut at = self.at.lock().expect("no holder of the reach panics");
        *at = Reached { applied, revision, whole: true, ..*at };
        drop(at);
        self.moved.notify_waiters();
    }

    /// Waits until the objects on the disk have come so far, however long that takes; `false`: they never will.
    pub async fn covers(&self, index: u64) -> bool {
        let covered = || self.now().applied.is_some_and(|at| at.index >= index);
        loop {
            let moved = self.moved.notified();
            if covered() {
                return true;
            }
            tokio::select! {
                () = moved => {}
                () = self.ended.cancelled() => return covered(),
            }
        }
    }

    /// Something was applied that the objects on the disk lack.
    pub fn falls_behind(&self) {
        self.at.lock().expect("no holder of the reach panics").whole = false;
    }

    /// It never goes back: whoever says so may have looked before a snapshot replaced all that was relied on.
    pub fn relies_beyond(&self, entry: Option<LogId>) {
        let mut at = self.at.lock().expect("no holder of the reach panics");
        at.unrelied = if mutants::on(Mutant::ReliedGoesBack) { entry } else { at.unrelied.max(entry) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::log_id;

    #[test]
    fn what_was_looked_at_before_a_snapshot_came_does_not_go_back_behind_it() {
        let reach = Reach::default();
        reach.set(Some(log_id(1, 421)), 421);
        let before = reach.now().applied;
        reach.relies_beyond(Some(log_id(1, 466)));
        reach.relies_beyond(before);
        reach.set(Some(log_id(1, 466)), 466);
        assert_eq!(reach.now().needless(), Some(log_id(1, 466)));
    }
}
