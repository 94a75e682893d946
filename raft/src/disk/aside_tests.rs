//! Damaged tables are moved, and a crash at any step of it loses none of them.

use std::ffi::OsString;
use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::disk::rocks::Rocks;
use crate::disk::room::Room;
use crate::disk::{Batch, Disk, Table};
use crate::log::mark::Mark;
use crate::metrics::Metrics;
use crate::types::log_id;

const KEY: &[u8] = b"key";

fn put(rocks: &Rocks, value: &str) {
    let mut batch = Batch::default();
    batch.put(Table::Objects, Bytes::from_static(KEY), value.into());
    rocks.write(&batch).unwrap();
}

/// Two runs leave tables, a log that is not in them, and manifests. Returns RocksDB's files.
fn filled(dir: &Path, value: &str) -> Vec<OsString> {
    for value in ["older", value] {
        let rocks = Rocks::open(dir).unwrap();
        put(&rocks, value);
        rocks.close();
    }
    let mut names: Vec<OsString> = files(dir).unwrap().iter().map(|file| file.file_name().unwrap().into()).collect();
    names.sort();
    let has = |kind: &str| names.iter().any(|name| name.to_str().unwrap().contains(kind));
    assert!(["CURRENT", "MANIFEST", ".log", ".sst"].into_iter().all(has), "{names:?}");
    names
}

fn value(dir: &Path) -> Option<String> {
    let rocks = Rocks::open(dir).unwrap();
    let value = rocks.get(Table::Objects, KEY).unwrap().map(|value| String::from_utf8(value).unwrap());
    rocks.close();
    value
}

/// What a process that dies after so many moves leaves behind.
fn dies_after(moves: usize, dir: &Path, names: impl IntoIterator<Item = OsString>) {
    fs::create_dir(dir.join(MOVING)).unwrap();
    for name in names.into_iter().take(moves) {
        fs::rename(dir.join(&name), dir.join(MOVING).join(&name)).unwrap();
    }
}

#[test]
fn a_crash_in_the_middle_loses_nothing_and_the_next_start_finishes_it() {
    let count = filled(tempfile::tempdir().unwrap().path(), "x").len();
    for moves in 0..=count {
        for backwards in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path();
            let mut names = filled(dir, "of the second");
            if backwards {
                names.reverse();
            }
            // The remains of an earlier time go last, or have gone already.
            if moves % 2 == 0 {
                fs::create_dir(dir.join(ASIDE)).unwrap();
                fs::write(dir.join(ASIDE).join("000001.sst"), "of the first").unwrap();
            }
            dies_after(moves, dir, names);
            assert_eq!(value(dir), None, "{moves} moves: it begins anew");
            assert!(!dir.join(MOVING).exists());
            assert_eq!(value(&dir.join(ASIDE)).as_deref(), Some("of the second"), "{moves} moves");
        }
    }
}

#[test]
fn it_is_moved_as_a_whole_and_replaces_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    for run in ["first", "second"] {
        filled(dir.path(), run);
        set_aside(dir.path()).unwrap();
        assert_eq!(value(&dir.path().join(ASIDE)).as_deref(), Some(run));
    }
}

#[tokio::test]
async fn tables_that_were_not_filled_again_do_not_replace_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let aside = || value(&dir.join(ASIDE)).unwrap();
    let rocks = Arc::new(Rocks::open(dir).unwrap());
    let metrics = Arc::new(Metrics::default());
    let marked =
        |rocks: &Arc<Rocks>| Mark::open(Room::new(rocks.clone(), metrics.clone(), CancellationToken::new()), &metrics);
    let mark = marked(&rocks);
    put(&rocks, "all of it");
    mark.raise(log_id(1, 7)).await.unwrap();
    rocks.set_aside().unwrap();
    mark.lower(None).await.unwrap();
    put(&rocks, "it abstains");
    rocks.set_aside().unwrap();
    assert_eq!(aside(), "all of it");
    assert_eq!(rocks.get(Table::Objects, KEY).unwrap(), None, "it begins anew all the same");
    // Some of the dropped files are left by a crash.
    put(&rocks, "it abstains");
    rocks.close();
    fs::remove_file(dir.join("CURRENT")).unwrap();
    let error = Rocks::open(dir).err().expect("it is no database any more");
    assert!(matches!(error, crate::disk::rocks::Error::Damaged { .. }), "{error}");
    set_aside(dir).unwrap();
    assert_eq!(aside(), "all of it");

    let rocks = Arc::new(Rocks::open(dir).unwrap());
    put(&rocks, "filled by the others");
    marked(&rocks).raise(log_id(2, 9)).await.unwrap();
    rocks.set_aside().unwrap();
    assert_eq!(aside(), "filled by the others");
}

#[test]
fn what_is_not_rocksdb_s_stays_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    filled(dir, "x");
    fs::create_dir_all(dir.join("lost+found")).unwrap();
    fs::create_dir_all(dir.join("000123.log")).unwrap();
    let foreign = ["vote", "mark.new", "reserve", "notes.txt"];
    foreign.iter().for_each(|name| fs::write(dir.join(name), "x").unwrap());
    set_aside(dir).unwrap();
    assert!(files(dir).unwrap().is_empty());
    assert!(foreign.iter().chain(&["lost+found", "000123.log", "LOCK"]).all(|name| dir.join(name).exists()));
}

#[test]
fn rocksdb_s_files_are_known_by_their_names() {
    for name in [
        "CURRENT",
        "IDENTITY",
        "LOG",
        "LOG.old",
        "LOG.old.1764327275000001",
        "MANIFEST-000004",
        "OPTIONS-000007",
        "OPTIONS-000007.dbtmp",
        "000012.log",
        "000013.sst",
        "000014.blob",
        "000005.dbtmp",
    ] {
        assert!(is_rocksdbs(name), "{name}");
    }
    for name in [
        "LOCK",
        "vote",
        "vote.new",
        "mark",
        "mark.new",
        "reserve",
        "damaged",
        "damaged.new",
        "lost+found",
        "LOG.txt",
        "notes.log",
        "MANIFEST-",
        "MANIFEST-old",
        "12.txt",
        ".sst",
        "",
    ] {
        assert!(!is_rocksdbs(name), "{name}");
    }
}
