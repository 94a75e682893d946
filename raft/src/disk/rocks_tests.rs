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
    let tables = || {
        let entries = std::fs::read_dir(dir.path()).unwrap().flatten();
        let files = entries.filter(|entry| entry.path().extension().is_some_and(|kind| kind == "sst"));
        files.map(|entry| entry.metadata().unwrap().len()).sum::<u64>()
    };
    let key = |n: u32| Bytes::copy_from_slice(&n.to_be_bytes());
    let random = proto::seam::Random::from_seed(1);
    let noise = || (0..512).flat_map(|_| random.u64().to_le_bytes()).collect::<Vec<u8>>();
    write(&rocks, |batch| (0..500).for_each(|n| batch.put(Table::Objects, key(n), noise())));
    flush(&rocks);
    assert!(tables() > 1 << 20, "{}", tables());
    write(&rocks, |batch| (0..490).for_each(|n| batch.delete(Table::Objects, key(n))));
    rocks.reclaim().unwrap();
    // RocksDB removes files behind its caller's back.
    let looks = (0..1_000).take_while(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        tables() > 100 << 10
    });
    assert!(looks.count() < 1_000, "{} bytes are still taken", tables());
    assert_eq!(rocks.scan(Table::Objects, &key(0), &key(u32::MAX), usize::MAX).unwrap().len(), 10);
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
