//! When the leader was last heard, and what follows from it; and who has called at all. Decides; touches nothing.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

/// Written where a leader's message comes in, before it is known what becomes of it: a raft node that waits for its
/// disk hears all the same.
pub struct Ear {
    last: Mutex<Option<Heard>>,
    callers: Mutex<BTreeSet<u64>>,
    /// How long a leader may be silent before it is taken for lost.
    silence: Duration,
    heartbeat: Duration,
}

#[derive(Clone, Copy)]
struct Heard {
    term: u64,
    leader: u64,
    at: Instant,
}

impl Ear {
    pub fn new(silence: Duration, heartbeat: Duration) -> Ear {
        Ear { last: Mutex::default(), callers: Mutex::default(), silence, heartbeat }
    }

    fn last(&self) -> MutexGuard<'_, Option<Heard>> {
        self.last.lock().expect("no holder of what was heard panics")
    }

    /// Another replica of this cluster has said or asked something, whatever it was.
    pub fn called(&self, by: u64) {
        self.callers.lock().expect("no holder of the callers panics").insert(by);
    }

    /// Those that have called since this replica was started.
    pub fn callers(&self) -> BTreeSet<u64> {
        self.callers.lock().expect("no holder of the callers panics").clone()
    }

    /// `leader` spoke as the leader of `term`.
    pub fn heard(&self, term: u64, leader: u64) {
        let mut last = self.last();
        if last.is_none_or(|heard| heard.term <= term) {
            *last = Some(Heard { term, leader, at: Instant::now() });
        }
    }

    /// Who leads as far as the messages tell, also while the raft node here is held up by its disk.
    pub fn leader_heard(&self, after_term: u64) -> Option<u64> {
        self.last().filter(|heard| heard.term > after_term).map(|heard| heard.leader)
    }

    /// When the leader of this term will have been silent for too long; `None`: it was never heard.
    pub fn patience_ends(&self, term: u64) -> Option<Instant> {
        self.last().filter(|heard| heard.term == term).map(|heard| heard.at + self.silence)
    }

    /// Is the leader of this term lost, as far as this replica can tell? A replica that is asked for its vote agrees a
    /// little sooner than it would ask itself, since no two hear the same heartbeat at the same time.
    pub fn is_lost(&self, term: u64, now: Instant) -> bool {
        self.patience_ends(term).is_some_and(|at| now + self.heartbeat / 2 >= at)
    }

    /// Two heartbeats of the leader are missing: what is sent to it now may never be answered.
    pub fn is_late(&self, term: u64, now: Instant) -> bool {
        let heard = self.last().filter(|heard| heard.term == term);
        heard.is_some_and(|heard| now > heard.at + self.heartbeat * 5 / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_millis(600);
    const HEARTBEAT: Duration = Duration::from_millis(200);

    #[tokio::test(start_paused = true)]
    async fn a_leader_is_first_late_and_then_lost() {
        let ear = Ear::new(SILENCE, HEARTBEAT);
        let start = Instant::now();
        assert_eq!(ear.patience_ends(3), None);
        assert!(!ear.is_lost(3, start) && !ear.is_late(3, start), "who was never heard is not missed");
        ear.heard(3, 1);
        let after = |ms| start + Duration::from_millis(ms);
        for (ms, late, lost) in [(0, false, false), (500, false, true), (501, true, true)] {
            assert_eq!((ear.is_late(3, after(ms)), ear.is_lost(3, after(ms))), (late, lost), "after {ms} ms");
        }
        assert!(!ear.is_lost(3, after(499)));
        assert_eq!(ear.patience_ends(3), Some(after(600)));
        tokio::time::advance(Duration::from_millis(400)).await;
        ear.heard(3, 1);
        assert_eq!(ear.patience_ends(3), Some(after(1000)));
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_newest_term_counts() {
        let ear = Ear::new(SILENCE, HEARTBEAT);
        ear.heard(3, 1);
        ear.heard(5, 2);
        ear.heard(4, 1);
        assert_eq!((ear.patience_ends(3), ear.patience_ends(4)), (None, None), "a deposed leader's word is none");
        assert!(ear.patience_ends(5).is_some());
        assert_eq!((ear.leader_heard(4), ear.leader_heard(5)), (Some(2), None));
    }

    #[test]
    fn who_called_is_known_once() {
        let ear = Ear::new(SILENCE, HEARTBEAT);
        assert!(ear.callers().is_empty());
        [3, 2, 3].into_iter().for_each(|replica| ear.called(replica));
        assert_eq!(ear.callers(), BTreeSet::from([2, 3]));
    }
}
