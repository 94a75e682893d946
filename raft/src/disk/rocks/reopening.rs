//! The database is opened anew once there is room again, and closed for good in the end. Acts.

use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc;
use std::time::Duration;

use rocksdb::DB;

use super::{Error, Rocks, closed, full, read, write};
use crate::disk::complaint::found_no_room;
use crate::disk::directory;
use crate::disk::opening::{open, open_to_read};

/// A reopening writes the tables out of the log, and some small files beside.
pub const HEAL_BYTES: u64 = 1 << 20;

impl Rocks {
    /// Once there is room again: that reads the log back, writes all it holds into tables, and syncs these.
    pub(super) fn open_anew(&self) -> io::Result<()> {
        if !self.full.load(SeqCst) {
            return Ok(());
        }
        let (free, needed) = (directory::free(&self.path)?.bytes, directory::log_bytes(&self.path) + HEAL_BYTES);
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

    /// What an attempt to open the database anew comes to.
    pub(super) fn reopened(&self, db: &mut Option<DB>, opened: Result<DB, Error>) -> io::Result<()> {
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
    pub(super) fn close_within(&self, within: Duration) -> bool {
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
}
