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

/// Of a heartbeat and its answer together, where all agree, and where somebody is told that they do not.
const BYTES_MAX: usize = 80;
const BYTES_MAX_ODD: usize = 200;
/// The longest numbers of entries that there are.
const FIRST: u64 = u64::MAX - 100_000;
const APPLIED: u64 = 50_000;

/// Of a replica that has applied so many entries.
fn accord(dir: &Path, id: u64) -> Arc<Accord> {
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
        leader.step(&voters);
        let ask = leader.ask(2);
        let report = follower.report(&ask);
        assert_eq!((ask.indexes.len(), report.digests.len()), (2, 2), "{ask:?} {report:?}");
        let bytes = ask.encoded_len() + report.encoded_len();
        assert!(bytes <= BYTES_MAX, "{bytes} bytes: {ask:?} {report:?}");

        // However much is applied, and however often somebody looks meanwhile.
        for index in (FIRST + APPLIED + 1_000 * round..).take(1_000) {
            [&leader, &follower].into_iter().for_each(|accord| applies(accord, index));
            leader.step(&voters);
        }
        assert_eq!((leader.ask(2), comparisons(&leader)), (ask, round), "the question stands until all have answered");
        for replica in 2..=5 {
            leader.answered(replica, &report);
        }
        leader.step(&voters);
        assert_eq!(comparisons(&leader), round + 1, "one answer of each is enough");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_odd_and_who_is_in_doubt_is_told_so_in_few_bytes() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [leader, follower] = [accord(dirs[0].path(), 1), accord(dirs[1].path(), 2)];
    let voters: BTreeSet<u64> = (1..=5).collect();
    let mut told = Vec::new();
    for (others, of) in [([0, 0, 0, 9], 5), ([1, 2, 3, 4], 2)] {
        leader.step(&voters);
        let report = follower.report(&leader.ask(2));
        for (replica, difference) in (2..=5).zip(others) {
            let differs = |at: &peer::DigestAt| peer::DigestAt { index: at.index, digest: at.digest ^ difference };
            let digests = report.digests.iter().map(differs).collect();
            leader.answered(replica, &peer::Report { digests, ..report.clone() });
        }
        leader.step(&voters);
        let ask = leader.ask(of);
        assert!(ask.encoded_len() + report.encoded_len() <= BYTES_MAX_ODD, "{ask:?} {report:?}");
        told.push((!ask.odd.is_empty(), !ask.doubt.is_empty()));
    }
    assert_eq!(told, [(true, false), (false, true)]);
}
