//! The tables in one RocksDB: a column family each, one write-ahead log. Acts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rocksdb::properties::ESTIMATE_NUM_KEYS;
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB, IteratorMode, Options, ReadOptions, WriteBatch,
};

use super::leftovers::Leftovers;
use super::{Batch, Disk, Free, Note, Row, Table, Write, aside, note, options};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot make the data directory {path}")]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the damaged database in {path} cannot be set aside")]
    Aside {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the data directory {path} is in use by another process")]
    InUse { path: PathBuf },
    #[error("the database in {path} cannot be opened: {message}")]
    Open { path: PathBuf, message: String },
    #[error("the database in {path} is damaged: {message}")]
    Damaged { path: PathBuf, message: String },
}

/// Room that is set aside; RocksDB takes no notice of the file.
const RESERVE: &str = "reserve";
/// A reopening writes the tables out of the log, and some small files beside.
const HEAL_BYTES: u64 = 1 << 20;
/// A database that is not closed within this has a disk that does not answer. Nobody waits for it any longer.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

pub struct Rocks {
    path: PathBuf,
    /// `None` after [`Disk::close`]. One that could not be opened anew for lack of room can be read only.
    db: Arc<RwLock<Option<DB>>>,
    closed: AtomicBool,
    /// A write found no room: no other is tried until the database was opened anew.
    full: Arc<AtomicBool>,
    leftovers: Mutex<Leftovers>,
}

impl Rocks {
    pub fn open(path: &Path) -> Result<Rocks, Error> {
        make(path).map_err(|source| Error::Directory { path: path.into(), source })?;
        aside::resume(path).map_err(|source| Error::Aside { path: path.into(), source })?;
        let db = match open(path) {
            Err(Error::Open { message, .. }) if no_space(&message) && path.join(RESERVE).exists() => {
                tracing::warn!("there is no room to open the database: the reserve is given back");
                let given_back = std::fs::remove_file(path.join(RESERVE));
                given_back.map_err(|source| Error::Directory { path: path.into(), source })?;
                open(path)?
            }
            opened => opened?,
        };
        let db = Arc::new(RwLock::new(Some(db)));
        let (closed, full, leftovers) = (AtomicBool::new(false), Arc::default(), Mutex::default());
        Ok(Rocks { path: path.into(), db, closed, full, leftovers })
    }

    fn with<T>(&self, run: impl FnOnce(&DB) -> Result<T, rocksdb::Error>) -> io::Result<T> {
        // Not behind somebody who waits for a disk that hangs.
        if self.closed.load(SeqCst) {
            return Err(closed());
        }
        match &*read(&self.db) {
            Some(db) => run(db).map_err(|error| self.explain(error)),
            None => Err(closed()),
        }
    }

    fn leftovers(&self) -> MutexGuard<'_, Leftovers> {
        self.leftovers.lock().expect("no holder of the leftovers panics")
    }

    fn explain(&self, error: rocksdb::Error) -> io::Error {
        let message = error.to_string();
        let kind = match error.kind() {
            rocksdb::ErrorKind::Corruption => io::ErrorKind::InvalidData,
            _ if found_no_room(&message) => io::ErrorKind::StorageFull,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, format!("{}: {message}", self.path.display()))
    }

    /// What an attempt to open the database anew comes to.
    fn reopened(&self, db: &mut Option<DB>, opened: Result<DB, Error>) -> io::Result<()> {
        let error = match opened {
            Ok(opened) => {
                *db = Some(opened);
                self.full.store(false, SeqCst);
                tracing::info!("the database takes writes again");
                return Ok(());
            }
            Err(error) => error,
        };
        // The log is read for others and the history for watchers meanwhile.
        *db = open_to_read(&self.path)
            .inspect_err(|error| tracing::warn!(%error, "the database cannot even be read"))
            .ok();
        let kind = match &error {
            Error::Open { message, .. } if found_no_room(message) => io::ErrorKind::StorageFull,
            Error::Damaged { .. } => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        Err(io::Error::new(kind, error))
    }

    /// Returns whether it was done in time. It is done in any case once the disk answers.
    fn close_within(&self, within: Duration) -> bool {
        self.closed.store(true, SeqCst);
        let db = self.db.clone();
        let (done, closed) = mpsc::channel();
        std::thread::spawn(move || {
            // So that a compaction that somebody waits for comes to its end.
            if let Some(db) = &*read(&db) {
                db.cancel_all_background_work(false);
            }
            // Held to the end: whoever closes it, too, waits for that.
            let mut db = write(&db);
            if let Some(db) = db.take() {
                db.cancel_all_background_work(true);
            }
            let _ = done.send(());
        });
        closed.recv_timeout(within).is_ok()
    }

    /// What RocksDB's log takes, all of which a reopening may have to write once more.
    fn log_bytes(&self) -> u64 {
        let Ok(entries) = std::fs::read_dir(&self.path) else { return 0 };
        let logs = entries.flatten().filter(|entry| has_kind(&entry.path(), "log"));
        logs.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
    }
}

fn no_space(message: &str) -> bool {
    message.contains("No space left") || message.contains("Space limit reached")
}

/// A write that found no room. A full disk that shows only in a sync is a failed sync like any other.
fn found_no_room(message: &str) -> bool {
    no_space(message) && !message.contains("fsync") && !message.contains("fdatasync")
}

/// RocksDB's refusal of a sync for a write that failed before, or because it cannot write at all: it did not try.
fn untried(message: &str) -> bool {
    found_no_room(message) || message.contains("Writer has previous error") || message.contains("read only mode")
}

fn full(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, message.into())
}

fn closed() -> io::Error {
    io::Error::other("the database is closed")
}

/// Makes the directory, so that it is there after a crash, too.
fn make(path: &Path) -> io::Result<()> {
    let above = |path: &Path| match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let missing: Vec<&Path> = path.ancestors().take_while(|dir| *dir != Path::new("") && !dir.exists()).collect();
    std::fs::create_dir_all(path)?;
    missing.into_iter().try_for_each(|dir| aside::sync(&above(dir)))
}

fn open(path: &Path) -> Result<DB, Error> {
    if lost_its_head(path) {
        return Err(Error::Damaged { path: path.into(), message: "CURRENT is missing, and tables are there".into() });
    }
    DB::open_cf_descriptors(&database(path), path, families()).map_err(|error| failure(path, &error))
}

/// RocksDB would take it for a new database, and delete the tables.
fn lost_its_head(path: &Path) -> bool {
    let Ok(mut entries) = std::fs::read_dir(path) else { return false };
    let is_table = |entry: io::Result<std::fs::DirEntry>| entry.is_ok_and(|entry| has_kind(&entry.path(), "sst"));
    !path.join("CURRENT").exists() && entries.any(is_table)
}

fn has_kind(path: &Path, kind: &str) -> bool {
    path.extension().is_some_and(|found| found == kind)
}

fn open_to_read(path: &Path) -> Result<DB, Error> {
    let opened = DB::open_cf_descriptors_read_only(&database(path), path, families(), false);
    opened.map_err(|error| failure(path, &error))
}

fn database(path: &Path) -> Options {
    options::database(free(path).map_or(u64::MAX, |free| free.total_bytes))
}

fn families() -> [ColumnFamilyDescriptor; Table::ALL.len()] {
    Table::ALL.map(|table| ColumnFamilyDescriptor::new(table.name(), options::table(table)))
}

fn failure(path: &Path, error: &rocksdb::Error) -> Error {
    let message = error.to_string();
    let corrupt = error.kind() == rocksdb::ErrorKind::Corruption;
    // A file that another one names. What is not there at all is made.
    let lost = message.contains("No such file") && path.join("CURRENT").exists();
    // RocksDB has no error kind of its own for a held LOCK file: it reports the system's message.
    match message.contains("/LOCK") && message.contains("lock") {
        true => Error::InUse { path: path.into() },
        false if corrupt || lost => Error::Damaged { path: path.into(), message },
        false => Error::Open { path: path.into(), message },
    }
}

/// The note in a directory whose database is not open.
pub fn note(path: &Path, note: Note) -> io::Result<Option<Vec<u8>>> {
    note::load(path, note)
}

/// Only while the database is not open.
pub fn set_aside(path: &Path) -> io::Result<()> {
    aside::set_aside(path)
}

fn read(db: &RwLock<Option<DB>>) -> RwLockReadGuard<'_, Option<DB>> {
    db.read().expect("no holder of the database panics")
}

fn write(db: &RwLock<Option<DB>>) -> RwLockWriteGuard<'_, Option<DB>> {
    db.write().expect("no holder of the database panics")
}

fn family(db: &DB, table: Table) -> &ColumnFamily {
    db.cf_handle(table.name()).expect("every table was opened")
}

#[async_trait]
impl Disk for Rocks {
    fn write(&self, batch: &Batch) -> io::Result<()> {
        if self.full.load(SeqCst) {
            return Err(full("the database waits for room to be opened again"));
        }
        self.with(|db| {
            let mut out = WriteBatch::with_capacity_bytes(batch.bytes + 32 * batch.writes.len());
            for write in &batch.writes {
                match write {
                    Write::Put(table, key, value) => out.put_cf(family(db, *table), key, value),
                    Write::Delete(table, key) => out.delete_cf(family(db, *table), key),
                    Write::DeleteRange(table, from, to) => out.delete_range_cf(family(db, *table), from, to),
                }
            }
            let written = db.write(out);
            // Told while the database is held, so that no reopening comes in between.
            if written.as_ref().is_err_and(|error| found_no_room(error.as_ref())) {
                self.full.store(true, SeqCst);
            }
            if written.is_ok() {
                self.leftovers().note(batch);
            }
            written
        })
    }

    async fn sync(&self) -> io::Result<()> {
        if self.closed.load(SeqCst) {
            return Err(closed());
        }
        let (db, full, path) = (self.db.clone(), self.full.clone(), self.path.clone());
        let sync = move || {
            let db = read(&db);
            let Some(db) = &*db else { return Err(closed()) };
            let Err(error) = db.flush_wal(true) else { return Ok(()) };
            // Told, and looked at, while the database is held.
            if found_no_room(error.as_ref()) {
                full.store(true, SeqCst);
            }
            let kind = match full.load(SeqCst) && untried(error.as_ref()) {
                true => io::ErrorKind::StorageFull,
                false => io::ErrorKind::Other,
            };
            Err(io::Error::new(kind, format!("{}: {error}", path.display())))
        };
        tokio::task::spawn_blocking(sync).await.map_err(io::Error::other)?
    }

    /// Opens the database anew: that reads the log back, writes all it holds into tables, and syncs these.
    fn heal(&self) -> io::Result<()> {
        if !self.full.load(SeqCst) {
            return Ok(());
        }
        let (free, needed) = (self.free()?.map_or(u64::MAX, |free| free.bytes), self.log_bytes() + HEAL_BYTES);
        if free < needed {
            return Err(full(format!("{free} bytes are free, {needed} are needed to open the database again")));
        }
        // A compaction that somebody waits for would keep everybody waiting, and the database goes anyway.
        if let Some(db) = &*read(&self.db) {
            db.cancel_all_background_work(false);
        }
        let mut db = write(&self.db);
        if self.closed.load(SeqCst) {
            return Err(closed());
        }
        drop(db.take());
        self.reopened(&mut db, open(&self.path))
    }

    fn free(&self) -> io::Result<Option<Free>> {
        free(&self.path).map(Some)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let path = self.path.join(RESERVE);
        if bytes == 0 {
            return match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            };
        }
        let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            // A file system that cannot set room aside: then there is no reserve.
            Err(rustix::io::Errno::OPNOTSUPP) => std::fs::remove_file(&path),
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                Err(error.into())
            }
        }
    }

    fn reserved(&self) -> io::Result<u64> {
        match std::fs::metadata(self.path.join(RESERVE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            found => found.map(|found| found.len()),
        }
    }

    fn save_note(&self, note: Note, bytes: &[u8], durable: bool) -> io::Result<()> {
        note::save(&self.path, note, bytes, durable)
    }

    fn note(&self, note: Note) -> io::Result<Option<Vec<u8>>> {
        note::load(&self.path, note)
    }

    fn set_aside(&self) -> io::Result<()> {
        let mut db = write(&self.db);
        drop(db.take());
        set_aside(&self.path)?;
        *db = Some(open(&self.path).map_err(|error| io::Error::other(error.to_string()))?);
        self.full.store(false, SeqCst);
        Ok(())
    }

    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.with(|db| db.get_cf(family(db, table), key))
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], bytes_max: usize) -> io::Result<Vec<Row>> {
        self.with(|db| {
            let mut options = ReadOptions::default();
            options.set_iterate_upper_bound(to);
            options.fill_cache(false);
            options.set_verify_checksums(true);
            let start = IteratorMode::From(from, rocksdb::Direction::Forward);
            let (mut rows, mut bytes) = (Vec::new(), 0);
            for row in db.iterator_cf_opt(family(db, table), options, start) {
                let (key, value) = row?;
                bytes += value.len();
                rows.push((Bytes::from(key), value.into_vec()));
                if bytes >= bytes_max {
                    break;
                }
            }
            Ok(rows)
        })
    }

    /// By compactions, which stop neither reads nor writes. Never by dropping files that lie in a deleted range: a newer
    /// row may lie there, in a file of its own.
    fn reclaim(&self) -> io::Result<()> {
        if self.full.load(SeqCst) {
            return Ok(());
        }
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        self.with(|db| {
            let rows = |table| {
                let rows = db.property_int_value_cf(family(db, table), ESTIMATE_NUM_KEYS);
                rows.ok().flatten().unwrap_or(u64::MAX)
            };
            let worth = self.leftovers().take(rows);
            for (table, range) in worth {
                db.compact_range_cf_opt(family(db, table), Some(&range.from), Some(&range.to), &options);
            }
            Ok(())
        })
    }

    fn bytes(&self) -> u64 {
        let Ok(entries) = std::fs::read_dir(&self.path) else { return 0 };
        let entries = entries.flatten().filter(|entry| entry.file_name() != RESERVE);
        entries.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
    }

    fn close(&self) {
        if !self.close_within(CLOSE_DEADLINE) {
            tracing::error!("the database is not closed: the disk does not answer");
        }
    }
}

fn free(path: &Path) -> io::Result<Free> {
    let found = rustix::fs::statvfs(path)?;
    Ok(Free { bytes: found.f_bavail * found.f_frsize, total_bytes: found.f_blocks * found.f_frsize })
}

#[cfg(test)]
#[path = "rocks_tests.rs"]
mod tests;
