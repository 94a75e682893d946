//! What was changed is what is read back, from memory and from the disk, as far as the window reaches.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::EntryPayload;
use proto::seam::Random;

use super::super::row::Found;
use super::*;
use crate::command::{Action, Command, Op, Precondition};
use crate::disk::rocks::Rocks;
use crate::log_store;
use crate::machine::apply::apply;
use crate::state::State;
use crate::types::{Entry, Proposal, log_id};

const WINDOW: HistoryWindow = HistoryWindow { age_max: Duration::from_secs(3600), bytes_max: 40_000 };

fn open(disk: &Arc<Rocks>, reached: (u64, Revision)) -> History {
    History::open(disk.clone(), Arc::default(), WINDOW, Arc::default(), reached).unwrap()
}

/// Takes off the log what nothing relies on.
fn clear(disk: &Rocks, history: &History) {
    let needless = history.inner().trimmed.entry().map_or(0, |at| at.index);
    let mut batch = Batch::default();
    batch.delete_range(Table::Log, log_store::key(0), log_store::key(needless + 1));
    disk.write(&batch).unwrap();
}

fn kept(disk: &Rocks, table: Table) -> usize {
    disk.scan(table, b"", &[0xff; 9], usize::MAX).unwrap().iter().map(|(_, row)| row.len()).sum()
}

/// A command on one or two of a few keys, which are hot; now and then on one of many, which are not.
fn command(random: &Random) -> Command {
    let op = |_| {
        let key = match random.below(10) {
            0 => format!("cold/{}", random.below(200)),
            _ => format!("hot/{}", random.below(5)),
        };
        let action = match random.below(8) {
            0 => Action::Delete,
            _ => Action::Put(vec![b'x'; random.below(400) as usize].into()),
        };
        Op { key: key.into(), precondition: Precondition::Any, action }
    };
    let ops = (0..1 + random.below(2)).map(op).collect();
    Command { fence: None, proposed_at_ms: 7, author: "test".into(), ops }
}

fn all(history: &History, upto: Revision) -> Vec<Change> {
    let (mut at, mut changes) = (history.floor(), Vec::new());
    while at < upto {
        let (more, reached) = history.since(at, upto, b"").unwrap();
        assert!(reached > at);
        changes.extend(more.into_iter().map(|change| (*change).clone()));
        at = reached;
    }
    changes
}

#[test]
fn rows_that_rely_on_others_and_on_the_log_find_them_while_the_window_moves_on() {
    let random = Random::from_seed(7);
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Rocks::open(dir.path()).unwrap());
    let (mut history, mut state, mut made) = (open(&disk, (0, 0)), State::default(), BTreeMap::new());
    let (mut near, mut index) = (0, 0);
    for turn in 0..3_000 {
        let (mut batch, mut round, mut bytes) = (Batch::default(), Vec::new(), 0);
        for _ in 0..1 + random.below(3) {
            let command = command(&random);
            index += 1;
            let (at, payload) = (log_id(1, index), EntryPayload::Normal(Proposal(command.encode())));
            batch.put(Table::Log, log_store::key(index), log_store::row(&Entry { log_id: at, payload }));
            bytes += command.encode().len() as u64;
            let (_, changes) = apply(&mut state, 1, command);
            bytes += history.write(&mut batch, &at, &changes, bytes);
            round.extend(changes);
        }
        disk.write(&batch).unwrap();
        made.extend(round.iter().map(|change| (change.revision, change.clone())));
        history.remember(round.into_iter().map(Arc::new).collect(), bytes);
        if random.below(3) == 0 {
            while history.trim(7, state.revision()).unwrap() {}
            clear(&disk, &history);
        }
        if turn % 500 == 499 {
            let reached = (history.bytes_added(), state.revision());
            assert!(history.inner().bytes() < 2 * WINDOW.bytes_max, "the window is kept");
            let expected: Vec<Change> = made.range(history.floor() + 1..).map(|(_, change)| change.clone()).collect();
            assert_eq!(all(&history, state.revision()), expected, "from memory and from the disk");
            history = open(&disk, reached);
            assert_eq!(all(&history, state.revision()), expected, "from the disk alone, after a restart");
            let bytes = kept(&disk, Table::History) + kept(&disk, Table::Log);
            assert!(bytes < 3 * WINDOW.bytes_max as usize, "what the window left behind goes from the disk: {bytes}");
            let rows = disk.scan(Table::History, b"", &[0xff; 9], usize::MAX).unwrap();
            let rows = rows.iter().map(|(_, row)| Found::decode(row, &|| "a row".into()).unwrap());
            near += rows.filter(|row| row.near().is_some()).count();
        }
    }
    assert!(near > 100, "rows do rely on others: {near}");
}

#[test]
fn entries_that_change_nothing_take_room_in_the_window_too() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Rocks::open(dir.path()).unwrap());
    let (history, mut state) = (open(&disk, (0, 0)), State::default());
    let op = Op { key: "a".into(), precondition: Precondition::Any, action: Action::Put("1".into()) };
    let command = Command { fence: None, proposed_at_ms: 7, author: "test".into(), ops: vec![op] };
    let (_, changes) = apply(&mut state, 1, command);
    let (mut batch, at) = (Batch::default(), log_id(1, 1));
    let bytes = history.write(&mut batch, &at, &changes, 0);
    disk.write(&batch).unwrap();
    history.remember(changes.into_iter().map(Arc::new).collect(), bytes);
    history.remember(Vec::new(), WINDOW.bytes_max - bytes);
    assert!(!history.trim(7, 1).unwrap());
    history.remember(Vec::new(), 1);
    assert!(history.trim(7, 1).unwrap());
    assert_eq!(history.floor(), 1);
    // Nothing is left that could rely on the log.
    history.reach.set(Some(log_id(1, 900)), 1);
    assert!(!history.trim(7, 1).unwrap());
    assert_eq!(history.reach.now().needless(), Some(log_id(1, 900)));
    assert_eq!(kept(&disk, Table::History), 0);
}
