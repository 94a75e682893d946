//! Replicas that answer later than others while much is written: they are compared all the same, and what was is told from what is.

use futures::FutureExt as _;
use tempfile::TempDir;
use tokio::time::advance;

use super::tests::{APPLIED, FIRST, accord};
use super::*;

/// Between two heartbeats. No index that is asked for is the same then, and those of the last one are still known.
const BEAT: Duration = Duration::from_millis(200);
const WRITES: u64 = 100;

/// The first replica leads.
struct Cluster {
    _dirs: Vec<TempDir>,
    accords: BTreeMap<u64, Arc<Accord>>,
    /// Where each goes on.
    next: BTreeMap<u64, u64>,
    voters: BTreeSet<u64>,
}

impl Cluster {
    /// The last ones are learners.
    fn of(voters: u64, replicas: u64) -> Cluster {
        let dirs: Vec<TempDir> = (0..replicas).map(|_| tempfile::tempdir().unwrap()).collect();
        let accords = (1..=replicas).zip(&dirs).map(|(id, dir)| (id, accord(dir.path(), id))).collect();
        let next = (1..=replicas).map(|id| (id, FIRST + APPLIED)).collect();
        Cluster { _dirs: dirs, accords, next, voters: (1..=voters).collect() }
    }

    fn leader(&self) -> &Accord {
        &self.accords[&1]
    }

    fn step(&self) {
        self.leader().step(&self.voters, &self.accords.keys().copied().collect());
    }

    /// `difference`: to a state that is right.
    fn apply(&mut self, replica: u64, difference: u64) {
        let next = self.next.get_mut(&replica).unwrap();
        let digests: Vec<(u64, u64)> = (*next..*next + WRITES).map(|index| (index, !index ^ difference)).collect();
        *next += WRITES;
        self.accords[&replica].published.record(&digests);
    }

    fn answer(&self, replica: u64, ask: &peer::Ask, difference: u64) {
        let mut report = self.accords[&replica].report(ask);
        report.digests.iter_mut().for_each(|at| at.digest ^= difference);
        self.leader().answered(replica, &report);
    }

    /// It is there, and knows of nothing that it was asked.
    fn is_there(&self, replica: u64) {
        self.leader().answered(replica, &peer::Report::default());
    }

    /// Has the leader something to look at?
    fn is_woken(&self) -> bool {
        self.leader().news.notified().now_or_never().is_some()
    }

    fn doubts(&self) -> (bool, bool) {
        (self.leader().guard.why().is_some(), !self.leader().ask(2).doubt.is_empty())
    }
}

#[tokio::test(start_paused = true)]
async fn a_learner_that_is_later_than_every_voter_is_compared() {
    for (difference, expected) in [(0, (false, true)), (1, (true, false))] {
        let mut cluster = Cluster::of(3, 4);
        cluster.step();
        for _ in 0..4 {
            let asks = [2, 3, 4].map(|id| cluster.leader().ask(id));
            (1..=3).for_each(|id| cluster.apply(id, 0));
            cluster.apply(4, difference);
            cluster.answer(2, &asks[0], 0);
            cluster.answer(3, &asks[1], 0);
            assert!(cluster.is_woken(), "all voters have answered");
            cluster.step();
            cluster.answer(4, &asks[2], 0);
        }
        assert!(cluster.is_woken(), "who was late has answered");
        cluster.step();
        let ask = cluster.leader().ask(4);
        assert_eq!((!ask.odd.is_empty(), ask.clear), expected, "{ask:?}");
    }
}

/// How many heartbeats: longer than a question lasts.
const LAG: u64 = 10;

/// What the last of three voters, which lags, is told after so many heartbeats. `skips`: it does not know what it is first asked
/// when it comes there, as if a snapshot had brought it on.
async fn lagging(beats: u64, skips: bool) -> peer::Ask {
    let mut cluster = Cluster::of(3, 3);
    for beat in 0..beats {
        cluster.step();
        let asks = [2, 3].map(|id| cluster.leader().ask(id));
        (1..=2).for_each(|id| cluster.apply(id, 0));
        match beat {
            0..LAG => {}
            LAG if skips => *cluster.next.get_mut(&3).unwrap() += WRITES,
            _ => cluster.apply(3, 1),
        }
        cluster.answer(2, &asks[0], 0);
        cluster.answer(3, &asks[1], 0);
        advance(BEAT).await;
    }
    cluster.step();
    cluster.leader().ask(3)
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lags_is_compared_when_it_comes_to_what_it_was_asked() {
    let ask = lagging(LAG, false).await;
    assert!(ask.odd.is_empty(), "it has not come there: {ask:?}");
    let ask = lagging(LAG + 2, false).await;
    assert!(!ask.odd.is_empty(), "{ask:?}");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_can_never_answer_is_asked_anew() {
    let beats = OVERDUE_MAX.div_duration_f64(BEAT) as u64;
    let ask = lagging(beats, true).await;
    assert!(ask.odd.is_empty(), "{ask:?}");
    let ask = lagging(beats + 2 * LAG, true).await;
    assert!(!ask.odd.is_empty(), "{ask:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_state_was_before_a_doubt_does_not_end_it() {
    let mut cluster = Cluster::of(3, 3);
    cluster.step();
    let first = cluster.leader().ask(3);
    cluster.answer(2, &first, 0);
    cluster.is_there(3);
    for _ in 0..2 {
        cluster.apply(1, 0);
        cluster.apply(2, 1);
        advance(QUESTION_AGE_MAX).await;
        cluster.step();
        cluster.answer(2, &cluster.leader().ask(2), 0);
    }
    advance(QUESTION_AGE_MAX).await;
    cluster.step();
    assert_eq!(cluster.doubts(), (true, true), "two states, and the third is not known");
    cluster.apply(1, 0);
    advance(QUESTION_AGE_MAX).await;
    cluster.step();
    cluster.answer(3, &first, 0);
    cluster.step();
    assert_eq!(cluster.doubts(), (true, true), "that was before");

    (0..3).for_each(|_| cluster.apply(3, 0));
    cluster.answer(3, &cluster.leader().ask(3), 0);
    advance(QUESTION_AGE_MAX).await;
    cluster.step();
    assert!(!cluster.doubts().0, "two of three are a majority");
}

#[tokio::test(start_paused = true)]
async fn a_difference_of_which_nobody_knows_who_is_right_begins_no_doubt_once_a_majority_agrees_on_what_came_later() {
    let mut cluster = Cluster::of(5, 5);
    cluster.step();
    let first = cluster.leader().ask(4);
    cluster.answer(2, &first, 0);
    (3..=5).for_each(|id| cluster.is_there(id));
    for _ in 0..2 {
        (1..=5).for_each(|id| cluster.apply(id, 0));
        advance(QUESTION_AGE_MAX).await;
        cluster.step();
        // The third as one to whom the first question is still under way.
        let ask = cluster.leader().ask(2);
        [2, 3].into_iter().for_each(|id| cluster.answer(id, &ask, 0));
    }
    assert!(cluster.leader().inner().overdue.as_ref().is_some_and(|overdue| !overdue.has_heard(4)), "it is waited for");
    cluster.answer(4, &first, 1);
    cluster.step();
    assert_eq!(cluster.doubts(), (false, false));
}
