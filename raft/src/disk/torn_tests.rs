//! What a crash can leave of the end of RocksDB's log: it is cut, or is as long as it was to be and has nothing or something else from
//! some place on, or lacks pages or sectors. A batch is there as a whole or not at all, and never without those before it, or the log is
//! named as damaged: `Crashed::expected` says which of the two comes when. Whether what is missing had been durable the mark tells.

use std::fs;

use openraft::EntryPayload;
use openraft::storage::RaftLogStorageExt as _;
use proto::seam::Random;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::disk::flusher::Flusher;
use crate::disk::room::Room;
use crate::disk::torn::{BLOCK, Crashed, Files, HEADER, RECYCLED, SECTOR, batch, log_bytes, newest_log, records};
use crate::log::{LogStore, rows};
use crate::metrics::Metrics;
use crate::types::{Entry, Proposal, log_id};

const PAGE: usize = 4 << 10;

#[test]
fn a_log_that_is_cut_has_the_batches_before_the_cut_and_is_not_damaged() {
    let crashed = Crashed::new();
    for at in crashed.places(&[0, 3, HEADER]) {
        let opened = crashed.holds(&crashed.log()[..at], &format!("cut at byte {at}"));
        assert!(opened.is_some(), "cut at byte {at}");
    }
    for (whole, at) in crashed.ends.iter().enumerate().step_by(crashed.ends.len() - 1) {
        assert_eq!(crashed.holds(&crashed.log()[..*at], "cut between two batches"), Some(whole));
    }
}

/// As a loss of power leaves it.
#[test]
fn a_log_with_nothing_from_a_sector_on_has_the_batches_before() {
    let crashed = Crashed::new();
    let bytes = crashed.log().len();
    for at in (BLOCK / 2..bytes).step_by(SECTOR) {
        let mut torn = crashed.log().to_vec();
        torn[at..].fill(0);
        assert!(crashed.holds(&torn, &format!("nothing from byte {at} on")).is_some(), "nothing from byte {at} on");
    }
}

#[test]
fn a_log_with_nothing_from_some_other_place_on_is_damaged_where_every_sector_of_a_record_has_something() {
    let crashed = Crashed::new();
    let (mut opened, mut damaged) = (0, 0);
    for at in crashed.places(&[0, 4, 5]) {
        let mut torn = crashed.log().to_vec();
        torn[at..].fill(0);
        match crashed.holds(&torn, &format!("nothing from byte {at} on")) {
            Some(_) => opened += 1,
            None => damaged += 1,
        }
    }
    assert!(opened >= 2 * 9 && damaged > 4, "{opened} opened, {damaged} were damaged");
}

#[test]
fn a_log_with_something_else_from_some_place_on_is_damaged_but_where_that_looks_like_a_batch_that_is_not_finished() {
    let crashed = Crashed::new();
    let (mut opened, mut damaged) = (0, 0);
    for at in crashed.places(&[0, HEADER - 1]) {
        let (mut torn, random) = (crashed.log().to_vec(), Random::from_seed(at as u64));
        torn[at..].iter_mut().for_each(|byte| *byte ^= 1 + random.below(255) as u8);
        match crashed.holds(&torn, &format!("something else from byte {at} on")) {
            Some(_) => opened += 1,
            None => damaged += 1,
        }
    }
    assert!(opened > 0 && damaged > 2 * 9, "{opened} opened, {damaged} were damaged");
}

#[test]
fn a_log_that_lacks_a_page_or_a_sector_has_no_batch_from_behind_it() {
    let crashed = Crashed::new();
    let bytes = crashed.log().len();
    let pages = (BLOCK..bytes).step_by(PAGE).map(|at| (at, PAGE));
    let sectors = (2 * BLOCK..bytes).step_by(3 * SECTOR).map(|at| (at, SECTOR));
    for (at, length) in pages.chain(sectors) {
        let mut torn = crashed.log().to_vec();
        torn[at..bytes.min(at + length)].fill(0);
        let opened = crashed.holds(&torn, &format!("{length} bytes lack at byte {at}"));
        assert!(opened.is_some_and(|batches| crashed.ends[batches] <= at), "{length} bytes lack at byte {at}");
    }
}

/// RocksDB would go round for ever. One bit makes such a record of a sound one.
#[test]
fn a_record_of_a_kind_that_no_log_has_is_named() {
    let crashed = Crashed::new();
    let manifest = crashed.files.newest(|name| name.starts_with("MANIFEST-"));
    let kinds = RECYCLED.map(|kind| (&*crashed.name, kind));
    for (name, kind) in kinds.into_iter().chain([(manifest, 5)]) {
        let mut bytes = crashed.files.0[name].clone();
        let second = records(&bytes)[1];
        bytes[second + HEADER - 1] = kind;
        let error = Rocks::open(crashed.files.with(name, &bytes).path()).err().expect("it is damaged");
        let is_named = matches!(&error, Error::Damaged { message, .. } if message.starts_with(&format!("{name}: ")));
        assert!(is_named, "kind {kind} in {name}: {error}");
    }
}

#[test]
fn a_bit_that_turned_over_is_named_with_the_file_and_the_record_that_it_is_in() {
    let crashed = Crashed::new();
    let manifest = crashed.files.newest(|name| name.starts_with("MANIFEST-"));
    for name in [&*crashed.name, manifest] {
        let mut bytes = crashed.files.0[name].clone();
        // Some records of a manifest are empty.
        let is_large = |at: &usize| bytes[at + 4..at + 6] != [0, 0];
        let later = records(&bytes).into_iter().skip(1).find(is_large).expect("there are several");
        bytes[later + HEADER] ^= 4;
        let error = Rocks::open(crashed.files.with(name, &bytes).path()).err().expect("it is damaged");
        let told = format!("{name}: the record at byte {later} does not match its checksum (Corruption: ");
        let is_told = matches!(&error, Error::Damaged { message, .. } if message.starts_with(&told));
        assert!(is_told, "{told}: {error}");
    }
}

#[test]
fn whose_a_directory_is_comes_before_what_is_wrong_with_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Rocks::open(dir.path()).unwrap();
    rocks.write(&batch(1, 500)).unwrap();
    let mut log = fs::read(newest_log(dir.path())).unwrap();
    log[HEADER - 1] = RECYCLED[0];
    fs::write(newest_log(dir.path()), log).unwrap();
    assert!(matches!(Rocks::open(dir.path()).err(), Some(Error::InUse { .. })));
    rocks.close();
    assert!(matches!(Rocks::open(dir.path()).err(), Some(Error::Damaged { .. })));
}

fn entry(index: u64) -> Entry {
    Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(Proposal(vec![7u8; 300].into())) }
}

fn opened(dir: &Path) -> (Arc<Rocks>, Flusher, LogStore) {
    let (rocks, metrics) = (Arc::new(Rocks::open(dir).unwrap()), Arc::new(Metrics::default()));
    let room = Room::new(rocks.clone(), metrics.clone(), CancellationToken::new());
    let flusher = Flusher::start(room.clone(), metrics.clone());
    let log = LogStore::open(room, flusher.clone(), metrics, Arc::default()).unwrap();
    (rocks, flusher, log)
}

/// RocksDB opens a log that is cut or has nothing from a sector on, and the log of this replica ends there: what was durable is missed
/// all the same, and what was not is not.
#[tokio::test]
async fn what_a_torn_log_lacks_is_held_against_the_mark() {
    const DURABLE: u64 = 4;
    let dir = tempfile::tempdir().unwrap();
    let (rocks, _flusher, mut log) = opened(dir.path());
    let mut ends = Vec::new();
    for index in 0..DURABLE {
        log.blocking_append([entry(index)]).await.unwrap();
        ends.push(log_bytes(dir.path()));
    }
    for index in DURABLE..DURABLE + 2 {
        let mut unsynced = Batch::default();
        unsynced.put(Table::Log, rows::key(index), rows::row(&entry(index)));
        rocks.write(&unsynced).unwrap();
        ends.push(log_bytes(dir.path()));
    }
    let files = Files::of(dir.path());
    let name = files.newest(|name| name.ends_with(".log"));
    let log = &files.0[name];
    let cut = ends.iter().flat_map(|end| [end - 1, *end]).map(|at| (at, log[..at].to_vec(), "cut"));
    let empty = (SECTOR..log.len()).step_by(SECTOR).map(|at| {
        let mut torn = log.clone();
        torn[at..].fill(0);
        (at, torn, "nothing")
    });
    for (at, torn, how) in cut.chain(empty) {
        let copy = files.with(name, &torn);
        let (_rocks, flusher, log) = opened(copy.path());
        let whole = ends.iter().filter(|end| **end <= at).count() as u64;
        assert_eq!(log.last().map_or(0, |last| last.index + 1), whole, "{how} at byte {at} of {ends:?}");
        match flusher.mark().hold_against(log.last()) {
            Ok(()) => assert!(whole >= DURABLE, "nobody misses what was durable: {how} at byte {at} of {ends:?}"),
            Err(error) => {
                assert!(whole < DURABLE, "{how} at byte {at} of {ends:?}: {error}");
                assert!(error.kind() == io::ErrorKind::InvalidData && error.to_string().ends_with("its end is lost"));
            }
        }
    }
}
