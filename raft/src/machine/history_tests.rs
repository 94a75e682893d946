//! What was changed is what is read back, from memory and from the disk, as far as the window reaches.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use openraft::EntryPayload;
use proto::seam::Random;

use super::super::row::Found;
use super::*;
use crate::command::{Action, Command, Op, Precondition};
use crate::disk::faulty::Faulty;
use crate::disk::rocks::Rocks;
use crate::disk::{Row, Write};
use crate::log;
use crate::machine::apply::apply;
use crate::state::State;
use crate::types::{Entry, Proposal, log_id};

pub const WINDOW: HistoryWindow = HistoryWindow { age_max: Duration::from_secs(3600), bytes_max: 40_000 };
/// As it was before somebody lowered it.
const LARGER: HistoryWindow = HistoryWindow { bytes_max: 5 * WINDOW.bytes_max, ..WINDOW };

fn open(disk: &Arc<Faulty>, reached: (u64, Revision)) -> History {
    open_with(disk, WINDOW, reached)
}

pub fn open_with(disk: &Arc<Faulty>, window: HistoryWindow, reached: (u64, Revision)) -> History {
    History::open(disk.clone(), Arc::default(), window, Arc::default(), reached).unwrap()
}

/// Takes off the log what nothing relies on.
fn clear(disk: &Faulty, history: &History) {
    let needless = history.inner().trimmed.entry().map_or(0, |at| at.index);
    let mut batch = Batch::default();
    batch.forget(Table::Log, log::rows::key(needless));
    disk.write(&batch).unwrap();
}

pub fn kept(disk: &Faulty, table: Table) -> usize {
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

pub fn all(history: &History, upto: Revision) -> Vec<Change> {
    let (mut at, mut changes) = (history.floor(), Vec::new());
    while at < upto {
        let (more, reached) = history.since(at, upto, b"").unwrap().unwrap();
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
    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    let window = |turn: u64| if (turn / 500).is_multiple_of(2) { LARGER } else { WINDOW };
    let mut history = open_with(&disk, window(0), (0, 0));
    let (mut state, mut made) = (State::default(), BTreeMap::<Revision, Change>::new());
    let (mut near, mut index) = (0, 0);
    for turn in 0..3_000 {
        let (mut batch, mut round) = (Batch::default(), Vec::new());
        for _ in 0..1 + random.below(3) {
            let command = command(&random);
            index += 1;
            let (at, payload) = (log_id(1, index), EntryPayload::Normal(Proposal(command.encode())));
            batch.put(Table::Log, log::rows::key(index), log::rows::row(&Entry { log_id: at, payload }));
            let bytes = command.encode().len() as u64;
            let (_, changes) = apply(&mut state, 1, command);
            round.extend(changes.clone());
            history.add(&mut batch, &at, changes, bytes);
        }
        made.extend(round.into_iter().map(|change| (change.revision, change)));
        if random.below(9) == 0 {
            let expected: Vec<Change> = made.range(history.floor() + 1..).map(|(_, change)| change.clone()).collect();
            assert_eq!(all(&history, state.revision()), expected, "the disk does not have all of it yet, turn {turn}");
        }
        disk.write(&batch).unwrap();
        history.wrote(state.revision());
        if random.below(3) == 0 {
            while history.trim(7, state.revision()).unwrap() {}
            clear(&disk, &history);
        }
        let since_restart: u64 = turn % 500;
        if since_restart == 499 || since_restart < 40 && since_restart.is_multiple_of(4) {
            let expected: Vec<Change> = made.range(history.floor() + 1..).map(|(_, change)| change.clone()).collect();
            assert_eq!(all(&history, state.revision()), expected, "from memory and from the disk, turn {turn}");
        }
        if since_restart == 499 {
            let (reached, floor) = ((history.bytes_added(), state.revision()), history.floor());
            let (bytes, bytes_max) = history.bytes();
            assert!(bytes < 2 * bytes_max, "the window is kept");
            let on_disk = (kept(&disk, Table::History) + kept(&disk, Table::Log)) as u64;
            assert!(on_disk < 3 * bytes_max, "what the window left behind goes from the disk: {on_disk}");
            history = open_with(&disk, window(turn + 1), reached);
            let expected: Vec<Change> = made.range(floor + 1..).map(|(_, change)| change.clone()).collect();
            assert_eq!(all(&history, state.revision()), expected, "from the disk alone, after a restart");
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
    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    let (history, mut state) = (open(&disk, (0, 0)), State::default());
    let op = Op { key: "a".into(), precondition: Precondition::Any, action: Action::Put("1".into()) };
    let command = Command { fence: None, proposed_at_ms: 7, author: "test".into(), ops: vec![op] };
    let (_, changes) = apply(&mut state, 1, command);
    let (mut batch, at) = (Batch::default(), log_id(1, 1));
    history.add(&mut batch, &at, changes, 0);
    disk.write(&batch).unwrap();
    history.wrote(1);
    history.add(&mut batch, &at, Vec::new(), WINDOW.bytes_max - history.bytes_added());
    assert!(!history.trim(7, 1).unwrap());
    history.add(&mut batch, &at, Vec::new(), 1);
    assert!(history.trim(7, 1).unwrap());
    assert_eq!(history.floor(), 1);
    // Nothing is left that could rely on the log.
    history.reach.set(Some(log_id(1, 900)), 1);
    assert!(!history.trim(7, 1).unwrap());
    assert_eq!(history.reach.now().needless(), Some(log_id(1, 900)));
    assert_eq!(kept(&disk, Table::History), 0);
}

/// Somewhere on it takes its time.
struct Slow {
    rocks: Rocks,
    readers: Mutex<Readers>,
    /// Told when a write that drops history begins; it ends when the other is told.
    dropping: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
}

#[derive(Default)]
struct Readers {
    now: usize,
    at_once: usize,
    ever: Vec<ThreadId>,
}

impl Slow {
    fn new(rocks: Rocks) -> Arc<Slow> {
        Arc::new(Slow { rocks, readers: Mutex::default(), dropping: Mutex::default() })
    }
}

#[async_trait::async_trait]
impl Disk for Slow {
    fn write(&self, batch: &Batch) -> io::Result<()> {
        let drops = batch.writes.iter().any(|write| matches!(write, Write::Put(Table::Meta, key, _) if key == TRIMMED));
        if let Some((begun, end)) = self.dropping.lock().unwrap().take_if(|_| drops) {
            begun.send(()).unwrap();
            end.recv().unwrap();
        }
        self.rocks.write(batch)
    }

    async fn sync(&self) -> io::Result<()> {
        self.rocks.sync().await
    }

    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.rocks.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], bytes_max: usize) -> io::Result<Vec<Row>> {
        {
            let mut readers = self.readers.lock().unwrap();
            readers.ever.push(thread::current().id());
            readers.now += 1;
            readers.at_once = readers.at_once.max(readers.now);
        }
        thread::sleep(Duration::from_millis(20));
        let rows = self.rocks.scan(table, from, to, bytes_max);
        self.readers.lock().unwrap().now -= 1;
        rows
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn close(&self) {}
}

/// Applies a command of one op, or of more, as a round of its own.
pub fn apply_one(disk: &dyn Disk, history: &History, state: &mut State, index: u64, ops: Vec<Op>) -> u64 {
    let command = Command { fence: None, proposed_at_ms: 7, author: "test".into(), ops };
    let (mut batch, at) = (Batch::default(), log_id(1, index));
    let payload = EntryPayload::Normal(Proposal(command.encode()));
    batch.put(Table::Log, log::rows::key(index), log::rows::row(&Entry { log_id: at, payload }));
    let (_, changes) = apply(state, 1, command);
    let before = history.bytes_added();
    history.add(&mut batch, &at, changes, 0);
    disk.write(&batch).unwrap();
    history.wrote(state.revision());
    history.bytes_added() - before
}

pub fn put(key: String, bytes: usize) -> Op {
    Op { key: key.into(), precondition: Precondition::Any, action: Action::Put(vec![b'x'; bytes].into()) }
}

#[test]
fn memory_hands_out_whole_commands_and_little_more_than_a_read_of_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    let (history, mut state) = (open(&disk, (0, 0)), State::default());
    let (keys, bytes) = (["a/", "b/", "a/", "b/", "a/"], 10_000);
    for index in 0..60 {
        let ops = keys.iter().enumerate().map(|(n, key)| put(format!("{key}{index}/{n}"), bytes)).collect();
        apply_one(&*disk, &history, &mut state, index, ops);
    }
    for (prefix, of_a_command) in [("", 5), ("a/", 3)] {
        let (mut at, mut told) = (0, 0);
        while at < state.revision() {
            let (changes, reached) =
                history.recent(at, state.revision(), prefix.as_bytes()).unwrap().expect("in memory");
            assert!(reached.is_multiple_of(5) && changes.len().is_multiple_of(of_a_command), "{at} to {reached}");
            let most = rows::READ_BYTES + (keys.len() + 1) * (bytes + 300);
            assert!(changes.iter().map(|change| ring::weight(change)).sum::<usize>() <= most, "{at} to {reached}");
            told += changes.len();
            at = reached;
        }
        assert_eq!(told, 60 * of_a_command);
    }
}

#[tokio::test]
async fn who_reads_the_disk_holds_up_nobody_and_few_do_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Slow::new(Rocks::open(dir.path()).unwrap());
    let mut state = State::default();
    let metrics = Arc::<Metrics>::default();
    let anew = |reached| History::open(disk.clone(), metrics.clone(), WINDOW, Arc::default(), reached).unwrap();
    let first = anew((0, 0));
    let bytes = (1..10).map(|index| apply_one(&*disk, &first, &mut state, index, vec![put("a".into(), 10)])).sum();
    // As after a restart, nothing is in memory.
    let published = Published::new(state.clone(), None, anew((bytes, 9)), metrics.clone(), Default::default());
    *disk.readers.lock().unwrap() = Default::default();
    let prefix = Bytes::new();
    let all = (0..20).map(|_| since(&published, 0, 9, &prefix));
    for found in futures::future::join_all(all).await {
        let (changes, reached) = found.unwrap();
        assert_eq!((changes.len(), reached), (9, 9));
    }
    let readers = std::mem::take(&mut *disk.readers.lock().unwrap());
    assert!(!readers.ever.contains(&thread::current().id()), "the thread of the tasks reads as well");
    assert_eq!(readers.at_once, READS_AT_ONCE);
}

#[test]
fn who_applies_does_not_wait_while_old_history_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Slow::new(Rocks::open(dir.path()).unwrap());
    let history = History::open(disk.clone(), Arc::default(), WINDOW, Arc::default(), (0, 0)).unwrap();
    let (history, mut state) = (Arc::new(history), State::default());
    for index in 1..10 {
        apply_one(&*disk, &history, &mut state, index, vec![put("a".into(), 10)]);
    }
    let ((begin, begun), (end, ending)) = (mpsc::channel(), mpsc::channel());
    *disk.dropping.lock().unwrap() = Some((begin, ending));
    let trimming = history.clone();
    let trim = thread::spawn(move || trimming.trim(u64::MAX, 8).unwrap());
    begun.recv().unwrap();
    let (done, applied) = mpsc::channel();
    let applying = history.clone();
    let apply = thread::spawn(move || {
        let gone = applying.recent(3, 9, b"").unwrap_err();
        applying.add(&mut Batch::default(), &log_id(1, 10), Vec::new(), 100);
        done.send(gone.oldest).unwrap();
    });
    let oldest = applied.recv_timeout(Duration::from_secs(10));
    end.send(()).unwrap();
    assert_eq!(oldest, Ok(8), "what is about to be dropped is gone for readers");
    assert!(trim.join().unwrap());
    apply.join().unwrap();
    assert_eq!(history.floor(), 8);
}
