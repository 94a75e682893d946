//! The tables in one RocksDB: a column family each, one write-ahead log; `reopening`: how it comes back, and ends. Acts.

mod reopening;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rocksdb::properties::ESTIMATE_NUM_KEYS;
use rocksdb::{ColumnFamily, CompactOptions, DB, IteratorMode, ReadOptions, WriteBatch};

use super::complaint::{could_not_read, found_no_room, of_the_system, untried};
use super::leftovers::Leftovers;
use super::note::{self, Notes};
pub use super::opening::Error;
use super::opening::open;
use super::{Batch, Disk, Free, Note, Row, Table, Write, aside, directory, opening};

/// A database that is not closed within this has a disk that does not answer. Nobody waits for it any longer.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

pub struct Rocks {
    path: PathBuf,
    /// `None` after [`Disk::close`], and where it can neither be opened anew nor read. One that could not be opened anew for lack of room can be read only.
    db: Arc<RwLock<Option<DB>>>,
    closed: AtomicBool,
    /// A write found no room: no other is tried until the database was opened anew.
    full: Arc<AtomicBool>,
    leftovers: Arc<Mutex<Leftovers>>,
    notes: Notes,
}

impl Rocks {
    pub fn open(path: &Path) -> Result<Rocks, Error> {
        let db = Arc::new(RwLock::new(Some(opening::first(path)?)));
        let (closed, full, leftovers) = (AtomicBool::new(false), Arc::default(), Arc::default());
        Ok(Rocks { path: path.into(), db, closed, full, leftovers, notes: Notes::new(path) })
    }

    fn with<T>(&self, run: impl FnOnce(&DB) -> Result<T, rocksdb::Error>) -> io::Result<T> {
        // Not behind somebody who waits for a disk that hangs.
        if self.closed.load(SeqCst) {
            return Err(closed());
        }
        match &*read(&self.db) {
            Some(db) => run(db).map_err(|error| self.explain(error)),
            None => Err(absent(&self.full)),
        }
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
}

fn full(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, message.into())
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the database is closed")
}

/// There is no database: it is closed, unless it waits for room to be opened anew and cannot even be read meanwhile.
fn absent(is_full: &AtomicBool) -> io::Error {
    match is_full.load(SeqCst) {
        true => full("the database waits for room to be opened again"),
        false => closed(),
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

fn lock(leftovers: &Mutex<Leftovers>) -> MutexGuard<'_, Leftovers> {
    leftovers.lock().expect("no holder of the leftovers panics")
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
                    Write::Forget(..) => {}
                }
            }
            let written = db.write(out);
            // Told while the database is held, so that no reopening comes in between.
            if written.as_ref().is_err_and(|error| found_no_room(error.as_ref())) {
                self.full.store(true, SeqCst);
            }
            if written.is_ok() {
                lock(&self.leftovers).note(batch);
            }
            written
        })
        .map_err(|error| match could_not_read(&error.to_string()) {
            true => io::Error::new(io::ErrorKind::InvalidData, error),
            false => error,
        })
    }

    async fn sync(&self) -> io::Result<()> {
        if self.closed.load(SeqCst) {
            return Err(closed());
        }
        let (db, full, path, leftovers) =
            (self.db.clone(), self.full.clone(), self.path.clone(), self.leftovers.clone());
        let sync = move || {
            let db = read(&db);
            let Some(db) = &*db else { return Err(absent(&full)) };
            let forgotten = lock(&leftovers).forgotten();
            let Err(error) = db.flush_wal(true) else {
                lock(&leftovers).synced(forgotten);
                return Ok(());
            };
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

    fn heal(&self) -> io::Result<()> {
        self.open_anew()
    }

    fn free(&self) -> io::Result<Option<Free>> {
        directory::free(&self.path).map(Some)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        directory::reserve(&self.path, bytes).map_err(of_the_system)
    }

    fn reserved(&self) -> io::Result<u64> {
        directory::reserved(&self.path)
    }

    fn save_note(&self, note: Note, bytes: &[u8], durable: bool) -> io::Result<()> {
        // Held meanwhile: once the database is closed, the directory may be another process's.
        let _db = read(&self.db);
        if self.closed.load(SeqCst) {
            return Err(closed());
        }
        self.notes.save(note, bytes, durable)
    }

    fn note(&self, note: Note) -> io::Result<Option<Vec<u8>>> {
        note::load(&self.path, note)
    }

    fn set_aside(&self) -> io::Result<()> {
        let mut db = write(&self.db);
        drop(db.take());
        set_aside(&self.path)?;
        // Of tables that are gone.
        *lock(&self.leftovers) = Leftovers::default();
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

    /// The files that hold nothing else: no compaction, so the cost is the same however much else there is.
    fn drop_forgotten(&self) -> io::Result<bool> {
        if self.full.load(SeqCst) {
            return Ok(false);
        }
        self.with(|db| {
            let heads = lock(&self.leftovers).droppable();
            for (table, upto) in heads {
                db.delete_file_in_range_cf(family(db, table), &[][..], &upto)?;
            }
            Ok(!lock(&self.leftovers).forgotten().is_empty())
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
            let worth = lock(&self.leftovers).take(rows);
            for (table, range) in worth {
                db.compact_range_cf_opt(family(db, table), Some(&range.from), Some(&range.to), &options);
            }
            lock(&self.leftovers).compacted();
            Ok(())
        })
    }

    fn bytes(&self) -> u64 {
        directory::bytes(&self.path)
    }

    fn close(&self) {
        if !self.close_within(CLOSE_DEADLINE) {
            tracing::error!("the database is not closed: the disk does not answer");
        }
    }
}

#[cfg(test)]
#[path = "rocks_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "torn_tests.rs"]
mod torn_tests;

#[cfg(test)]
#[path = "synced_tests.rs"]
mod synced_tests;
