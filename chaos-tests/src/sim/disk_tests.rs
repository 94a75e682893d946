use std::io;

use super::*;

fn put(disk: &dyn Disk, key: &'static str) {
    let mut batch = Batch::default();
    batch.put(Table::Log, Bytes::from_static(key.as_bytes()), key.into());
    disk.write(&batch).unwrap();
}

fn keys(disk: &dyn Disk) -> Vec<Bytes> {
    disk.scan(Table::Log, b"", b"z", usize::MAX).unwrap().into_iter().map(|(key, _)| key).collect()
}

#[tokio::test]
async fn a_crash_keeps_what_was_synced_and_only_a_beginning_of_the_rest() {
    let mut survivors = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let platters = Platters::new(Random::from_seed(seed));
        let disk = platters.open();
        put(&*disk, "a");
        disk.sync().await.unwrap();
        put(&*disk, "b");
        put(&*disk, "c");
        assert_eq!(keys(&*disk).len(), 3, "readable at once");
        let (lost, _) = platters.crash();
        assert!(disk.sync().await.is_err() && disk.get(Table::Log, b"a").is_err(), "the old handle is dead");
        let found = keys(&*platters.open());
        assert_eq!(found[..], ["a", "b", "c"][..3 - lost]);
        survivors.insert(found.len());
    }
    assert_eq!(survivors.into_iter().collect::<Vec<_>>(), [1, 2, 3], "every outcome comes about");
}

#[tokio::test]
async fn what_is_written_during_a_sync_is_not_synced_by_it() {
    let platters = Platters::new(Random::from_seed(1));
    let disk = platters.open();
    platters.set(|faults| faults.slower_ms = 20);
    put(&*disk, "a");
    let (synced, ()) = tokio::join!(disk.sync(), async { put(&*disk, "b") });
    synced.unwrap();
    assert_eq!(platters.lock().unsynced.len(), 1);
}

#[tokio::test]
async fn a_bit_that_turns_over_is_what_all_read_from_then_on() {
    let platters = Platters::new(Random::from_seed(1));
    assert_eq!((platters.rot(&Table::ALL), platters.is_rotten()), (None, false), "there is nothing yet");
    let disk = platters.open();
    put(&*disk, "a");
    disk.sync().await.unwrap();
    put(&*disk, "b");
    let (table, key) = platters.rot(&Table::ALL).unwrap();
    assert_eq!((table, &key[..]), (Table::Log, &b"a"[..]));
    assert!(platters.is_rotten());
    let read = disk.get(table, &key).unwrap().unwrap();
    assert_eq!((read[0] ^ b'a').count_ones(), 1);
    disk.set_aside().unwrap();
    assert!(keys(&*disk).is_empty() && !platters.is_rotten());
    put(&*disk, "c");
    disk.sync().await.unwrap();
    platters.crash();
    assert_eq!(keys(&*platters.open()), ["c"]);
}

#[tokio::test]
async fn it_can_lose_what_was_durable_but_not_the_notes() {
    let platters = Platters::new(Random::from_seed(3));
    let disk = platters.open();
    for key in ["a", "b", "c"] {
        put(&*disk, key);
        disk.sync().await.unwrap();
    }
    disk.save_note(Note::Mark, b"b", true).unwrap();
    disk.save_note(Note::Mark, b"c", false).unwrap();
    platters.will_lose_end();
    let (_, lost) = platters.crash();
    assert!((1..=3).contains(&lost), "{lost}");
    let disk = platters.open();
    assert_eq!(keys(&*disk)[..], ["a", "b", "c"][..3 - lost]);
    assert_eq!(disk.note(Note::Mark).unwrap().as_deref(), Some(&b"c"[..]));
}

#[tokio::test]
async fn a_note_that_is_not_durable_may_be_the_old_one_after_a_crash() {
    let mut found = std::collections::BTreeSet::new();
    for seed in 0..30 {
        let platters = Platters::new(Random::from_seed(seed));
        let disk = platters.open();
        disk.save_note(Note::Vote, b"old", true).unwrap();
        disk.save_note(Note::Vote, b"new", false).unwrap();
        assert_eq!(disk.note(Note::Vote).unwrap().as_deref(), Some(&b"new"[..]));
        platters.crash();
        found.insert(platters.open().note(Note::Vote).unwrap());
        let disk = platters.open();
        disk.save_note(Note::Vote, b"durable", true).unwrap();
        platters.crash();
        assert_eq!(platters.open().note(Note::Vote).unwrap().as_deref(), Some(&b"durable"[..]));
    }
    assert_eq!(found.len(), 2);
}

#[tokio::test]
async fn it_fails_when_told_to() {
    let platters = Platters::new(Random::from_seed(1));
    let disk = platters.open();
    put(&*disk, "a");
    platters.set(|faults| (faults.full, faults.fail_sync) = (true, true));
    assert_eq!(disk.write(&Batch::default()).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(disk.sync().await.is_err());
    platters.set(|faults| *faults = Faults::default());
    disk.sync().await.unwrap();
    assert_eq!(platters.lock().unsynced.len(), 1, "after a failed sync a later one says nothing");
    platters.replace();
    assert!(keys(&*platters.open()).is_empty());
}

#[tokio::test]
async fn a_write_that_failed_may_have_been_done() {
    let mut found = std::collections::BTreeSet::new();
    for seed in 0..30 {
        let platters = Platters::new(Random::from_seed(seed));
        let disk = platters.open();
        put(&*disk, "a");
        disk.sync().await.unwrap();
        let mut batch = Batch::default();
        batch.put(Table::Log, Bytes::from_static(b"b"), "b".into());
        platters.set(|faults| faults.fail_write = true);
        assert!(disk.write(&batch).is_err());
        assert_eq!(keys(&*disk), ["a"], "not while the same process runs");
        platters.set(|faults| faults.fail_write = false);
        assert!(disk.write(&batch).is_err(), "and that writes no more");
        platters.crash();
        let disk = platters.open();
        found.insert(keys(&*disk).len());
        put(&*disk, "c");
    }
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [1, 2]);
}
