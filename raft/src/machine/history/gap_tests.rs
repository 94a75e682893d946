//! What another replica tells of the time before a snapshot is there as if it had always been, or not at all.

use std::sync::Arc;

use proto::seam::Random;

use super::super::super::rows;
use super::super::tests::{WINDOW, all, apply_one, kept, open_with, put};
use super::*;
use crate::command::{Action, Change, Op, Precondition};
use crate::disk::faulty::Faulty;
use crate::disk::rocks::Rocks;
use crate::state::State;
use crate::types::log_id;

struct Replica {
    disk: Arc<Faulty>,
    history: History,
    _dir: tempfile::TempDir,
}

impl Replica {
    fn new() -> Replica {
        let dir = tempfile::tempdir().unwrap();
        let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
        let history = open_with(&disk, WINDOW, (0, 0));
        Replica { disk, history, _dir: dir }
    }

    /// What was in memory is gone. `revision`: as the state machine has saved it.
    fn restarted(self, revision: Revision) -> Replica {
        let history = open_with(&self.disk, WINDOW, (self.history.bytes_added(), revision));
        Replica { history, ..self }
    }

    fn filled(&self, revision: Revision) {
        self.history.replace(&Batch::default(), revision, Some(log_id(1, revision))).unwrap();
        assert_eq!((self.history.floor(), self.history.gap().unwrap().upto), (revision, revision));
    }

    fn write(&self, state: &mut State, index: u64, ops: Vec<Op>) -> u64 {
        apply_one(&*self.disk, &self.history, state, index, ops)
    }

    /// `pieces`: so many of them at most. Returns how many bytes the first change lies behind, once all were put down.
    fn fetch(&self, from: &Replica, gap: Gap, pieces: usize) -> Option<u64> {
        let (mut after, mut behind) = (gap.after, None);
        for _ in 0..pieces {
            let told = from.history.tell(after, gap.upto).unwrap().unwrap();
            behind.get_or_insert(told.changes[0].behind);
            assert!(self.history.stage(gap.upto, &told.changes).unwrap());
            after = told.changes.last().unwrap().change.revision;
            if after == gap.upto {
                return behind;
            }
        }
        None
    }
}

#[test]
fn a_large_command_is_told_in_pieces() {
    let (old, mut state) = (Replica::new(), State::default());
    old.write(&mut state, 1, (0..20).map(|at| put(format!("{at}"), 40_000)).collect());
    let told = old.history.tell(0, 20).unwrap().unwrap().changes;
    assert!(told.len() < 10 && !told.last().unwrap().ends_command, "{}", told.len());
    let filled = Replica::new();
    filled.filled(20);
    let behind = filled.fetch(&old, Gap { after: 0, upto: 20 }, usize::MAX).unwrap();
    assert!(filled.history.close_gap(20, 0, behind).unwrap());
    assert_eq!(all(&filled.history, 20), all(&old.history, 20));
}

/// On few keys, so that most of what stood there before is near; some delete.
fn ops(random: &Random) -> Vec<Op> {
    let op = |_| match random.below(6) {
        0 => Op { key: format!("{}", random.below(4)).into(), precondition: Precondition::Any, action: Action::Delete },
        _ => put(format!("{}", random.below(4)), 2_000),
    };
    (0..1 + random.below(3)).map(op).collect()
}

/// Larger than a piece, with a window that it fits into.
const COMMANDS: u64 = 200;

#[test]
fn what_was_fetched_is_there_as_if_it_had_always_been() {
    let random = Random::from_seed(11);
    let (old, mut state) = (Replica::new(), State::default());
    for index in 1..=COMMANDS {
        old.write(&mut state, index, ops(&random));
        while index == COMMANDS / 2 && old.history.trim(7, state.revision()).unwrap() {}
    }
    let (upto, floor) = (state.revision(), old.history.floor());
    assert!(floor > 0, "the window is full");
    let filled = Replica::new();
    filled.filled(upto);
    let mut behind_state = state.clone();
    for index in COMMANDS + 1..=COMMANDS + 3 {
        let ops = ops(&random);
        old.write(&mut state, index, ops.clone());
        filled.write(&mut behind_state, index, ops);
    }

    let gap = Gap { after: floor, upto };
    let behind = filled.fetch(&old, gap, usize::MAX).unwrap();
    assert_eq!(filled.history.floor(), upto, "not before all is there");
    assert!(filled.history.close_gap(upto, floor, behind).unwrap());
    assert_eq!(filled.history.gap(), None);
    let expected: Vec<Change> = all(&old.history, state.revision());
    assert_eq!(all(&filled.history, state.revision()), expected);
    let filled = filled.restarted(state.revision());
    assert_eq!((filled.history.gap(), filled.history.floor()), (None, floor));
    assert_eq!(all(&filled.history, state.revision()), expected, "after a restart");

    // And it can tell another one, whose values were never in its log.
    let third = Replica::new();
    third.filled(upto);
    let behind = third.fetch(&filled, gap, usize::MAX).unwrap();
    assert!(third.history.close_gap(upto, floor, behind).unwrap());
    assert_eq!(all(&third.history, upto), expected[..(upto - floor) as usize]);

    // The windows end where they would: what was written since counts for about the same.
    for index in COMMANDS + 4..=COMMANDS + 30 {
        let ops = ops(&random);
        old.write(&mut state, index, ops.clone());
        filled.write(&mut behind_state, index, ops);
    }
    for history in [&old.history, &filled.history] {
        while history.trim(7, state.revision()).unwrap() {}
        let (bytes, bytes_max) = history.bytes();
        assert!(bytes < 2 * bytes_max, "{bytes}");
    }
    let (theirs, own) = (old.history.floor(), filled.history.floor());
    assert!(theirs > floor && own.abs_diff(theirs) < 20, "{theirs} and {own}");
    let both = theirs.max(own);
    let newer = |history: &History| {
        let changes = all(history, state.revision()).into_iter();
        changes.filter(|change| change.revision > both).collect::<Vec<_>>()
    };
    assert_eq!(newer(&filled.history), newer(&old.history));
    assert!(kept(&filled.disk, Table::History) < 3 * WINDOW.bytes_max as usize * 2, "what was fetched goes as well");
}

#[test]
fn what_was_fetched_in_part_is_not_there_and_is_fetched_anew_after_a_restart() {
    let random = Random::from_seed(12);
    let (old, mut state) = (Replica::new(), State::default());
    for index in 1..=COMMANDS {
        old.write(&mut state, index, ops(&random));
    }
    let upto = state.revision();
    let filled = Replica::new();
    filled.filled(upto);
    let gap = Gap { after: 0, upto };
    assert_eq!(filled.fetch(&old, gap, 1), None, "there is more than one piece");
    let filled = filled.restarted(upto);
    assert_eq!((filled.history.floor(), filled.history.gap()), (upto, Some(gap)));
    assert!(filled.history.since(0, upto, b"").unwrap().is_err(), "nobody sees a part");
    assert!(kept(&filled.disk, Table::History) > 0);
    filled.history.unstage(upto).unwrap();
    assert_eq!(
        (kept(&filled.disk, Table::History), filled.history.gap()),
        (0, Some(gap)),
        "it makes room, and is still wanted"
    );
    let behind = filled.fetch(&old, gap, usize::MAX).unwrap();
    assert!(filled.history.close_gap(upto, 0, behind).unwrap());
    assert_eq!(all(&filled.history, upto), all(&old.history, upto));
}

#[test]
fn what_was_fetched_in_part_goes_where_nobody_has_the_rest() {
    let (old, mut state) = (Replica::new(), State::default());
    for index in 1..=9 {
        old.write(&mut state, index, vec![put("a".into(), 10)]);
    }
    let filled = Replica::new();
    filled.filled(9);
    let told = old.history.tell(0, 9).unwrap().unwrap();
    assert!(filled.history.stage(9, &told.changes[..5]).unwrap());
    filled.write(&mut state, 10, vec![put("a".into(), 10)]);
    filled.history.leave_gap(9).unwrap();
    let left = rows::scan(&*filled.disk, 0, 10, usize::MAX).unwrap();
    assert_eq!(left.iter().map(|row| row.revision).collect::<Vec<_>>(), [10]);
    assert_eq!((filled.history.floor(), filled.history.gap()), (9, None));
    let filled = filled.restarted(10);
    assert_eq!((filled.history.floor(), filled.history.gap()), (9, None));
}

#[test]
fn what_the_window_has_left_behind_meanwhile_is_not_wanted_any_more() {
    let (old, mut state) = (Replica::new(), State::default());
    for index in 1..=9 {
        old.write(&mut state, index, vec![put("a".into(), 10)]);
    }
    let filled = Replica::new();
    filled.filled(9);
    let gap = filled.history.gap().unwrap();
    let told = old.history.tell(0, 9).unwrap().unwrap();
    filled.write(&mut state, 10, vec![put("a".into(), 10)]);
    assert!(filled.history.wants(&gap));
    // An hour and more has gone by.
    while filled.history.trim(u64::MAX, 10).unwrap() {}
    assert!(!filled.history.wants(&gap));
    assert!(!filled.history.stage(9, &told.changes).unwrap());
    assert!(!filled.history.close_gap(9, 0, told.changes[0].behind).unwrap());
    filled.history.leave_gap(9).unwrap();
    assert_eq!((filled.history.floor(), filled.history.gap()), (10, None));
    assert_eq!(filled.restarted(10).history.gap(), None);
}

#[test]
fn nothing_is_fetched_of_what_goes_as_whole_files() {
    let (replica, mut state) = (Replica::new(), State::default());
    for index in 1..=COMMANDS {
        replica.write(&mut state, index, vec![put("a".into(), 2_000)]);
    }
    while replica.history.trim(u64::MAX, state.revision()).unwrap() {}
    let cleared = replica.history.inner().trimmed.cleared;
    assert!(cleared > 0);
    replica.filled(COMMANDS + 100);
    assert_eq!(replica.history.gap(), Some(Gap { after: cleared, upto: COMMANDS + 100 }));
    // Its database knows of no such files after a restart.
    let replica = replica.restarted(COMMANDS + 100);
    assert_eq!(replica.history.gap(), Some(Gap { after: 0, upto: COMMANDS + 100 }));
}

#[test]
fn a_snapshot_that_comes_later_takes_the_place_of_the_one_before() {
    let (old, mut state) = (Replica::new(), State::default());
    for index in 1..=20 {
        old.write(&mut state, index, vec![put("a".into(), 10)]);
    }
    let filled = Replica::new();
    filled.filled(9);
    let told = old.history.tell(0, 9).unwrap().unwrap();
    filled.filled(20);
    assert!(!filled.history.stage(9, &told.changes).unwrap());
    assert!(!filled.history.close_gap(9, 0, told.changes[0].behind).unwrap());
    filled.history.leave_gap(9).unwrap();
    assert_eq!(filled.history.gap(), Some(Gap { after: 0, upto: 20 }));
    let behind = filled.fetch(&old, Gap { after: 0, upto: 20 }, usize::MAX).unwrap();
    assert!(filled.history.close_gap(20, 0, behind).unwrap());
    assert_eq!(all(&filled.history, 20), all(&old.history, 20));
}

#[test]
fn who_is_asked_tells_what_its_disk_has_and_what_it_waits_for_itself() {
    let (old, mut state) = (Replica::new(), State::default());
    for index in 1..=9 {
        old.write(&mut state, index, vec![put("a".into(), 10)]);
    }
    let before = old.history.tell(4, 7).unwrap().unwrap();
    let told: Vec<Revision> = before.changes.iter().map(|told| told.change.revision).collect();
    assert_eq!((told, before.floor, before.whole), (vec![5, 6, 7], 0, true));
    assert!(before.changes.windows(2).all(|two| two[0].behind > two[1].behind && two[1].ends_command));
    assert!(old.history.tell(7, 7).unwrap().unwrap().changes.is_empty(), "only how far back it reaches");
    for after in [4, 10, u64::MAX] {
        let gone = old.history.tell(after, u64::MAX).unwrap().unwrap_err();
        assert_eq!((gone.asked, gone.oldest), (u64::MAX, 0), "it is not that far");
    }
    assert!(old.history.tell(10, 10).unwrap().is_err(), "nor does it say how far back it reaches");
    while old.history.trim(u64::MAX, 9).unwrap() {}
    let gone = old.history.tell(4, 9).unwrap().unwrap_err();
    assert_eq!(gone.oldest, 9);
    old.filled(30);
    assert!(!old.history.tell(30, 30).unwrap().unwrap().whole);
}
