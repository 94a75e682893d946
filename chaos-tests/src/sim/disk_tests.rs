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

const OLD: &[u8] = b"oooooooo";
const NEW: &[u8] = b"nnnnnnnn";

/// How much of it is the beginning of the new note. The rest is of the old one.
fn kept(found: &[u8]) -> usize {
    let kept = found.iter().take_while(|byte| **byte == b'n').count();
    assert_eq!(found, [&NEW[..kept], &OLD[kept..]].concat());
    kept
}

#[tokio::test]
async fn a_note_that_is_not_durable_is_torn_by_a_crash_where_notes_are_to_tear() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let platters = Platters::new(Random::from_seed(seed));
        let disk = platters.open();
        disk.save_note(Note::Mark, OLD, true).unwrap();
        platters.set(|faults| faults.tear_notes = true);
        disk.save_note(Note::Mark, NEW, false).unwrap();
        assert_eq!(disk.note(Note::Mark).unwrap().as_deref(), Some(NEW), "in the kernel's memory it is whole");
        assert!(platters.damaged_notes().is_empty());
        platters.crash();
        assert_eq!((platters.damaged_notes(), platters.met().torn_notes), (vec![Note::Mark], 1));
        let disk = platters.open();
        assert_eq!(platters.damaged_notes_read(), 0);
        lengths.insert(kept(&disk.note(Note::Mark).unwrap().unwrap()));
        assert_eq!(platters.damaged_notes_read(), 1);
        platters.set(|faults| *faults = Faults::default());
        let disk = platters.open();
        assert_eq!(platters.damaged_notes_read(), 0, "another process has not come upon it yet");
        disk.save_note(Note::Mark, NEW, true).unwrap();
        assert!(platters.damaged_notes().is_empty(), "it was saved anew");
    }
    assert_eq!(lengths.into_iter().collect::<Vec<_>>(), (1..8).collect::<Vec<_>>(), "wherever it can tear");
}

#[tokio::test]
async fn a_save_in_place_that_is_to_be_durable_fails_in_the_middle_where_notes_are_to_tear() {
    let platters = Platters::new(Random::from_seed(1));
    let disk = platters.open();
    platters.set(|faults| faults.tear_notes = true);
    let found = || platters.open().note(Note::Vote).unwrap().unwrap();
    disk.save_note(Note::Vote, OLD, true).expect("there is no old one");
    disk.save_note(Note::Vote, OLD, true).expect("the old one is the same");
    assert!(disk.save_note(Note::Vote, NEW, true).is_err());
    let torn = found();
    assert!((1..8).contains(&kept(&torn)));
    platters.crash();
    assert_eq!(found(), torn);
    for whole in [b"a longer one".to_vec(), vec![b'o'; 513], vec![b'n'; 513]] {
        platters.open().save_note(Note::Vote, &whole, true).expect("it is a new file");
        assert_eq!(found(), whole);
    }
    assert!(platters.damaged_notes().is_empty());
}

#[tokio::test]
async fn where_a_mark_is_torn_no_end_is_lost_before_there_is_another_and_where_one_is_lost_no_mark_is_torn() {
    let platters = Platters::new(Random::from_seed(3));
    let marked = async |durable: &[u8], newest: &[u8]| {
        let disk = platters.open();
        put(&*disk, "a");
        disk.sync().await.unwrap();
        platters.set(|faults| faults.tear_notes = false);
        disk.save_note(Note::Mark, durable, true).unwrap();
        platters.set(|faults| faults.tear_notes = true);
        disk.save_note(Note::Mark, newest, false).unwrap();
    };
    marked(OLD, NEW).await;
    platters.crash();
    platters.will_lose_end();
    assert_eq!((platters.crash().1, platters.damaged_notes()), (0, vec![Note::Mark]));
    marked(OLD, NEW).await;
    platters.will_lose_end();
    assert!(platters.crash().1 > 0);
    assert_eq!(platters.open().note(Note::Mark).unwrap().as_deref(), Some(NEW));
}

#[test]
fn a_bit_of_a_note_turns_over_and_stays_so_until_it_is_saved_anew() {
    let mut rotten = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let platters = Platters::new(Random::from_seed(seed));
        assert_eq!(platters.rot_note(), None, "there is none");
        let disk = platters.open();
        Note::ALL.into_iter().for_each(|note| disk.save_note(note, OLD, true).unwrap());
        platters.crash();
        let note = platters.rot_note().unwrap();
        let disk = platters.open();
        disk.set_aside().unwrap();
        let bits = |note: Note| -> u32 {
            let found = disk.note(note).unwrap().unwrap();
            found.iter().zip(OLD).map(|(found, old)| (found ^ old).count_ones()).sum()
        };
        assert_eq!(Note::ALL.map(bits), Note::ALL.map(|one| u32::from(one == note)));
        assert_eq!((platters.damaged_notes(), platters.damaged_notes_read()), (vec![note], 1));
        disk.save_note(note, OLD, true).unwrap();
        assert_eq!((bits(note), platters.damaged_notes()), (0, vec![]));
        rotten.insert(note);
    }
    assert_eq!(rotten.len(), Note::ALL.len());
}
