//! What was changed is what is read back, from memory and from the disk, as far as the window reaches.

use std::collections::BTreeMap;

use proto::seam::Random;

use super::*;
use crate::command::{Action, Command, Op, Precondition};
use crate::disk::rocks::Rocks;
use crate::machine::apply::apply;
use crate::state::State;

const WINDOW: HistoryWindow = HistoryWindow { age_max: Duration::from_secs(3600), bytes_max: 40_000 };

fn open(disk: &Arc<Rocks>, bytes_added: u64) -> History {
    History::open(disk.clone(), Arc::default(), WINDOW, bytes_added).unwrap()
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
fn rows_that_rely_on_others_find_them_while_the_window_moves_on() {
    let random = Random::from_seed(7);
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Rocks::open(dir.path()).unwrap());
    let (mut history, mut state, mut made) = (open(&disk, 0), State::default(), BTreeMap::new());
    let mut near = 0;
    for turn in 0..3_000 {
        let (mut batch, mut round, mut bytes) = (Batch::default(), Vec::new(), 0);
        for _ in 0..1 + random.below(3) {
            let (_, changes) = apply(&mut state, 1, command(&random));
            bytes += history.write(&mut batch, &changes, bytes);
            round.extend(changes);
        }
        disk.write(&batch).unwrap();
        made.extend(round.iter().map(|change| (change.revision, change.clone())));
        history.remember(round.into_iter().map(Arc::new).collect(), bytes);
        if random.below(3) == 0 {
            while history.trim(7, state.revision()).unwrap() {}
        }
        if turn % 500 == 499 {
            let added = history.bytes_added();
            assert!(history.inner().bytes() < 2 * WINDOW.bytes_max, "the window is kept");
            let expected: Vec<Change> = made.range(history.floor() + 1..).map(|(_, change)| change.clone()).collect();
            assert_eq!(all(&history, state.revision()), expected, "from memory and from the disk");
            history = open(&disk, added);
            assert_eq!(all(&history, state.revision()), expected, "from the disk alone, after a restart");
            let rows = disk.scan(Table::History, b"", &[0xff; 9], usize::MAX).unwrap();
            let kept: usize = rows.iter().map(|(_, row)| row.len()).sum();
            assert!(kept < 3 * WINDOW.bytes_max as usize, "what the window left behind goes from the disk: {kept}");
            let rows = rows.iter().map(|(_, row)| Found::decode(row, &|| "a row".into()).unwrap());
            near += rows.filter(|row| row.near().is_some()).count();
        }
    }
    assert!(near > 100, "rows do rely on others: {near}");
}
