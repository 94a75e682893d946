//! A write on a full disk: it waits, takes the reserve, and goes through when there is room.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use super::*;
use crate::disk::Table;
use crate::disk::faulty::Faulty;
use crate::disk::flusher::Flusher;
use crate::disk::rocks::Rocks;

const MIB: u64 = 1 << 20;

fn room(dir: &std::path::Path) -> (Arc<Faulty>, Arc<Room>, CancellationToken) {
    let disk = Faulty::new(Arc::new(Rocks::open(dir).unwrap()));
    let stop = CancellationToken::new();
    (disk.clone(), Room::new(disk, Arc::new(Metrics::default()), stop.clone()), stop)
}

fn batch(bytes: u64) -> Batch {
    let mut batch = Batch::default();
    batch.put(Table::Objects, Bytes::from_static(b"k"), vec![7; bytes as usize]);
    batch
}

#[tokio::test]
async fn a_write_takes_the_reserve_and_then_waits_for_room() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, room, _stop) = room(dir.path());
    room.look().await.unwrap();
    assert_eq!(disk.reserved().unwrap(), 32 * MIB);
    disk.set_free(0);
    room.look().await.unwrap();
    assert_eq!(
        (disk.reserved().unwrap(), *room.level().borrow()),
        (0, Level::Short),
        "given back before a write fails"
    );
    disk.set_free(0);
    let waits = tokio::spawn({
        let room = room.clone();
        async move { room.write(&batch(MIB)).await }
    });
    let mut level = room.level();
    level.wait_for(|level| *level == Level::Out).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waits.is_finished(), "it waits");
    room.look().await.unwrap();
    assert_eq!(*room.level().borrow(), Level::Out);
    disk.set_free(1000 * MIB);
    tokio::time::timeout(Duration::from_secs(5), waits).await.unwrap().unwrap().unwrap();
    assert_eq!(disk.below.get(Table::Objects, b"k").unwrap().unwrap().len() as u64, MIB);
    room.look().await.unwrap();
    assert_eq!((disk.reserved().unwrap(), *room.level().borrow()), (32 * MIB, Level::Ample), "healed by itself");
    assert_eq!(room.metrics.disk_failure(), None, "a full disk is no untrusted one");
}

#[tokio::test]
async fn a_write_that_finds_no_room_goes_through_on_the_reserve() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, room, _stop) = room(dir.path());
    room.look().await.unwrap();
    assert_eq!(disk.reserved().unwrap(), 32 * MIB);
    disk.set_free(10);
    tokio::time::timeout(Duration::from_secs(5), room.write(&batch(MIB))).await.unwrap().unwrap();
    assert_eq!((disk.reserved().unwrap(), disk.heals.load(Relaxed)), (0, 1));
    assert_eq!(*room.level().borrow(), Level::Short);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_has_room_again_has_all_its_time_to_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, room, _stop) = room(dir.path());
    let flusher = Flusher::start(room.clone(), Arc::new(Metrics::default()));
    disk.set_free(0);
    let waits = tokio::spawn({
        let room = room.clone();
        async move { room.write(&batch(1)).await }
    });
    room.level().wait_for(|level| *level == Level::Out).await.unwrap();
    let within = Duration::from_secs(30);
    let durable = tokio::spawn(async move { flusher.durable(within).await });
    tokio::time::sleep(within - Duration::from_secs(1)).await;
    *disk.sync_takes.lock().unwrap() = Duration::from_secs(5);
    disk.set_free(1000 * MIB);
    waits.await.unwrap().unwrap();
    durable.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_end_of_the_store_ends_the_wait() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, room, stop) = room(dir.path());
    disk.set_free(0);
    let waits = tokio::spawn({
        let room = room.clone();
        async move { room.write(&batch(1)).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), waits).await.unwrap().unwrap();
    assert!(ended.unwrap_err().to_string().contains("before there was room"));
    assert_eq!(room.metrics.disk_failure(), None);
}

#[tokio::test]
async fn a_disk_that_does_not_tell_its_room_is_short_only_while_a_write_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, room, _stop) = room(dir.path());
    disk.silent.store(true, Relaxed);
    disk.set_free(0);
    let waits = tokio::spawn({
        let room = room.clone();
        async move { room.write(&batch(1)).await }
    });
    let mut level = room.level();
    level.wait_for(|level| *level == Level::Out).await.unwrap();
    room.look().await.unwrap();
    assert_eq!(*room.level().borrow(), Level::Out, "it waits");
    disk.set_free(1000 * MIB);
    tokio::time::timeout(Duration::from_secs(5), waits).await.unwrap().unwrap().unwrap();
    room.look().await.unwrap();
    assert_eq!(*room.level().borrow(), Level::Ample);
}

#[tokio::test]
async fn a_reserve_from_before_a_restart_is_known_and_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, first, _stop) = room(dir.path());
    first.look().await.unwrap();
    assert_eq!(disk.reserved().unwrap(), 32 * MIB);
    // More than a quarter of the reserve, and too little to set one aside.
    disk.set_free(10 * MIB);
    let again = Room::new(disk.clone(), Arc::new(Metrics::default()), CancellationToken::new());
    again.look().await.unwrap();
    assert_eq!(again.metrics.disk_reserve_bytes.load(Relaxed), 32 * MIB);
    tokio::time::timeout(Duration::from_secs(5), again.write(&batch(20 * MIB))).await.expect("on the reserve").unwrap();
    assert_eq!((disk.reserved().unwrap(), again.metrics.disk_reserve_bytes.load(Relaxed)), (0, 0));
}
