//! What one run of a process holds of a simulated disk: as [`Disk`] has it, with all that is wrong with the platters. Acts.

use std::io;
use std::ops::Bound;
use std::sync::MutexGuard;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use raft::{Batch, Disk, Free, Note, Row, Table};

use super::{Faults, Inner, Platters, Tables, slot};
use crate::sim::os;

/// Of an amply sized file system, when there is little room on it.
const ROOM: Free = Free { bytes: 1 << 20, total_bytes: 1 << 33 };
/// One read of so many fails, but none for so long after that, and none twice at one place: what cannot be read again and again is lost.
const READS_FAIL_EVERY: u64 = 4;
const READS_WORK: Duration = Duration::from_millis(350);

pub struct Handle {
    platters: Platters,
    number: u64,
}

impl Handle {
    pub fn new(platters: Platters, number: u64) -> Handle {
        Handle { platters, number }
    }

    fn opened(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = self.platters.lock();
        match inner.opened == self.number {
            true => Ok(inner),
            false => Err(io::Error::new(io::ErrorKind::NotConnected, "the disk is closed")),
        }
    }

    fn to_read(&self, table: Table, from: &[u8]) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.opened()?;
        let now = os::now();
        if inner.faults.fail_reads
            && now >= inner.read_failed + READS_WORK
            && self.platters.random.below(READS_FAIL_EVERY) == 0
            && inner.unread.insert((table, Bytes::copy_from_slice(from)))
        {
            inner.read_failed = now;
            inner.met.fail_reads += 1;
            return Err(io::Error::other("the simulated disk cannot read"));
        }
        Ok(inner)
    }
}

#[async_trait]
impl Disk for Handle {
    fn write(&self, batch: &Batch) -> io::Result<()> {
        let mut inner = self.opened()?;
        if inner.faults.full {
            inner.met.full += 1;
            return Err(no_room());
        }
        if inner.broken == self.number {
            return Err(io::Error::other("the simulated disk is written to no more: a write has failed"));
        }
        if inner.faults.fail_write {
            (inner.broken, inner.stray) = (self.number, Some(batch.clone()));
            inner.met.fail_write += 1;
            return Err(io::Error::other("the simulated disk cannot write"));
        }
        let tables = inner.with(batch);
        inner.unsynced.push_back(tables);
        inner.written += 1;
        Ok(())
    }

    async fn sync(&self) -> io::Result<()> {
        let (upto, takes_ms) = {
            let mut inner = self.opened()?;
            inner.met.slower += u64::from(inner.faults.slower_ms > 0);
            (inner.written, inner.faults.slower_ms + self.platters.random.below(3))
        };
        tokio::time::sleep(Duration::from_millis(takes_ms)).await;
        let mut inner = self.opened()?;
        if inner.faults.fail_sync {
            inner.forgetful = true;
            inner.met.fail_sync += 1;
            return Err(io::Error::other("the simulated disk cannot sync"));
        }
        while !inner.forgetful && inner.synced < upto {
            let tables = inner.unsynced.pop_front().expect("as many are unsynced as were written since");
            inner.make_durable(tables);
            inner.synced += 1;
        }
        Ok(())
    }

    fn heal(&self) -> io::Result<()> {
        match self.opened()?.faults.full {
            true => Err(no_room()),
            false => Ok(()),
        }
    }

    fn free(&self) -> io::Result<Option<Free>> {
        let mut inner = self.opened()?;
        inner.met.little_room += u64::from(inner.faults.little_room);
        Ok(inner.faults.little_room.then_some(ROOM))
    }

    /// One that takes the place of another needs no room.
    fn save_note(&self, note: Note, bytes: &[u8], durable: bool) -> io::Result<()> {
        let mut inner = self.opened()?;
        let Faults { full, fail_sync, fail_write, tear_notes, .. } = inner.faults;
        if full && !inner.notes.has(note) {
            inner.met.full += 1;
            return Err(no_room());
        }
        if fail_write {
            inner.met.fail_write += 1;
            return Err(io::Error::other("the simulated disk cannot write"));
        }
        if durable && tear_notes && inner.notes.tear(note, bytes, &self.platters.random) {
            inner.met.torn_notes += 1;
            return Err(io::Error::other("the simulated disk cannot write to the end"));
        }
        inner.notes.save(note, bytes, durable && !fail_sync);
        if durable && fail_sync {
            inner.met.fail_sync += 1;
            return Err(io::Error::other("the simulated disk cannot sync"));
        }
        Ok(())
    }

    fn note(&self, note: Note) -> io::Result<Option<Vec<u8>>> {
        Ok(self.opened()?.notes.read(note))
    }

    fn set_aside(&self) -> io::Result<()> {
        let mut inner = self.opened()?;
        if inner.faults.full {
            inner.met.full += 1;
            return Err(no_room());
        }
        inner.durable = Tables::default();
        inner.earlier.clear();
        inner.unsynced.clear();
        (inner.broken, inner.stray) = Default::default();
        inner.synced = inner.written;
        Ok(())
    }

    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.to_read(table, key)?.newest()[slot(table)].get(key).map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], bytes_max: usize) -> io::Result<Vec<Row>> {
        let inner = self.to_read(table, from)?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        if from >= to {
            return Ok(rows);
        }
        for (key, value) in inner.newest()[slot(table)].range::<_, [u8]>((Bound::Included(from), Bound::Excluded(to))) {
            bytes += value.len();
            rows.push((key.clone(), value.to_vec()));
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(rows)
    }

    fn bytes(&self) -> u64 {
        let Ok(inner) = self.opened() else { return 0 };
        inner.newest().iter().map(|table| table.len() as u64).sum()
    }

    fn is_instant(&self) -> bool {
        true
    }

    fn close(&self) {
        let mut inner = self.platters.lock();
        if inner.opened == self.number {
            inner.opened += 1;
        }
    }
}

fn no_room() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left on the simulated disk")
}
