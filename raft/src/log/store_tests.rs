//! openraft's own suite for log stores and state machines, on RocksDB; and what it does not ask for.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use openraft::storage::{RaftLogReader as _, RaftLogStorageExt as _, RaftStateMachine as _};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{EntryPayload, StorageError};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::command::{Action, Command, Op, Precondition};
use crate::disk::Disk;
use crate::disk::faulty::Faulty;
use crate::disk::rocks::Rocks;
use crate::log::ends::CACHE_BYTES;
use crate::log::rows::{self, kept_vote};
use crate::machine::Machine;
use crate::machine::history::since;
use crate::store::HistoryWindow;
use crate::types::Proposal;

/// Longer than anybody would wait for a disk who can give up.
const HANGS: Duration = Duration::from_secs(3600);

struct Builder;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let (log, machine) = open(&Arc::new(Rocks::open(dir.path()).unwrap()));
        // Its logs begin anywhere: whatever comes before is durable.
        log.reach.set(Some(log_id(u64::MAX, u64::MAX)), 0);
        Ok((dir, log, machine))
    }
}

fn open(disk: &Arc<impl Disk>) -> (LogStore, Machine) {
    let metrics = Arc::new(Metrics::default());
    let room = Room::new(disk.clone(), metrics.clone(), CancellationToken::new());
    let flusher = Flusher::start(room.clone(), metrics.clone());
    let reach = Arc::new(Reach::default());
    let log = LogStore::open(room.clone(), flusher.clone(), metrics.clone(), reach.clone()).unwrap();
    (log, Machine::open(room, flusher, metrics, HistoryWindow::default(), reach).unwrap())
}

/// The log as a restart finds it.
fn kept(rocks: &Arc<Rocks>) -> io::Result<LogStore> {
    let metrics = Arc::new(Metrics::default());
    let room = Room::new(rocks.clone(), metrics.clone(), CancellationToken::new());
    let flusher = Flusher::start(room.clone(), metrics.clone());
    LogStore::open(room, flusher, metrics, Arc::default())
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(Proposal(vec![index as u8; bytes].into())) }
}

#[tokio::test]
async fn what_was_purged_is_not_answered_with_what_comes_later() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&Arc::new(Rocks::open(dir.path()).unwrap()));
    log.blocking_append((0..9).map(|index| entry(1, index, 9))).await.unwrap();
    log.purge(log_id(1, 4)).await.unwrap();
    assert!(log.limited_get_log_entries(2, 9).await.unwrap().is_empty());
    assert_eq!(log.limited_get_log_entries(5, 9).await.unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_follows_on_a_snapshot_waits_until_that_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Arc::new(Rocks::open(dir.path()).unwrap());
    let (mut log, machine) = open(&rocks);
    log.blocking_append((0..4).map(|index| entry(1, index, 9))).await.unwrap();
    let reach = log.reach.clone();
    let mut behind = log.clone();
    let appended = tokio::spawn(async move { behind.blocking_append([entry(1, 10, 9)]).await });
    reach.set(Some(log_id(1, 8)), 8);
    tokio::time::sleep(HANGS).await;
    assert!(!appended.is_finished());
    assert_eq!(log.try_get_log_entries(..).await.unwrap().len(), 4);
    reach.set(Some(log_id(1, 9)), 9);
    appended.await.unwrap().unwrap();
    assert_eq!(log.last(), Some(log_id(1, 10)));

    // Whatever ended it, the snapshot is not installed any more.
    drop(machine);
    let never = log.blocking_append([entry(1, 20, 9)]).await.unwrap_err();
    assert!(never.to_string().contains("what comes before log entry 20 has not become durable"), "{never}");
}

/// An error would end the raft node for good, though the disk is back a moment later.
#[tokio::test(start_paused = true)]
async fn a_vote_and_a_shorter_log_wait_for_a_disk_that_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    let (mut log, _) = open(&disk);
    log.blocking_append((0..4).map(|index| entry(1, index, 9))).await.unwrap();
    *disk.sync_takes.lock().unwrap() = HANGS;
    log.save_vote(&Vote::new(2, 1)).await.unwrap();
    log.truncate_after(Some(log_id(1, 1))).await.unwrap();
    assert_eq!((log.vote(), log.last()), (Some(Vote::new(2, 1)), Some(log_id(1, 1))));
}

#[tokio::test]
async fn that_the_one_who_has_the_vote_leads_needs_no_sync() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    let (mut log, _) = open(&disk);
    log.save_vote(&Vote::new(2, 1)).await.unwrap();
    disk.fail_sync.store(true, Relaxed);
    log.save_vote(&Vote::new_committed(2, 1)).await.unwrap();
    assert_eq!((log.vote(), kept_vote(&*disk).unwrap()), (Some(Vote::new_committed(2, 1)), log.vote()));
    log.save_vote(&Vote::new_committed(3, 1)).await.expect_err("a term that this replica has not voted in");
}

#[tokio::test]
async fn openraft_s_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}

#[tokio::test]
async fn the_log_is_the_same_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Arc::new(Rocks::open(dir.path()).unwrap());
    let (mut log, machine) = open(&rocks);
    machine.reach().set(Some(log_id(1, 5)), 0);
    machine.reach().relies_beyond(Some(log_id(1, 4)));
    assert!(log.is_pristine());
    log.blocking_append((0..10).map(|index| entry(1, index, 10))).await.unwrap();
    log.purge(log_id(1, 3)).await.unwrap();
    log.truncate_after(Some(log_id(1, 7))).await.unwrap();
    log.save_committed(Some(log_id(1, 6))).await.unwrap();
    log.blocking_append([entry(2, 8, 10)]).await.unwrap();
    log.save_committed(Some(log_id(1, 7))).await.unwrap();
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 7)));
    rocks.close();

    let (mut log, _) = open(&Arc::new(Rocks::open(dir.path()).unwrap()));
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(1, 3)), Some(log_id(2, 8))));
    let entries = log.try_get_log_entries(4..9).await.unwrap();
    assert_eq!(entries, [entry(1, 4, 10), entry(1, 5, 10), entry(1, 6, 10), entry(1, 7, 10), entry(2, 8, 10)]);
    assert_eq!(log.read_committed().await.unwrap(), Some(log_id(1, 6)), "it came with the last entry");
    assert!(!log.is_pristine());
}

#[tokio::test]
async fn what_was_overruled_and_is_there_all_the_same_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Arc::new(Rocks::open(dir.path()).unwrap());
    let (mut log, _) = open(&rocks);
    log.blocking_append([entry(1, 0, 9), entry(2, 1, 9), entry(1, 2, 9)]).await.unwrap();
    let error = kept(&rocks).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "log entry 2 is of term 1, but the one before of 2");
    log.truncate_after(Some(log_id(2, 1))).await.unwrap();
    assert_eq!(kept(&rocks).unwrap().last(), Some(log_id(2, 1)));
}

#[tokio::test]
async fn the_value_of_a_change_is_not_taken_from_an_entry_that_was_overruled() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Rocks::open(dir.path()).unwrap();
    let command = Command { fence: None, proposed_at_ms: 1, author: "test".into(), ops: Vec::new() };
    let overruled = Entry { log_id: log_id(1, 7), payload: EntryPayload::Normal(Proposal(command.encode())) };
    let mut batch = Batch::default();
    batch.put(Table::Log, key(7), row(&overruled));
    rocks.write(&batch).unwrap();
    assert!(rows::command(&rocks, log_id(1, 7)).unwrap().is_some());
    assert!(rows::command(&rocks, log_id(2, 7)).unwrap().is_none());
}

#[tokio::test]
async fn the_log_stays_on_the_disk_until_the_objects_are_saved_and_the_history_is_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    let (mut log, mut machine) = open(&disk);
    let put = |index: u64| {
        let op = Op { key: "a".into(), precondition: Precondition::Any, action: Action::Put(index.to_string().into()) };
        let command = Command { fence: None, proposed_at_ms: 1, author: "test".into(), ops: vec![op] };
        Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(Proposal(command.encode())) }
    };
    let entries: Vec<Entry> = (0..10).map(put).collect();
    log.blocking_append(entries.clone()).await.unwrap();
    machine.apply(futures::stream::iter(entries.into_iter().map(|entry| Ok((entry, None))))).await.unwrap();
    let rows = || disk.scan(Table::Log, b"", &[0xff; 9], usize::MAX).unwrap().len();
    log.purge(log_id(1, 5)).await.unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(log_id(1, 5)));
    assert!(log.try_get_log_entries(0..6).await.unwrap().is_empty(), "for openraft it is gone");
    assert_eq!(rows(), 10, "for a restart it is not");
    // What a restart before that finds: an older state, and all of the log that makes the newer one.
    let (mut again, older) = open(&disk);
    assert_eq!(older.published().state().revision(), 0);
    assert_eq!(again.get_log_state().await.unwrap().last_purged_log_id, None);

    machine.save().await.unwrap();
    log.purge(log_id(1, 7)).await.unwrap();
    assert_eq!(rows(), 10, "for the history it is not");
    let (mut again, newer) = open(&disk);
    assert_eq!(newer.published().state().get(b"a").unwrap().value, "9");
    assert_eq!(again.get_log_state().await.unwrap().last_purged_log_id, None);
    let (changes, _) = since(&newer.published(), 3, 5, &Bytes::new()).await.unwrap();
    let values: Vec<_> = changes.iter().map(|change| change.value.clone().unwrap()).collect();
    assert_eq!(values, ["3", "4"], "read from the log");

    // An hour and more later nothing is left of the window, and of the log what openraft keeps.
    let history = &machine.published().history;
    while history.trim(4_000_000, machine.reach().now().revision).unwrap() {}
    log.clear().await.unwrap();
    assert_eq!((history.floor(), rows()), (10, 2));
    let (mut again, newer) = open(&disk);
    assert_eq!(newer.published().state().get(b"a").unwrap().value, "9");
    assert_eq!(again.get_log_state().await.unwrap().last_purged_log_id, Some(log_id(1, 7)));
}

#[tokio::test]
async fn memory_and_disk_give_the_same_entries_and_requests_are_bounded_in_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(&Arc::new(Rocks::open(dir.path()).unwrap()));
    // Twice what is kept in memory, so that the older half comes from the disk.
    let count = (2 * CACHE_BYTES / 65_536) as u64;
    log.blocking_append((0..count).map(|index| entry(1, index, 65_536))).await.unwrap();
    assert!(log.ends().cache_bytes <= CACHE_BYTES);
    for start in [0, count / 2, count - 10] {
        let entries = log.limited_get_log_entries(start, count).await.unwrap();
        let bytes: usize = entries.iter().map(weight).sum();
        assert!(entries.len() >= 10.min((count - start) as usize) && bytes <= REQUEST_BYTES + 70_000, "{bytes}");
        assert_eq!(
            entries,
            (start..start + entries.len() as u64).map(|index| entry(1, index, 65_536)).collect::<Vec<_>>()
        );
    }
    let streamed: Vec<_> = futures::StreamExt::collect(log.entries_stream(1..count).await).await;
    assert_eq!(streamed.len() as u64, count - 1);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_cannot_be_read_is_tried_again_and_is_damage_at_the_third_time() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    let (mut log, _) = open(&disk);
    log.cache_at_most(0);
    log.blocking_append((0..4).map(|index| entry(1, index, 9))).await.unwrap();
    disk.fail_scans.store(2, Relaxed);
    assert_eq!(log.limited_get_log_entries(0, 2).await.unwrap().len(), 2);
    assert_eq!(log.metrics.rot(), None);
    disk.fail_scans.store(3, Relaxed);
    log.limited_get_log_entries(0, 2).await.unwrap_err();
    assert!(log.metrics.rot().unwrap().ends_with("(3 times in a row)"));
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_until_there_is_room_to_open_the_database_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    let (mut log, _) = open(&disk);
    log.cache_at_most(0);
    log.blocking_append((0..4).map(|index| entry(1, index, 9))).await.unwrap();
    disk.full_scans.store(100, Relaxed);
    assert_eq!(log.limited_get_log_entries(0, 2).await.unwrap().len(), 2);
    assert_eq!((disk.full_scans.load(Relaxed), log.metrics.rot()), (0, None));
}

#[tokio::test]
async fn a_read_that_takes_long_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    let (mut log, _) = open(&disk);
    log.cache_at_most(0);
    log.blocking_append((0..4).map(|index| entry(1, index, 9))).await.unwrap();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (end, ends) = std::sync::mpsc::channel();
    *disk.hold_scan.lock().unwrap() = Some((begun, ends));
    let reading = tokio::spawn(async move { log.limited_get_log_entries(0, 2).await });
    // On the one thread that there is.
    has_begun.await.unwrap();
    assert!(!reading.is_finished());
    end.send(()).unwrap();
    assert_eq!(reading.await.unwrap().unwrap().len(), 2);
}

#[tokio::test]
async fn a_damaged_entry_is_named_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Arc::new(Rocks::open(dir.path()).unwrap());
    let (mut log, _) = open(&rocks);
    log.blocking_append((0..3).map(|index| entry(1, index, 10))).await.unwrap();
    let mut row = rocks.get(Table::Log, &1u64.to_be_bytes()).unwrap().unwrap();
    *row.last_mut().unwrap() ^= 1;
    let mut batch = Batch::default();
    batch.put(Table::Log, key(1), row);
    rocks.write(&batch).unwrap();
    let metrics = Arc::new(Metrics::default());
    let room = Room::new(rocks, metrics.clone(), CancellationToken::new());
    let flusher = Flusher::start(room.clone(), metrics.clone());
    let error = LogStore::open(room, flusher, metrics, Arc::default()).err().expect("a damaged log is not opened");
    assert!(error.to_string().starts_with("log entry 1 is corrupt"), "{error}");
}
