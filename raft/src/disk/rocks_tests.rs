use super::*;

#[test]
fn a_directory_in_use_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Rocks::open(dir.path()).unwrap();
    let error = Rocks::open(dir.path()).err().expect("the second open is refused");
    assert!(matches!(&error, Error::InUse { path } if path == dir.path()), "{error}");
}

/// The tables as they lie in files, not in memory.
fn flush(rocks: &Rocks) {
    rocks.with(|db| Table::ALL.iter().try_for_each(|table| db.flush_cf(family(db, *table)))).unwrap();
}

#[test]
fn a_database_that_waits_for_room_is_not_taken_for_a_closed_one() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Rocks::open(dir.path()).unwrap();
    let reading = || rocks.get(Table::Log, b"a").unwrap_err().kind();
    // As after a heal that failed, when it could not even be read.
    rocks.full.store(true, SeqCst);
    super::write(&rocks.db).take();
    assert_eq!(reading(), io::ErrorKind::StorageFull);
    rocks.heal().unwrap();
    assert_eq!(rocks.get(Table::Log, b"a").unwrap(), None);
    rocks.close();
    assert_eq!(reading(), io::ErrorKind::NotConnected);
}

fn write(rocks: &Rocks, fill: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::default();
    fill(&mut batch);
    rocks.write(&batch).unwrap();
}

#[test]
fn what_was_written_into_a_deleted_range_stays_when_its_room_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Rocks::open(dir.path()).unwrap();
    let key = |n: u64| Bytes::copy_from_slice(&n.to_be_bytes());
    let end = key(u64::MAX);
    write(&rocks, |batch| (0..9).for_each(|n| batch.put(Table::Log, key(n), vec![0])));
    flush(&rocks);
    // The beginning goes, and an end that a new leader does not have; then the log goes on.
    write(&rocks, |batch| batch.delete_range(Table::Log, key(0), key(3)));
    write(&rocks, |batch| batch.delete_range(Table::Log, key(7), end.clone()));
    write(&rocks, |batch| (7..12).for_each(|n| batch.put(Table::Log, key(n), vec![1])));
    flush(&rocks);
    rocks.reclaim().unwrap();
    let rows = rocks.scan(Table::Log, &key(0), &end, usize::MAX).unwrap();
    let found: Vec<(Bytes, u8)> = rows.into_iter().map(|(key, value)| (key, value[0])).collect();
    let expected: Vec<(Bytes, u8)> = (3..12).map(|n| (key(n), u8::from(n >= 7))).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_room_of_what_was_deleted_one_by_one_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Rocks::open(dir.path()).unwrap();
    let key = |n: u32| Bytes::copy_from_slice(&n.to_be_bytes());
    let random = proto::seam::Random::from_seed(1);
    let noise = || (0..512).flat_map(|_| random.u64().to_le_bytes()).collect::<Vec<u8>>();
    write(&rocks, |batch| (0..500).for_each(|n| batch.put(Table::Objects, key(n), noise())));
    flush(&rocks);
    assert!(table_bytes(dir.path()) > 1 << 20);
    write(&rocks, |batch| (0..490).for_each(|n| batch.delete(Table::Objects, key(n))));
    rocks.reclaim().unwrap();
    shrinks_to(dir.path(), 100 << 10);
    assert_eq!(rocks.scan(Table::Objects, &key(0), &key(u32::MAX), usize::MAX).unwrap().len(), 10);
}

/// What the tables take, apart from the log.
fn table_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let files = entries.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "sst"));
    files.map(|entry| entry.metadata().map_or(0, |file| file.len())).sum()
}

/// RocksDB removes files behind its caller's back.
fn shrinks_to(dir: &Path, bytes: u64) {
    let looks = (0..1_000).take_while(|_| {
        std::thread::sleep(Duration::from_millis(10));
        table_bytes(dir) > bytes
    });
    assert!(looks.count() < 1_000, "{} bytes are still taken", table_bytes(dir));
}

#[tokio::test]
async fn what_was_forgotten_goes_file_by_file_once_that_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Rocks::open(dir.path()).unwrap();
    let key = |n: u64| Bytes::copy_from_slice(&n.to_be_bytes());
    let keys = |rocks: &Rocks| {
        let rows = rocks.scan(Table::Log, &[], &key(u64::MAX), usize::MAX).unwrap();
        rows.iter().map(|(key, _)| u64::from_be_bytes(key[..].try_into().unwrap())).collect::<Vec<_>>()
    };
    let random = proto::seam::Random::from_seed(1);
    let noise = || (0..1 << 12).flat_map(|_| random.u64().to_le_bytes()).collect::<Vec<u8>>();
    for file in 0..8 {
        write(&rocks, |batch| (0..4).for_each(|n| batch.put(Table::Log, key(4 * file + n), noise())));
        flush(&rocks);
    }
    assert!(table_bytes(dir.path()) > 1 << 20);
    write(&rocks, |batch| batch.forget(Table::Log, key(29)));
    assert!(rocks.drop_forgotten().unwrap(), "a crash could bring back who needs it");
    assert_eq!(keys(&rocks), (0..32).collect::<Vec<_>>());
    rocks.sync().await.unwrap();
    assert!(!rocks.drop_forgotten().unwrap());
    // Those that are still in level 0 go when they have left it.
    rocks.reclaim().unwrap();
    rocks.drop_forgotten().unwrap();
    shrinks_to(dir.path(), 200 << 10);
    assert_eq!(keys(&rocks), (28..32).collect::<Vec<_>>(), "the last of it shares a file with what stays");
    rocks.close();
    assert_eq!(keys(&Rocks::open(dir.path()).unwrap()), (28..32).collect::<Vec<_>>());
}

/// The tables that come after begin at the front again.
#[tokio::test]
async fn what_was_forgotten_of_tables_set_aside_is_no_matter_of_the_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Rocks::open(dir.path()).unwrap();
    write(&rocks, |batch| batch.forget(Table::Log, Bytes::from_static(b"m")));
    rocks.sync().await.unwrap();
    rocks.set_aside().unwrap();
    write(&rocks, |batch| batch.put(Table::Log, Bytes::from_static(b"a"), vec![1]));
    flush(&rocks);
    rocks.reclaim().unwrap();
    rocks.drop_forgotten().unwrap();
    assert_eq!(rocks.get(Table::Log, b"a").unwrap(), Some(vec![1]));
}

#[tokio::test]
async fn batches_survive_a_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Rocks::open(dir.path()).unwrap();
    let mut batch = Batch::default();
    for key in [b"a", b"b", b"c"] {
        batch.put(Table::Log, Bytes::from_static(key), key.to_vec());
    }
    batch.delete_range(Table::Log, Bytes::from_static(b"a"), Bytes::from_static(b"b"));
    rocks.write(&batch).unwrap();
    rocks.sync().await.unwrap();
    rocks.close();
    assert!(rocks.get(Table::Log, b"b").is_err(), "a closed database answers nothing");

    let rocks = Rocks::open(dir.path()).unwrap();
    let rows = rocks.scan(Table::Log, b"a", b"z", usize::MAX).unwrap();
    assert_eq!(rows.iter().map(|(key, _)| &key[..]).collect::<Vec<_>>(), [b"b", b"c"]);
    assert_eq!(rocks.scan(Table::Log, b"a", b"z", 1).unwrap().len(), 1, "bounded by bytes");
    assert!(rocks.get(Table::Objects, b"b").unwrap().is_none(), "tables are apart");
}

/// Closed, with tables and a log.
fn stopped() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Rocks::open(dir.path()).unwrap();
    write(&rocks, |batch| batch.put(Table::Log, Bytes::from_static(b"a"), vec![1]));
    flush(&rocks);
    write(&rocks, |batch| batch.put(Table::Log, Bytes::from_static(b"b"), vec![2]));
    rocks.close();
    dir
}

#[test]
fn a_file_that_is_missing_or_misnamed_is_damage_and_no_failure() {
    let rewrite = |dir: &Path, change: &dyn Fn(String) -> String| {
        let current = dir.join("CURRENT");
        std::fs::write(&current, change(std::fs::read_to_string(&current).unwrap())).unwrap();
    };
    let remove = |dir: &Path, wanted: &str| {
        let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let gone = files.filter(|path| path.to_str().unwrap().contains(wanted)).map(std::fs::remove_file);
        assert!(gone.map(Result::unwrap).count() > 0, "{wanted}");
    };
    let flip = |at: usize| {
        move |dir: &Path| {
            let mut bytes = std::fs::read(dir.join("CURRENT")).unwrap();
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= 1;
            std::fs::write(dir.join("CURRENT"), bytes).unwrap();
        }
    };
    type Damage<'a> = &'a dyn Fn(&Path);
    let damages: [(&str, Damage); 7] = [
        ("a flipped letter", &flip(2)),
        ("a flipped digit", &flip("MANIFEST-00000".len())),
        ("a flipped end", &flip(usize::MAX)),
        ("nothing in it", &|dir| rewrite(dir, &|_| String::new())),
        ("no manifest", &|dir| remove(dir, "MANIFEST")),
        ("no table", &|dir| remove(dir, ".sst")),
        ("no CURRENT", &|dir| remove(dir, "CURRENT")),
    ];
    for (what, damage) in damages {
        let dir = stopped();
        damage(dir.path());
        let error = Rocks::open(dir.path()).err().unwrap_or_else(|| panic!("{what}: it opens"));
        assert!(matches!(error, Error::Damaged { .. }), "{what}: {error}");
    }
}

#[test]
fn what_rocksdb_says_of_a_full_disk_is_told_from_a_failed_sync() {
    let appended = "IO error: No space left on device: While appending to file: /d/000012.log: No space left on device";
    let synced = "IO error: No space left on device: While fdatasync: /d/000012.log: No space left on device";
    let directory = "IO error: No space left on device: While fsync: /d: No space left on device";
    let scratched = "IO error: While fdatasync: /d/000012.log: Input/output error";
    let refused = "IO error: Writer has previous error.";
    let told = |message| (found_no_room(message), untried(message));
    assert_eq!(told(appended), (true, true));
    assert_eq!(told(refused), (false, true), "a full disk only where a write found it full");
    assert_eq!(told("Not implemented: Not supported operation in read only mode."), (false, true));
    for failed in [synced, directory, scratched, "IO error: While appending to file: /d/000012.log: Input/output error"]
    {
        assert_eq!(told(failed), (false, false), "{failed}");
    }
}

#[tokio::test]
async fn what_waits_for_room_to_be_opened_again_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Rocks::open(dir.path()).unwrap();
    write(&rocks, |batch| batch.put(Table::Log, Bytes::from_static(b"a"), vec![1]));
    flush(&rocks);
    write(&rocks, |batch| batch.put(Table::Meta, Bytes::from_static(b"b"), vec![2]));
    rocks.sync().await.unwrap();
    rocks.full.store(true, SeqCst);
    let message = "IO error: No space left on device: While appending to file".into();
    let no_room = Error::Open { path: dir.path().into(), message };
    {
        let mut db = super::write(&rocks.db);
        drop(db.take());
        let error = rocks.reopened(&mut db, Err(no_room)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
    assert_eq!(rocks.get(Table::Meta, b"b").unwrap().unwrap(), [2], "from the log");
    assert_eq!(rocks.scan(Table::Log, b"a", b"z", 9).unwrap().len(), 1);
    let mut batch = Batch::default();
    batch.put(Table::Log, Bytes::from_static(b"c"), vec![3]);
    assert_eq!(rocks.write(&batch).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(rocks.sync().await.unwrap_err().kind(), io::ErrorKind::StorageFull);
    rocks.heal().unwrap();
    rocks.write(&batch).unwrap();
    rocks.sync().await.unwrap();
    assert_eq!(rocks.scan(Table::Log, b"a", b"z", 9).unwrap().len(), 2);
}

#[test]
fn a_reserve_outlives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Rocks::open(dir.path()).unwrap();
    assert_eq!(rocks.reserved().unwrap(), 0);
    rocks.reserve(1 << 20).unwrap();
    rocks.close();
    let rocks = Rocks::open(dir.path()).unwrap();
    assert_eq!(rocks.reserved().unwrap(), 1 << 20);
    rocks.reserve(0).unwrap();
    assert_eq!(rocks.reserved().unwrap(), 0);
}

#[test]
fn a_disk_that_hangs_does_not_keep_anybody_who_closes_or_reads() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Rocks::open(dir.path()).unwrap();
    // As a sync that does not end.
    let hangs = read(&rocks.db);
    assert!(!rocks.close_within(Duration::from_millis(50)));
    assert!(rocks.get(Table::Log, b"a").is_err(), "at once, though somebody waits for the database");
    drop(hangs);
    assert!(rocks.close_within(Duration::from_secs(20)));
    Rocks::open(dir.path()).expect("it is closed");
    assert!(rocks.save_note(Note::Vote, b"late", true).is_err(), "the directory may be another process's");
    assert_eq!(rocks.note(Note::Vote).unwrap(), None);
}

#[test]
fn a_data_directory_is_made_with_those_above_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/c");
    opening::make(&path).unwrap();
    opening::make(&path).unwrap();
    assert!(path.is_dir());
}

#[test]
fn the_reserve_is_enough_for_opening_a_full_database_again() {
    use super::reopening::HEAL_BYTES;
    use crate::disk::options;
    for shift in 20..50 {
        let total = 1 << shift;
        let reserve = crate::disk::space::Limits::of(total).reserve;
        assert!(options::log_bytes_max(total) + HEAL_BYTES <= reserve, "{shift}");
    }
}
