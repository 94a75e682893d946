//! The tables in one RocksDB: a column family each, one write-ahead log. Acts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard};

use async_trait::async_trait;
use bytes::Bytes;
use rocksdb::properties::ESTIMATE_NUM_KEYS;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB, DBCompressionType,
    DBRecoveryMode, IteratorMode, Options, ReadOptions, WriteBatch,
};

use super::leftovers::Leftovers;
use super::{Batch, Disk, Free, Row, Table, Write, note};

/// Small, because a replica keeps its state in memory anyway and reads the disk for history and lagging peers.
const BLOCK_CACHE_BYTES: usize = 4 << 20;
const WRITE_BUFFER_BYTES: usize = 8 << 20;
/// All tables' buffers together: the largest is flushed when they exceed it.
const WRITE_BUFFERS_BYTES: usize = 16 << 20;
/// So many deletions among so many rows in a row make a file worth compacting.
const DELETIONS_WINDOW: usize = 4096;
const DELETIONS_MAX: usize = 2048;
/// A full write-ahead log forces the column families that hold it back to flush.
const WAL_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot make the data directory {path}")]
    Directory {
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

pub struct Rocks {
    path: PathBuf,
    /// `None` after [`Disk::close`], and while a database without room waits for its reopening.
    db: Arc<RwLock<Option<DB>>>,
    closed: AtomicBool,
    /// A write found no room: RocksDB takes no other until it was opened anew.
    full: AtomicBool,
    leftovers: Mutex<Leftovers>,
}

impl Rocks {
    pub fn open(path: &Path) -> Result<Rocks, Error> {
        std::fs::create_dir_all(path).map_err(|source| Error::Directory { path: path.into(), source })?;
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
        let (closed, full, leftovers) = (AtomicBool::new(false), AtomicBool::new(false), Mutex::default());
        Ok(Rocks { path: path.into(), db, closed, full, leftovers })
    }

    fn with<T>(&self, run: impl FnOnce(&DB) -> Result<T, rocksdb::Error>) -> io::Result<T> {
        let db = read(&self.db);
        match &*db {
            Some(db) => run(db).map_err(|error| self.explain(error)),
            None => Err(self.absent()),
        }
    }

    fn leftovers(&self) -> MutexGuard<'_, Leftovers> {
        self.leftovers.lock().expect("no holder of the leftovers panics")
    }

    fn absent(&self) -> io::Error {
        match self.closed.load(SeqCst) {
            true => io::Error::other("the database is closed"),
            false => io::Error::new(io::ErrorKind::StorageFull, "the database waits for room to be opened again"),
        }
    }

    fn explain(&self, error: rocksdb::Error) -> io::Error {
        let message = error.to_string();
        let kind = match error.kind() {
            rocksdb::ErrorKind::Corruption => io::ErrorKind::InvalidData,
            _ if no_space(&message) => io::ErrorKind::StorageFull,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, format!("{}: {message}", self.path.display()))
    }

    /// What RocksDB's log takes, all of which a reopening may have to write once more.
    fn log_bytes(&self) -> u64 {
        let Ok(entries) = std::fs::read_dir(&self.path) else { return 0 };
        let logs = entries.flatten().filter(|entry| entry.path().extension().is_some_and(|kind| kind == "log"));
        logs.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
    }
}

fn no_space(message: &str) -> bool {
    message.contains("No space left") || message.contains("Space limit reached")
}

/// The system call itself, and not RocksDB's refusal to try it.
fn failed_sync(message: &str) -> bool {
    message.contains("fsync") || message.contains("fdatasync")
}

fn open(path: &Path) -> Result<DB, Error> {
    let families = Table::ALL.map(|table| ColumnFamilyDescriptor::new(table.name(), table_options(table)));
    DB::open_cf_descriptors(&database_options(path), path, families).map_err(|error| {
        let message = error.to_string();
        // RocksDB has no error kind of its own for a held LOCK file: it reports the system's message.
        match message.contains("/LOCK") && message.contains("lock") {
            true => Error::InUse { path: path.into() },
            false if error.kind() == rocksdb::ErrorKind::Corruption => Error::Damaged { path: path.into(), message },
            false => Error::Open { path: path.into(), message },
        }
    })
}

/// The note in a directory whose database is not open.
pub fn note(path: &Path) -> io::Result<Option<Vec<u8>>> {
    note::load(path)
}

/// Where damaged tables go; what was there before is dropped.
const ASIDE: &str = "damaged";
/// What stays in its place.
const OURS: [&str; 4] = [RESERVE, ASIDE, "vote", "vote.new"];

/// Only while the database is not open.
pub fn set_aside(path: &Path) -> io::Result<()> {
    let aside = path.join(ASIDE);
    // With CURRENT goes the meaning of all the other files: after a crash in the middle the rest is no database.
    let current = path.join("CURRENT");
    if current.exists() && aside.exists() {
        std::fs::remove_dir_all(&aside)?;
    }
    std::fs::create_dir_all(&aside)?;
    if current.exists() {
        std::fs::rename(current, aside.join("CURRENT"))?;
    }
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        if !OURS.iter().any(|ours| name == *ours) {
            std::fs::rename(path.join(&name), aside.join(&name))?;
        }
    }
    std::fs::File::open(path)?.sync_all()
}

fn read(db: &RwLock<Option<DB>>) -> RwLockReadGuard<'_, Option<DB>> {
    db.read().expect("no holder of the database panics")
}

fn family(db: &DB, table: Table) -> &ColumnFamily {
    db.cf_handle(table.name()).expect("every table was opened")
}

#[async_trait]
impl Disk for Rocks {
    fn write(&self, batch: &Batch) -> io::Result<()> {
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
            if written.as_ref().is_err_and(|error| no_space(error.as_ref())) {
                self.full.store(true, SeqCst);
            }
            if written.is_ok() {
                self.leftovers().note(batch);
            }
            written
        })
    }

    async fn sync(&self) -> io::Result<()> {
        let db = self.db.clone();
        let synced = tokio::task::spawn_blocking(move || read(&db).as_ref().map(|db| db.flush_wal(true)));
        match synced.await.map_err(io::Error::other)? {
            Some(Ok(())) => Ok(()),
            // A log whose write failed refuses the sync without trying it.
            Some(Err(error)) if self.full.load(SeqCst) && !failed_sync(error.as_ref()) => {
                Err(io::Error::new(io::ErrorKind::StorageFull, error.to_string()))
            }
            Some(Err(error)) => Err(io::Error::other(format!("{}: {error}", self.path.display()))),
            None => Err(self.absent()),
        }
    }

    /// Opens the database anew: that reads the log back, writes all it holds into tables, and syncs these.
    fn heal(&self) -> io::Result<()> {
        let mut db = self.db.write().expect("no holder of the database panics");
        if self.closed.load(SeqCst) {
            return Err(self.absent());
        }
        if db.is_some() && !self.full.load(SeqCst) {
            return Ok(());
        }
        let full = |message: String| io::Error::new(io::ErrorKind::StorageFull, message);
        let (free, needed) = (self.free()?.map_or(u64::MAX, |free| free.bytes), self.log_bytes() + HEAL_BYTES);
        if free < needed {
            return Err(full(format!("{free} bytes are free, {needed} are needed to open the database again")));
        }
        drop(db.take());
        match open(&self.path) {
            Ok(opened) => {
                *db = Some(opened);
                self.full.store(false, SeqCst);
                tracing::info!("the database takes writes again");
                Ok(())
            }
            Err(Error::Open { message, .. }) if no_space(&message) => Err(full(message)),
            Err(error) => Err(io::Error::other(error.to_string())),
        }
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

    fn save_note(&self, bytes: &[u8]) -> io::Result<()> {
        note::save(&self.path, bytes)
    }

    fn note(&self) -> io::Result<Option<Vec<u8>>> {
        note::load(&self.path)
    }

    fn set_aside(&self) -> io::Result<()> {
        let mut db = self.db.write().expect("no holder of the database panics");
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
        self.closed.store(true, SeqCst);
        // So that a compaction that somebody waits for comes to its end.
        if let Some(db) = &*read(&self.db) {
            db.cancel_all_background_work(false);
        }
        let db = self.db.write().expect("no holder of the database panics").take();
        if let Some(db) = db {
            db.cancel_all_background_work(true);
        }
    }
}

fn free(path: &Path) -> io::Result<Free> {
    let found = rustix::fs::statvfs(path)?;
    Ok(Free { bytes: found.f_bavail * found.f_frsize, total_bytes: found.f_blocks * found.f_frsize })
}

fn database_options(path: &Path) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // Absolute consistency, except for a record torn at the very end of the log, which was never acknowledged.
    // Logs before the last one are held against their sizes in the manifest.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_paranoid_checks(true);
    // On a small disk the log stays small, so that the reserve is enough for writing it out.
    let total = free(path).map_or(u64::MAX, |free| free.total_bytes);
    options.set_max_total_wal_size(WAL_BYTES_MAX.min(total / 32));
    options.set_db_write_buffer_size(WRITE_BUFFERS_BYTES);
    options.set_max_background_jobs(2);
    options.set_max_open_files(128);
    options.set_bytes_per_sync(1 << 20);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_skip_stats_update_on_db_open(true);
    options
}

fn table_options(table: Table) -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(match table {
        Table::Meta => 1 << 20,
        _ => WRITE_BUFFER_BYTES,
    });
    options.set_max_write_buffer_number(2);
    if table == Table::Objects {
        // Objects are deleted one by one: a file that holds little else than their marks is compacted before its turn.
        options.add_compact_on_deletion_collector_factory(DELETIONS_WINDOW, DELETIONS_MAX, 0.5);
    }
    options.set_compression_type(DBCompressionType::Lz4);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES / Table::ALL.len()));
    blocks.set_cache_index_and_filter_blocks(true);
    options.set_block_based_table_factory(&blocks);
    options
}

#[cfg(test)]
#[path = "rocks_tests.rs"]
mod tests;
