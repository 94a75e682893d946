//! Whose turn it is: each piece of work once, in order, not while it is under way, and later after a failure.
//! Pure, decides.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

pub const BACKOFF_MIN: Duration = Duration::from_millis(5);
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Work that still wants to write after so many writes in a row is slowed down: it may be going in circles.
const STREAK_FAST: u32 = 64;
const STREAK_PAUSE: Duration = Duration::from_millis(100);

/// Each piece of work is in one of the stages below, or is not in the queue at all.
#[derive(Debug)]
pub struct Queue<W> {
    items: BTreeMap<W, Item>,
    ready: VecDeque<W>,
    timers: BTreeSet<(Instant, W)>,
    settling: BTreeSet<(u64, W)>,
    flying: usize,
    /// The newest revision that [`Queue::taken_in`] told of.
    revision: u64,
}

#[derive(Debug)]
struct Item {
    stage: Stage,
    /// Since the last success.
    failures: u32,
    /// Writes in a row.
    streak: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Ready,
    /// Handed out. Asked for again meanwhile?
    Flying {
        again: bool,
    },
    /// Its own write has to come back before it is planned again.
    Settling {
        revision: u64,
    },
    /// Until a time: a recheck, which any change cuts short, or a penalty, which nothing does.
    Asleep {
        until: Instant,
        penalty: bool,
    },
}

impl<W: Ord + Clone> Default for Queue<W> {
    fn default() -> Self {
        Queue {
            items: BTreeMap::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            settling: BTreeSet::new(),
            flying: 0,
            revision: 0,
        }
    }
}

impl<W: Ord + Clone> Queue<W> {
    /// Something changed that concerns this work.
    pub fn add(&mut self, work: W) {
        match self.items.get_mut(&work).map(|item| &mut item.stage) {
            None => {
                self.items.insert(work.clone(), Item { stage: Stage::Ready, failures: 0, streak: 0 });
                self.ready.push_back(work);
            }
            Some(Stage::Flying { again }) => *again = true,
            Some(Stage::Asleep { until, penalty: false }) => {
                let until = *until;
                self.timers.remove(&(until, work.clone()));
                self.make_ready(work);
            }
            Some(Stage::Ready | Stage::Settling { .. } | Stage::Asleep { penalty: true, .. }) => {}
        }
    }

    /// The next piece of work; it is not handed out again until its end is told.
    pub fn pop(&mut self) -> Option<W> {
        let work = self.ready.pop_front()?;
        if let Some(item) = self.items.get_mut(&work) {
            item.stage = Stage::Flying { again: false };
            self.flying += 1;
        }
        Some(work)
    }

    /// How many pieces are handed out.
    pub fn flying(&self) -> usize {
        self.flying
    }

    /// There was nothing to write.
    pub fn converged(&mut self, work: W, recheck_at: Option<Instant>) {
        let again = self.land(&work);
        match recheck_at {
            _ if again => self.make_ready(work.clone()),
            Some(until) => self.sleep(work.clone(), until, false),
            None => {
                self.items.remove(&work);
            }
        }
        if let Some(item) = self.items.get_mut(&work) {
            (item.failures, item.streak) = (0, 0);
        }
    }

    /// It was written at `revision`: once that is taken in, it is this work's turn again.
    pub fn wrote(&mut self, work: W, revision: u64, now: Instant) {
        self.land(&work);
        let Some(item) = self.items.get_mut(&work) else { return };
        item.failures = 0;
        item.streak += 1;
        if item.streak > STREAK_FAST {
            self.sleep(work, now + STREAK_PAUSE, true);
        } else if revision <= self.revision {
            self.make_ready(work);
        } else {
            item.stage = Stage::Settling { revision };
            self.settling.insert((revision, work));
        }
    }

    /// It could not be written; the time until the next try doubles.
    pub fn failed(&mut self, work: W, now: Instant) {
        self.land(&work);
        let Some(item) = self.items.get_mut(&work) else { return };
        let pause = BACKOFF_MIN.saturating_mul(1 << item.failures.min(20)).min(BACKOFF_MAX);
        item.failures += 1;
        self.sleep(work, now + pause, true);
    }

    /// Everything up to `revision` is in the view.
    pub fn taken_in(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
        while self.settling.first().is_some_and(|(wanted, _)| *wanted <= self.revision) {
            if let Some((_, work)) = self.settling.pop_first() {
                self.make_ready(work);
            }
        }
    }

    /// The newest revision that is in the view.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Wakes what has slept long enough.
    pub fn wake(&mut self, now: Instant) {
        while self.timers.first().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, work)) = self.timers.pop_first() {
                self.make_ready(work);
            }
        }
    }

    /// When [`Queue::wake`] has something to do.
    pub fn next_wake(&self) -> Option<Instant> {
        self.timers.first().map(|(until, _)| *until)
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Answers whether it was asked for again while under way.
    fn land(&mut self, work: &W) -> bool {
        match self.items.get(work).map(|item| item.stage) {
            Some(Stage::Flying { again }) => {
                self.flying -= 1;
                again
            }
            _ => false,
        }
    }

    fn make_ready(&mut self, work: W) {
        if let Some(item) = self.items.get_mut(&work) {
            item.stage = Stage::Ready;
            self.ready.push_back(work);
        }
    }

    fn sleep(&mut self, work: W, until: Instant, penalty: bool) {
        if let Some(item) = self.items.get_mut(&work) {
            item.stage = Stage::Asleep { until, penalty };
            self.timers.insert((until, work));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut Queue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn each_piece_of_work_is_there_once_and_in_order() {
        let mut queue = Queue::default();
        for work in ["b", "a", "b", "a", "c"] {
            queue.add(work);
        }
        assert_eq!(drain(&mut queue), ["b", "a", "c"]);
        assert_eq!(queue.flying(), 3);
    }

    #[test]
    fn work_under_way_is_not_handed_out_and_not_forgotten() {
        let mut queue = Queue::default();
        queue.add("a");
        assert_eq!(queue.pop(), Some("a"));
        queue.add("a");
        assert_eq!(queue.pop(), None);
        queue.converged("a", None);
        assert_eq!(queue.pop(), Some("a"));
        queue.converged("a", None);
        assert_eq!((queue.pop(), queue.flying()), (None, 0));
    }

    #[test]
    fn work_waits_for_its_own_write() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.add("a");
        queue.pop();
        queue.wrote("a", 7, now);
        queue.add("a");
        queue.taken_in(6);
        assert_eq!(queue.pop(), None);
        queue.taken_in(7);
        assert_eq!(queue.pop(), Some("a"));
        queue.wrote("a", 5, now);
        assert_eq!(queue.pop(), Some("a"), "the write was seen before its answer");
    }

    #[test]
    fn failures_back_off_and_success_forgives() {
        let mut queue = Queue::default();
        let start = Instant::now();
        let mut now = start;
        let mut pauses = Vec::new();
        queue.add("a");
        for _ in 0..16 {
            queue.wake(now);
            assert_eq!(queue.pop(), Some("a"));
            queue.failed("a", now);
            queue.add("a");
            assert_eq!(queue.pop(), None, "a change does not cut a penalty short");
            let next = queue.next_wake().expect("a time to wake");
            pauses.push(next - now);
            now = next;
        }
        assert_eq!(pauses[..4], [5, 10, 20, 40].map(Duration::from_millis));
        assert_eq!(pauses.last(), Some(&BACKOFF_MAX));
        queue.wake(now);
        queue.pop();
        queue.wrote("a", 1, now);
        queue.taken_in(1);
        queue.pop();
        queue.failed("a", now);
        assert_eq!(queue.next_wake(), Some(now + BACKOFF_MIN));
    }

    #[test]
    fn a_recheck_comes_at_its_time_or_is_overtaken() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let later = now + Duration::from_secs(9);
        queue.add("a");
        queue.pop();
        queue.converged("a", Some(later));
        queue.wake(now);
        assert_eq!((queue.pop(), queue.next_wake()), (None, Some(later)));
        queue.add("a");
        assert_eq!((queue.pop(), queue.next_wake()), (Some("a"), None));
        queue.converged("a", Some(later));
        queue.wake(later);
        assert_eq!(queue.pop(), Some("a"));
    }

    #[test]
    fn going_in_circles_is_slowed_down() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.add("a");
        for revision in 1..=u64::from(STREAK_FAST) {
            assert_eq!(queue.pop(), Some("a"));
            queue.wrote("a", revision, now);
            queue.taken_in(revision);
        }
        queue.pop();
        queue.wrote("a", 100, now);
        queue.taken_in(100);
        assert_eq!((queue.pop(), queue.next_wake()), (None, Some(now + STREAK_PAUSE)));
    }
}
