//! A directory as a crash may find it, and what is to become of it when the crash tears the end of RocksDB's log. For tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tempfile::TempDir;

pub use super::log_records::{BLOCK, HEADER};
use super::rocks::{Error, Rocks};
use super::{Batch, Disk, Table, Write};

pub const SECTOR: usize = 512;
pub const RECYCLED: [u8; 6] = [5, 6, 7, 8, 11, 131];
/// Of a batch that lies in several records, these are not the first.
const NOT_FIRST: [u8; 2] = [3, 4];

/// Of a batch: what one of its values takes, or where in the log it is to end.
enum Size {
    Value(usize),
    End(usize),
}

const FIRST: usize = 200;
/// The fifth is larger than a block. The seventh fills one half of a block, so that the next one begins with a block.
const SIZES: [Size; 12] = [
    Size::Value(FIRST),
    Size::Value(3_000),
    Size::Value(150),
    Size::Value(700),
    Size::Value(40_000),
    Size::End(BLOCK + BLOCK / 2),
    Size::End(2 * BLOCK),
    Size::Value(300),
    Size::Value(130),
    Size::Value(900),
    Size::Value(2_000),
    Size::Value(14_000),
];

type Rows = BTreeMap<(Table, Bytes), Vec<u8>>;

/// Writes to every table, says that it came last, and takes away what the one before wrote. But for the value all have one size.
pub fn batch(number: u64, value: usize) -> Batch {
    let key = |number: u64| Bytes::copy_from_slice(&number.to_be_bytes());
    let mut batch = Batch::default();
    batch.put(Table::Log, key(number), vec![number as u8; value]);
    batch.put(Table::Meta, Bytes::from_static(b"last"), number.to_be_bytes().to_vec());
    batch.delete(Table::Objects, key(number - 1));
    batch.put(Table::Objects, key(number), vec![number as u8; 20]);
    batch.delete_range(Table::History, key(0), key(number));
    batch.put(Table::History, key(number), vec![number as u8; 30]);
    batch
}

fn after(rows: &Rows, batch: &Batch) -> Rows {
    let mut rows = rows.clone();
    for write in batch.writes.clone() {
        match write {
            Write::Put(table, key, value) => drop(rows.insert((table, key), value)),
            Write::Delete(table, key) => drop(rows.remove(&(table, key))),
            Write::DeleteRange(table, from, to) => {
                rows.retain(|(of, key), _| *of != table || *key < from || *key >= to);
            }
            Write::Forget(..) => {}
        }
    }
    rows
}

fn found(rocks: &Rocks) -> Rows {
    let mut found = Rows::new();
    for table in Table::ALL {
        let rows = rocks.scan(table, &[], &[0xff; 9], usize::MAX).unwrap();
        found.extend(rows.into_iter().map(|(key, value)| ((table, key), value)));
    }
    found
}

pub fn newest_log(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|kind| kind == "log")).max().expect("there is one")
}

pub fn log_bytes(dir: &Path) -> usize {
    newest_log(dir).metadata().unwrap().len() as usize
}

/// Those of a directory whose database may run.
pub struct Files(pub BTreeMap<String, Vec<u8>>);

impl Files {
    pub fn of(dir: &Path) -> Files {
        let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.is_file() && !path.ends_with("LOCK"));
        // RocksDB removes files behind its caller's back.
        let read = |path: PathBuf| Some((path.file_name()?.to_str()?.to_owned(), fs::read(&path).ok()?));
        Files(files.filter_map(read).collect())
    }

    pub fn newest(&self, is_wanted: impl Fn(&str) -> bool) -> &str {
        self.0.keys().rfind(|name| is_wanted(name)).expect("there is one")
    }

    /// A copy in which one file is another.
    pub fn with(&self, name: &str, bytes: &[u8]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (file, own) in &self.0 {
            fs::write(dir.path().join(file), if file == name { bytes } else { &own[..] }).unwrap();
        }
        dir
    }
}

/// Where the records of a sound log begin.
pub fn records(log: &[u8]) -> Vec<usize> {
    let (mut places, mut at) = (Vec::new(), 0);
    while at + HEADER <= log.len() {
        if BLOCK - at % BLOCK < HEADER {
            at = at.next_multiple_of(BLOCK);
            continue;
        }
        places.push(at);
        at = end(log, at);
    }
    places
}

/// Of the record that begins there, as its header has it.
fn end(log: &[u8], start: usize) -> usize {
    start + HEADER + usize::from(u16::from_le_bytes([log[start + 4], log[start + 5]]))
}

/// Of a sector, the part between the two places.
fn lacks_a_sector(log: &[u8], from: usize, to: usize) -> bool {
    let sectors = (from / SECTOR..to.div_ceil(SECTOR)).map(|sector| sector * SECTOR);
    sectors.map(|at| &log[at.max(from)..to.min(at + SECTOR)]).any(|part| part.iter().all(|byte| *byte == 0))
}

/// One batch is in tables, a dozen is in the log.
pub struct Crashed {
    pub files: Files,
    /// The log's name.
    pub name: String,
    /// What is there after each batch, and where that ends in the log. The first is the one in tables.
    states: Vec<Rows>,
    pub ends: Vec<usize>,
}

impl Crashed {
    pub fn new() -> Crashed {
        let dir = tempfile::tempdir().unwrap();
        let first = batch(1, 500);
        let rocks = Rocks::open(dir.path()).unwrap();
        rocks.write(&first).unwrap();
        rocks.close();
        // This writes it into tables.
        let rocks = Rocks::open(dir.path()).unwrap();
        let (mut states, mut ends) = (vec![after(&Rows::new(), &first)], vec![log_bytes(dir.path())]);
        for size in SIZES {
            let value = match size {
                Size::Value(value) => value,
                Size::End(end) => end - ends[ends.len() - 1] - (ends[1] - ends[0] - FIRST),
            };
            let next = batch(states.len() as u64 + 1, value);
            rocks.write(&next).unwrap();
            states.push(after(&states[states.len() - 1], &next));
            ends.push(log_bytes(dir.path()));
        }
        assert_eq!(ends[6..8], [BLOCK + BLOCK / 2, 2 * BLOCK]);
        let files = Files::of(dir.path());
        let name = files.newest(|name| name.ends_with(".log")).to_owned();
        let crashed = Crashed { files, name, states, ends };
        assert_eq!(crashed.log().len(), crashed.ends[SIZES.len()]);
        crashed
    }

    pub fn log(&self) -> &[u8] {
        &self.files.0[&self.name]
    }

    /// How many batches of a torn log are to be there; `None`: it is damaged. Never fewer than lie before the tear as a whole, nor more.
    fn expected(&self, torn: &[u8]) -> Option<usize> {
        let at = torn.iter().zip(self.log()).take_while(|(torn, sound)| torn == sound).count();
        let whole = Some(self.ends.iter().filter(|end| **end <= at).count() - 1);
        // It is cut, and nothing follows.
        if at == torn.len() {
            return whole;
        }
        let start = records(self.log()).into_iter().rfind(|start| *start <= at).expect("some come before");
        let block_end = (start / BLOCK + 1) * BLOCK;
        let is_empty = |header: &[u8]| header[4..HEADER] == [0; 3];
        let seems_to_end = if is_empty(&torn[start..]) { block_end } else { end(torn, start).min(block_end) };
        // A sector of it never reached the platter.
        if lacks_a_sector(torn, start, seems_to_end.next_multiple_of(SECTOR).min(torn.len())) {
            return whole;
        }
        let mut later = torn.chunks(BLOCK).skip(block_end / BLOCK);
        match torn[start + HEADER - 1] {
            kind if RECYCLED.contains(&kind) => None,
            // Nothing may follow on nothing, and nothing is no end of a batch that has begun.
            _ if is_empty(&torn[start..]) => {
                let follows = later.any(|block| block.len() >= HEADER && !is_empty(block));
                whole.filter(|_| !follows && !NOT_FIRST.contains(&self.log()[start + HEADER - 1]))
            }
            // It seems to have been written as far as the file goes. But no record goes beyond its block.
            _ if end(torn, start) > torn.len().min(block_end) => whole.filter(|_| torn.len() < block_end),
            // Its checksum does not match.
            _ => None,
        }
    }

    /// What comes of it is what is to be expected. Returns that.
    #[track_caller]
    pub fn holds(&self, torn: &[u8], what: &str) -> Option<usize> {
        let dir = self.files.with(&self.name, torn);
        let opened = match Rocks::open(dir.path()) {
            Ok(rocks) => {
                let found = found(&rocks);
                rocks.close();
                let batches = self.states.iter().position(|state| *state == found);
                Some(batches.unwrap_or_else(|| panic!("{what}: what is there is not what was there after any batch")))
            }
            Err(Error::Damaged { path, message }) => {
                let names_the_log = message.starts_with(&format!("{}: ", self.name));
                assert!(path == dir.path() && names_the_log, "{what}: {message}");
                None
            }
            Err(error) => panic!("{what}: {error}"),
        };
        assert_eq!(opened, self.expected(torn), "{what}");
        opened
    }

    /// Of each of the last nine records: so many bytes into it, its middle, and its last byte.
    pub fn places(&self, offsets: &[usize]) -> BTreeSet<usize> {
        let starts = records(self.log());
        let places = starts[starts.len() - 9..].iter().flat_map(|start| {
            let end = end(self.log(), *start);
            offsets.iter().map(move |offset| start + offset).chain([usize::midpoint(*start, end), end - 1])
        });
        places.collect()
    }
}
