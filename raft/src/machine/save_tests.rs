//! What is on the disk after a save, after one that failed, and after a snapshot.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::command::{Action, Op, Precondition};
use crate::disk::Disk;
use crate::disk::faulty::Faulty;
use crate::disk::rocks::Rocks;
use crate::log;
use crate::machine::history::since;
use crate::past::Past;
use crate::store::HistoryError;
use crate::types::{Entry, Proposal};

fn open(disk: &Arc<Faulty>) -> Machine {
    let metrics = Arc::new(Metrics::default());
    let room = Room::new(disk.clone(), metrics.clone(), CancellationToken::new());
    let flusher = Flusher::start(room.clone(), metrics.clone());
    Machine::open(room, flusher, metrics, HistoryWindow::default(), Arc::default()).unwrap()
}

fn put(index: u64, key: &'static str) -> Entry {
    put_value(index, key, index.to_string().into())
}

/// Some of them are more than the ring is to keep, and each is more than rows wait for.
fn large(index: u64) -> Entry {
    put_value(index, "large", vec![index as u8; ring::BYTES_MAX / 4].into())
}

fn put_value(index: u64, key: &'static str, value: Bytes) -> Entry {
    let op = Op { key: key.into(), precondition: Precondition::Any, action: Action::Put(value) };
    let command = Command { fence: None, proposed_at_ms: 1, author: "test".into(), ops: vec![op] };
    Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(Proposal(command.encode())) }
}

async fn apply(machine: &mut Machine, entries: impl IntoIterator<Item = Entry>) {
    let entries: Vec<_> = entries.into_iter().map(|entry| Ok((entry, None))).collect();
    machine.apply(futures::stream::iter(entries)).await.unwrap();
}

#[tokio::test]
async fn what_a_failed_save_did_not_write_the_next_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    let mut machine = open(&disk);
    apply(&mut machine, [put(0, "a"), put(1, "b")]).await;
    machine.save().await.unwrap();
    apply(&mut machine, [put(2, "a"), put(3, "c")]).await;
    disk.fail_write.store(true, Relaxed);
    machine.save().await.unwrap_err();
    let reached = machine.reach().now();
    assert_eq!((reached.applied, reached.whole), (Some(log_id(1, 1)), false), "the log is not cleared behind it");
    apply(&mut machine, [put(4, "b")]).await;
    machine.save().await.unwrap();
    assert_eq!(machine.reach().now().applied, Some(log_id(1, 4)));
    // The digest is held against what is read.
    let state = open(&disk).published().state();
    let value = |key: &str| String::from_utf8(state.get(key.as_bytes()).unwrap().value.to_vec()).unwrap();
    assert_eq!(["a", "b", "c"].map(value), ["2", "4", "3"]);
}

#[tokio::test]
async fn an_installed_snapshot_is_what_a_restart_finds() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let disks = dirs.each_ref().map(|dir| Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap())));
    let [mut there, mut here] = disks.each_ref().map(open);
    apply(&mut there, [put(0, "a"), put(1, "b"), put(2, "a")]).await;
    apply(&mut here, [put(0, "a"), put(1, "c")]).await;
    here.save().await.unwrap();
    let snapshot = there.get_current_snapshot().await.unwrap().expect("something is applied");
    here.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap();
    // Nothing was saved since.
    let again = open(&disks[1]);
    let state = again.published().state();
    let found = ["a", "b", "c"].map(|key| state.get(key.as_bytes()).map(|object| object.value.clone()));
    assert_eq!(found, [Some(Bytes::from("2")), Some(Bytes::from("1")), None]);
    assert_eq!(again.last_applied(), Some(log_id(1, 2)));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_installed_in_the_end_however_long_the_disk_hangs() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let disks = dirs.each_ref().map(|dir| Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap())));
    let [mut there, mut here] = disks.each_ref().map(open);
    apply(&mut there, [put(0, "a"), put(1, "b")]).await;
    let snapshot = there.get_current_snapshot().await.unwrap().expect("something is applied");
    *disks[1].sync_takes.lock().unwrap() = Duration::from_secs(3600);
    here.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap();
    assert_eq!(here.reach().now().applied, Some(log_id(1, 1)));
}

#[tokio::test]
async fn what_the_disk_does_not_take_was_committed_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    let mut machine = open(&disk);
    apply(&mut machine, [put(0, "a")]).await;
    disk.fail_write.store(true, Relaxed);
    machine.apply(futures::stream::iter([Ok((large(1), None))])).await.unwrap_err();
    let published = machine.published();
    assert_eq!((published.state().revision(), *published.revision().borrow()), (2, 2));
    let (changes, reached) = since(&published, 0, 2, &Bytes::new()).await.unwrap();
    assert_eq!((changes.len(), reached), (2, 2), "the state never stands without its history");
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_synced_stands_with_its_history_all_the_same() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let disks = dirs.each_ref().map(|dir| Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap())));
    let [mut there, mut here] = disks.each_ref().map(open);
    apply(&mut there, [put(0, "a"), put(1, "b"), put(2, "a")]).await;
    apply(&mut here, [put(0, "a")]).await;
    let snapshot = there.get_current_snapshot().await.unwrap().expect("something is applied");
    let staged = here.generations.write(&snapshot.snapshot).await.unwrap();
    disks[1].fail_sync.store(true, Relaxed);
    let image = Image { staged: Some(staged), ..snapshot.snapshot };
    here.install_snapshot(&snapshot.meta, image).await.unwrap_err();
    let published = here.published();
    assert_eq!((published.state().revision(), published.history.floor()), (3, 3));
}

#[tokio::test]
async fn memory_keeps_what_is_not_on_the_disk_yet() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    let mut machine = open(&disk);
    apply(&mut machine, [put(0, "a")]).await;
    // More than the ring is to keep.
    for index in 1..10 {
        disk.fail_write.store(true, Relaxed);
        machine.apply(futures::stream::iter([Ok((large(index), None))])).await.unwrap_err();
    }
    let published = machine.published();
    let (mut at, mut found) = (0, 0);
    while at < 10 {
        let (changes, reached) = since(&published, at, 10, &Bytes::new()).await.unwrap();
        (at, found) = (reached, found + changes.len());
    }
    assert_eq!(found, 10);
}

#[tokio::test]
async fn rows_of_the_history_go_to_the_disk_together_or_with_the_objects() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    let mut machine = open(&disk);
    let rows = || disk.scan(Table::History, b"", &[0xff; 9], usize::MAX).unwrap().len();
    apply(&mut machine, [put(0, "a"), put(1, "b")]).await;
    assert_eq!(rows(), 0);
    apply(&mut machine, [large(2), put(3, "a")]).await;
    assert_eq!(rows(), 3, "what is large does not wait, nor what came before it");
    let (changes, _) = since(&machine.published(), 3, 4, &Bytes::new()).await.unwrap();
    assert_eq!(changes.len(), 1, "memory has the last one");
    machine.save().await.unwrap();
    assert_eq!(rows(), 4);
}

#[tokio::test]
async fn the_changes_to_a_key_say_after_what_they_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    let mut machine = open(&disk);
    apply(&mut machine, [put(0, "a"), put(1, "b"), put(2, "a"), put(3, "a"), put(4, "b")]).await;
    let past = Past::new(machine.published());
    let told = async |count_max, bytes_max| {
        let found = past.changes(b"a", count_max, bytes_max).await.unwrap();
        let revisions: Vec<_> = found.list.iter().map(|change| change.revision).collect();
        (found.after, revisions, found.upto)
    };
    assert_eq!(told(9, usize::MAX).await, (0, vec![1, 3, 4], 5));
    assert_eq!(told(3, usize::MAX).await, (0, vec![1, 3, 4], 5));
    assert_eq!(told(2, usize::MAX).await, (1, vec![3, 4], 5));
    assert_eq!(told(9, 0).await, (3, vec![4], 5), "one at least");
}

#[tokio::test]
async fn who_asks_for_what_cannot_be_read_gets_no_part_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    let mut machine = open(&disk);
    apply(&mut machine, [put(0, "a"), put(1, "a")]).await;
    machine.save().await.unwrap();
    let mut again = open(&disk);
    let mut damaged = Batch::default();
    damaged.put(Table::History, rows::key(1), b"no row".to_vec());
    disk.write(&damaged).unwrap();
    apply(&mut again, [put(2, "a")]).await;
    match since(&again.published(), 0, 3, &Bytes::new()).await {
        Err(HistoryError::Gone(gone)) => assert_eq!(gone.oldest, 3, "also what memory has"),
        other => panic!("{other:?}"),
    }
    let found = Past::new(again.published()).changes(b"a", 9, usize::MAX).await.unwrap();
    assert_eq!((found.after, found.upto, found.list.len()), (3, 3, 0), "no shorter list passes for the whole one");
}

#[tokio::test(start_paused = true)]
async fn a_read_of_the_history_is_tried_again_and_only_damage_makes_it_gone() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    let mut machine = open(&disk);
    let entries = [put(0, "a"), put(1, "a")];
    let mut log = Batch::default();
    entries.iter().for_each(|entry| log.put(Table::Log, log::rows::key(entry.log_id.index), log::rows::row(entry)));
    disk.write(&log).unwrap();
    apply(&mut machine, entries).await;
    machine.save().await.unwrap();
    let again = open(&disk);
    let published = again.published();
    let damaged = || published.metrics.rot().is_some();
    let read = async || since(&published, 0, 2, &Bytes::new()).await;

    disk.fail_scans.store(2, Relaxed);
    assert_eq!(read().await.unwrap().1, 2, "the third try reads it");
    disk.full_scans.store(1, Relaxed);
    assert!(matches!(read().await, Err(HistoryError::Untold(_))));
    assert_eq!(read().await.unwrap().1, 2);
    assert!(!damaged());

    disk.panic_scan.store(true, Relaxed);
    let there = published.clone();
    let panicked = tokio::spawn(async move { drop(since(&there, 0, 2, &Bytes::new()).await) }).await;
    assert!(panicked.unwrap_err().is_panic() && !damaged(), "a bug is no damage");

    disk.fail_scans.store(3, Relaxed);
    assert!(matches!(read().await, Err(HistoryError::Gone(_))), "three in a row are damage");
    assert!(damaged());
}

#[tokio::test]
async fn what_a_closed_disk_has_is_not_told_but_not_gone() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    let mut machine = open(&disk);
    apply(&mut machine, [put(0, "a")]).await;
    machine.save().await.unwrap();
    let again = open(&disk);
    let published = again.published();
    disk.close();
    let told = since(&published, 0, 1, &Bytes::new()).await.unwrap_err();
    assert_eq!(told.to_string(), "this replica cannot tell its history at present: the database is closed");
    let told = Past::new(published).changes(b"a", 9, usize::MAX).await.err().unwrap();
    assert_eq!(told.to_string(), "this replica cannot tell its history at present: the database is closed");
}
