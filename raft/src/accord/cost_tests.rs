//! What the comparison of the states costs on the wire: one question and one answer for each replica and round, of a few bytes, on
//! heartbeats that go in any case. What it costs to have the digests is held in `state.rs`.

use std::path::Path;

use prost::Message as _;

use super::*;
use crate::disk::flusher::Flusher;
use crate::disk::rocks::Rocks;
use crate::disk::room::Room;
use crate::machine::Machine;
use crate::store::HistoryWindow;

/// Of a heartbeat and its answer together: where all agree, of somebody who is late, and where one is told that they do not agree.
const BYTES_MAX: usize = 80;
const BYTES_MAX_LATE: usize = 140;
const BYTES_MAX_ODD: usize = 200;
/// The longest numbers of entries that there are.
pub const FIRST: u64 = u64::MAX - 100_000;
pub const APPLIED: u64 = 50_000;

/// Of a replica that has applied so many entries.
pub fn accord(dir: &Path, id: u64) -> Arc<Accord> {
    let metrics = Arc::new(Metrics::default());
    let room = Room::new(Arc::new(Rocks::open(dir).unwrap()), metrics.clone(), CancellationToken::new());
    let flusher = Flusher::start(room.clone(), metrics.clone());
    let (window, reach) = (HistoryWindow::default(), Arc::default());
    let machine = Machine::open(room.clone(), flusher, metrics.clone(), window, reach).unwrap();
    let guard = Guard::open(room.clone(), metrics.clone()).unwrap();
    let accord = Accord::new(id, machine.published(), guard, (room.level(), Arc::default()), metrics);
    (FIRST..FIRST + APPLIED).for_each(|index| applies(&accord, index));
    accord
}

fn applies(accord: &Accord, index: u64) {
    accord.published.record(&[(index, !index)]);
}

fn comparisons(accord: &Accord) -> u64 {
    accord.metrics.comparisons.load(Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_round_is_one_short_question_and_one_short_answer_of_each() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [leader, follower] = [accord(dirs[0].path(), 1), accord(dirs[1].path(), 2)];
    let voters: BTreeSet<u64> = (1..=5).collect();
    for round in 0..3 {
        leader.step(&voters, &voters);
        let ask = leader.ask(2);
        let report = follower.report(&ask);
        assert_eq!((ask.indexes.len(), report.digests.len()), (2, 2), "{ask:?} {report:?}");
        let bytes = ask.encoded_len() + report.encoded_len();
        assert!(bytes <= BYTES_MAX, "{bytes} bytes: {ask:?} {report:?}");

        // However much is applied, and however often somebody looks meanwhile.
        for index in (FIRST + APPLIED + 1_000 * round..).take(1_000) {
            [&leader, &follower].into_iter().for_each(|accord| applies(accord, index));
            leader.step(&voters, &voters);
        }
        assert_eq!((leader.ask(2), comparisons(&leader)), (ask, round), "the question stands until all have answered");
        for replica in 2..=5 {
            leader.answered(replica, &report);
        }
        leader.step(&voters, &voters);
        assert_eq!(comparisons(&leader), round + 1, "one answer of each is enough");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_late_has_one_more_question_to_answer_and_nobody_else_has() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [leader, follower] = [accord(dirs[0].path(), 1), accord(dirs[1].path(), 2)];
    let voters: BTreeSet<u64> = (1..=5).collect();
    for round in 0..5 {
        leader.step(&voters, &voters);
        let (ask, late) = (leader.ask(2), leader.ask(5));
        // Both are asked as soon as there is a question that was over.
        assert_eq!((ask.indexes.len(), late.indexes.len()), (2, if round == 0 { 2 } else { 4 }), "{round}: {late:?}");
        let bytes = late.encoded_len() + follower.report(&late).encoded_len();
        assert!(bytes <= BYTES_MAX_LATE, "{bytes} bytes: {late:?}");
        let report = follower.report(&ask);
        (2..=4).for_each(|replica| leader.answered(replica, &report));
        leader.answered(5, &peer::Report { digests: Vec::new(), ..report });
        for index in (FIRST + APPLIED + 100 * round..).take(100) {
            [&leader, &follower].into_iter().for_each(|accord| applies(accord, index));
        }
        tokio::time::advance(QUESTION_AGE_MAX).await;
        assert_eq!(comparisons(&leader), round, "nobody waits longer for it");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_odd_and_who_is_in_doubt_is_told_so_in_few_bytes() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [leader, follower] = [accord(dirs[0].path(), 1), accord(dirs[1].path(), 2)];
    let voters: BTreeSet<u64> = (1..=5).collect();
    let mut told = Vec::new();
    for (others, of) in [([0, 0, 0, 9], 5), ([1, 2, 3, 4], 2)] {
        leader.step(&voters, &voters);
        let report = follower.report(&leader.ask(2));
        for (replica, difference) in (2..=5).zip(others) {
            let differs = |at: &peer::DigestAt| peer::DigestAt { index: at.index, digest: at.digest ^ difference };
            let digests = report.digests.iter().map(differs).collect();
            leader.answered(replica, &peer::Report { digests, ..report.clone() });
        }
        leader.step(&voters, &voters);
        let ask = leader.ask(of);
        assert!(ask.encoded_len() + report.encoded_len() <= BYTES_MAX_ODD, "{ask:?} {report:?}");
        told.push((!ask.odd.is_empty(), !ask.doubt.is_empty()));
    }
    assert_eq!(told, [(true, false), (false, true)]);
}
