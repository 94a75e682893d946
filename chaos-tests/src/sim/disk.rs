//! A disk that forgets what was not synced when its host crashes, and fails, fills up or dawdles when told to. Acts.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use imbl::OrdMap;
use proto::seam::Random;
use raft::{Batch, Disk, Note, Row, Table, Write};

/// Immutable once made: a version of all tables costs only what changed in it.
type Tables = [OrdMap<Bytes, Bytes>; Table::ALL.len()];

/// So many synced batches at most a disk can lose that it had made durable.
const LOST_MAX: usize = 16;

/// So many rows that were forgotten last are still there.
const FORGOTTEN_STAY: usize = 3;

/// The platters of one host. They outlive its crashes; a [`Handle`] does not.
#[derive(Clone)]
pub struct Platters {
    inner: Arc<Mutex<Inner>>,
    random: Random,
}

#[derive(Default)]
struct Inner {
    durable: Tables,
    /// What was durable before the newest synced batches, oldest first.
    earlier: VecDeque<Tables>,
    /// What stands after each batch that no sync has made durable yet, oldest first.
    unsynced: VecDeque<Tables>,
    /// Batches ever written, and ever synced.
    written: u64,
    synced: u64,
    /// The handle that may use the platters.
    opened: u64,
    /// Apart from the tables: what is durable of each, and what was saved since, oldest first.
    notes: BTreeMap<Note, Vec<Vec<u8>>>,
    faults: Faults,
    /// With the next crash the end goes of what was durable.
    loses_end: bool,
    /// The newest mark of the log's end went with a crash: what it vouched for cannot be missed before there is another.
    unmarked: bool,
    /// The handle of which a write has failed: it writes no more.
    broken: u64,
    /// The batch of that write. It may be there all the same, once the disk is opened again.
    stray: Option<Batch>,
    /// A sync has failed: the kernel forgot which pages were dirty, so later syncs succeed and make nothing durable.
    forgetful: bool,
}

/// What is wrong with the disk at present.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub full: bool,
    pub fail_sync: bool,
    pub fail_write: bool,
    /// On top of what a sync takes anyway.
    pub slower_ms: u64,
}

/// What one run of a process holds.
struct Handle {
    platters: Platters,
    number: u64,
}

fn slot(table: Table) -> usize {
    Table::ALL.iter().position(|one| *one == table).expect("every table is listed")
}

impl Inner {
    fn newest(&self) -> &Tables {
        self.unsynced.back().unwrap_or(&self.durable)
    }

    fn with(&self, batch: &Batch) -> Tables {
        let mut tables = self.newest().clone();
        batch.writes.iter().for_each(|write| apply(&mut tables, write.clone()));
        tables
    }

    fn make_durable(&mut self, tables: Tables) {
        self.earlier.push_back(std::mem::replace(&mut self.durable, tables));
        if self.earlier.len() > LOST_MAX {
            self.earlier.pop_front();
        }
    }
}

impl Platters {
    pub fn new(random: Random) -> Platters {
        Platters { inner: Arc::default(), random }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of the platters panics")
    }

    /// For a process that starts. Earlier handles are worth nothing from now on.
    pub fn open(&self) -> Arc<dyn Disk> {
        let mut inner = self.lock();
        inner.opened += 1;
        Arc::new(Handle { platters: self.clone(), number: inner.opened })
    }

    /// The host loses its power, or its process dies. Of the unsynced batches a random number of the oldest survive:
    /// what the kernel had written by then. The next one may be torn, which its checksum shows: it is as good as lost. One whose
    /// write failed may survive all others. Returns how many were lost, of the unsynced and of the synced.
    pub fn crash(&self) -> (usize, usize) {
        let mut inner = self.lock();
        inner.opened += 1;
        let surviving = self.random.below(inner.unsynced.len() as u64 + 1) as usize;
        let lost = inner.unsynced.len() - surviving;
        if surviving > 0 {
            let tables = inner.unsynced[surviving - 1].clone();
            inner.make_durable(tables);
        }
        let stray = inner.stray.take().filter(|_| lost == 0 && self.random.below(2) == 0);
        if let Some(stray) = stray {
            let tables = inner.with(&stray);
            inner.make_durable(tables);
        }
        inner.unsynced.clear();
        let loses_end = std::mem::take(&mut inner.loses_end);
        let Inner { notes, unmarked, .. } = &mut *inner;
        for (note, versions) in notes {
            let newest = versions.len() - 1;
            // What rots while a machine runs leaves what its kernel has still to write.
            let surviving = if loses_end { newest } else { self.random.below(newest as u64 + 1) as usize };
            *unmarked |= *note == Note::Mark && surviving < newest;
            *versions = vec![versions.swap_remove(surviving)];
        }
        let lost_synced = if loses_end && !inner.unmarked { self.lose_end(&mut inner) } else { 0 };
        (inner.synced, inner.forgetful) = (inner.written, false);
        (lost, lost_synced)
    }

    /// With the next crash the disk loses the newest of the batches that it had made durable, though not the notes. Not where
    /// an earlier crash took the newest mark, and the disk was not to be written to since.
    pub fn will_lose_end(&self) {
        self.lock().loses_end = true;
    }

    fn lose_end(&self, inner: &mut Inner) -> usize {
        let kept = self.random.below(inner.earlier.len().max(1) as u64) as usize;
        let lost = inner.earlier.len() - kept;
        if lost > 0 {
            inner.durable = inner.earlier[kept].clone();
            inner.earlier.truncate(kept);
        }
        lost
    }

    /// Turns a bit of a record that lies on the platters over. Returns the place of the record.
    pub fn rot(&self) -> Option<(Table, Bytes)> {
        let mut inner = self.lock();
        let filled = Table::ALL.into_iter().filter(|table| !inner.durable[slot(*table)].is_empty());
        let filled: Vec<Table> = filled.collect();
        let table = *filled.get(self.random.below(filled.len().max(1) as u64) as usize)?;
        let rows = &inner.durable[slot(table)];
        let (key, sound) = rows.iter().nth(self.random.below(rows.len() as u64) as usize)?;
        let (key, sound) = (key.clone(), sound.clone());
        let mut rotten = sound.to_vec();
        let bit = self.random.below(8 * rotten.len().max(1) as u64) as usize;
        *rotten.get_mut(bit / 8)? ^= 1 << (bit % 8);
        let rotten = Bytes::from(rotten);
        let Inner { durable, unsynced, .. } = &mut *inner;
        // Where it was written anew since, that is what will be read.
        for tables in std::iter::once(durable).chain(unsynced) {
            let table = &mut tables[slot(table)];
            if table.get(&key) == Some(&sound) {
                table.insert(key.clone(), rotten.clone());
            }
        }
        Some((table, key))
    }

    /// A new, empty disk in the place of the old.
    pub fn replace(&self) {
        let mut inner = self.lock();
        let opened = inner.opened + 1;
        *inner = Inner { opened, ..Inner::default() };
    }

    pub fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.lock().faults);
    }
}

impl Handle {
    fn opened(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = self.platters.lock();
        match inner.opened == self.number {
            true => Ok(inner),
            false => Err(io::Error::other("the disk is closed")),
        }
    }
}

#[async_trait]
impl Disk for Handle {
    fn write(&self, batch: &Batch) -> io::Result<()> {
        let mut inner = self.opened()?;
        if inner.faults.full {
            return Err(no_room());
        }
        if inner.broken == self.number {
            return Err(io::Error::other("the simulated disk is written to no more: a write has failed"));
        }
        if inner.faults.fail_write {
            (inner.broken, inner.stray) = (self.number, Some(batch.clone()));
            return Err(io::Error::other("the simulated disk cannot write"));
        }
        let tables = inner.with(batch);
        inner.unsynced.push_back(tables);
        inner.written += 1;
        Ok(())
    }

    async fn sync(&self) -> io::Result<()> {
        let (upto, takes_ms) = {
            let inner = self.opened()?;
            (inner.written, inner.faults.slower_ms + self.platters.random.below(3))
        };
        tokio::time::sleep(Duration::from_millis(takes_ms)).await;
        let mut inner = self.opened()?;
        if inner.faults.fail_sync {
            inner.forgetful = true;
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

    /// One that takes the place of another needs no room.
    fn save_note(&self, note: Note, bytes: &[u8], durable: bool) -> io::Result<()> {
        let mut inner = self.opened()?;
        let Faults { full, fail_sync, fail_write, .. } = inner.faults;
        if full && !inner.notes.contains_key(&note) {
            return Err(no_room());
        }
        if fail_write {
            return Err(io::Error::other("the simulated disk cannot write"));
        }
        inner.unmarked &= note != Note::Mark;
        let versions = inner.notes.entry(note).or_default();
        versions.push(bytes.into());
        if durable && fail_sync {
            return Err(io::Error::other("the simulated disk cannot sync"));
        }
        // The first one comes with a sync of its directory in any case.
        if durable || versions.len() == 1 {
            versions.drain(..versions.len() - 1);
        }
        Ok(())
    }

    fn note(&self, note: Note) -> io::Result<Option<Vec<u8>>> {
        Ok(self.opened()?.notes.get(&note).and_then(|versions| versions.last().cloned()))
    }

    fn set_aside(&self) -> io::Result<()> {
        let mut inner = self.opened()?;
        if inner.faults.full {
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
        Ok(self.opened()?.newest()[slot(table)].get(key).map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], bytes_max: usize) -> io::Result<Vec<Row>> {
        let inner = self.opened()?;
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

fn apply(tables: &mut Tables, write: Write) {
    match write {
        Write::Put(table, key, value) => drop(tables[slot(table)].insert(key, value.into())),
        Write::Delete(table, key) => drop(tables[slot(table)].remove(&key)),
        Write::DeleteRange(table, from, to) if from < to => {
            let table = &mut tables[slot(table)];
            let doomed: Vec<Bytes> = table.range(from..to).map(|(key, _)| key.clone()).collect();
            for key in doomed {
                table.remove(&key);
            }
        }
        Write::DeleteRange(..) => {}
        // The last of it lies in a file with others.
        Write::Forget(table, upto) => {
            let table = &mut tables[slot(table)];
            let forgotten: Vec<Bytes> = table.range(..=upto).map(|(key, _)| key.clone()).collect();
            for key in forgotten.iter().rev().skip(FORGOTTEN_STAY) {
                table.remove(key);
            }
        }
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
