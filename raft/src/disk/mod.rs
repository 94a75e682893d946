//! The seam to the disk: four ordered tables, atomic batches, one sync. Production keeps them in RocksDB, the
//! simulation in memory that forgets what was not synced. Decides nothing.

mod aside;
mod complaint;
mod directory;
#[cfg(test)]
pub mod faulty;
pub mod flusher;
mod leftovers;
mod log_files;
mod log_records;
mod note;
mod opening;
mod options;
pub mod patience;
pub mod rocks;
pub mod room;
mod slowness;
pub mod space;
#[cfg(test)]
mod torn;
mod torn_end;

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use space::Free;

/// All four share one write-ahead log, so what was written later never survives a crash that loses the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Log,
    Meta,
    Objects,
    History,
}

impl Table {
    pub const ALL: [Table; 4] = [Table::Log, Table::Meta, Table::Objects, Table::History];

    pub fn name(self) -> &'static str {
        match self {
            Table::Log => "log",
            Table::Meta => "meta",
            Table::Objects => "objects",
            Table::History => "history",
        }
    }
}

#[derive(Clone, Debug)]
pub enum Write {
    Put(Table, Bytes, Vec<u8>),
    Delete(Table, Bytes),
    /// From (inclusive) to (exclusive).
    DeleteRange(Table, Bytes, Bytes),
    /// What comes first in the table, up to this key (inclusive), is needed no more: nobody reads it, or writes there again.
    /// It may stay for a while, as whole files, and be seen; it goes with [`Disk::drop_forgotten`]. Costs nothing, while a
    /// deleted range is written anew with all that lies beside it.
    Forget(Table, Bytes),
}

/// Takes effect as a whole or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub writes: Vec<Write>,
    pub bytes: usize,
}

impl Batch {
    pub fn put(&mut self, table: Table, key: impl Into<Bytes>, value: Vec<u8>) {
        let key = key.into();
        self.bytes += key.len() + value.len();
        self.writes.push(Write::Put(table, key, value));
    }

    pub fn delete(&mut self, table: Table, key: impl Into<Bytes>) {
        self.writes.push(Write::Delete(table, key.into()));
    }

    pub fn delete_range(&mut self, table: Table, from: impl Into<Bytes>, to: impl Into<Bytes>) {
        self.writes.push(Write::DeleteRange(table, from.into(), to.into()));
    }

    pub fn forget(&mut self, table: Table, upto: impl Into<Bytes>) {
        self.writes.push(Write::Forget(table, upto.into()));
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// A few bytes in a file of their own beside the tables, so that damage to these leaves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    /// The vote, and whose data it is.
    Vote,
    /// How far the log was durable.
    Mark,
}

impl Note {
    pub const ALL: [Note; 2] = [Note::Vote, Note::Mark];

    pub fn name(self) -> &'static str {
        match self {
            Note::Vote => "vote",
            Note::Mark => "mark",
        }
    }
}

/// A key with its value, as a scan gives them.
pub type Row = (Bytes, Vec<u8>);

#[async_trait]
pub trait Disk: Send + Sync + 'static {
    /// Readable on return; durable after a [`Disk::sync`] that began later. Writes keep their order.
    /// [`io::ErrorKind::StorageFull`]: nothing of it was written; try again after a [`Disk::heal`].
    fn write(&self, batch: &Batch) -> io::Result<()>;

    /// Makes everything written so far durable. Cancelling it leaves open whether that happened.
    /// [`io::ErrorKind::StorageFull`]: an earlier write found no room and bars the sync; try again after a
    /// [`Disk::heal`]. After any other error nothing that was not durable before can be trusted.
    async fn sync(&self) -> io::Result<()>;

    /// Takes writes again after one that found no room. Everything written is durable then. May take long.
    /// [`io::ErrorKind::StorageFull`]: there is still too little room.
    fn heal(&self) -> io::Result<()> {
        Ok(())
    }

    /// `None`: there is no limit to know of.
    fn free(&self) -> io::Result<Option<Free>> {
        Ok(None)
    }

    /// Keeps so many bytes of the file system for later; 0 gives them back. Idempotent. May take long.
    fn reserve(&self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }

    /// How much is kept now, also since before a restart.
    fn reserved(&self) -> io::Result<u64> {
        Ok(0)
    }

    /// Takes the place of what was saved as this note before: after a crash it is the one or the other. `durable`: on return;
    /// otherwise at some time, but no later than with the next one that is.
    fn save_note(&self, _note: Note, _bytes: &[u8], _durable: bool) -> io::Result<()> {
        Ok(())
    }

    /// What was saved last, if this disk keeps any.
    fn note(&self, _note: Note) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// Moves all tables to where a person can find them, and begins with empty ones. The notes stay. May take long.
    /// A crash in the middle loses nothing: the next start finishes it.
    fn set_aside(&self) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this disk cannot set its tables aside"))
    }

    /// [`io::ErrorKind::InvalidData`], here and in [`Disk::scan`]: what was written is damaged.
    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// Rows with `from <= key < to` in order, ending with the one that brings the values to `bytes_max`; at
    /// least one row when there is any.
    fn scan(&self, table: Table, from: &[u8], to: &[u8], bytes_max: usize) -> io::Result<Vec<Row>>;

    /// Drops what was forgotten with batches that a sync has made durable. Returns whether there is more, in others.
    fn drop_forgotten(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// Gives the room of deleted ranges back to the file system. May take long.
    fn reclaim(&self) -> io::Result<()> {
        Ok(())
    }

    /// Roughly what the directory takes on the disk.
    fn bytes(&self) -> u64;

    /// Its calls return at once, also those that may take long elsewhere: they need no thread of their own.
    fn is_instant(&self) -> bool {
        false
    }

    /// Ends all use: what comes later fails ([`io::ErrorKind::NotConnected`]). Idempotent.
    fn close(&self);
}

/// Runs what may take long, where it holds up nobody. What panics there panics here: that is no failure of the disk.
pub async fn apart<T: Send + 'static>(
    disk: &Arc<dyn Disk>,
    run: impl FnOnce(&dyn Disk) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    if disk.is_instant() {
        return run(&**disk);
    }
    let disk = disk.clone();
    match tokio::task::spawn_blocking(move || run(&*disk)).await {
        Ok(done) => done,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(ended) => Err(io::Error::new(io::ErrorKind::NotConnected, ended)),
    }
}
