//! A disk that forgets what was not synced when its host crashes, and fails, fills up or dawdles when told to. Acts.
//!
//! Of a batch nothing tears: RocksDB has it as a whole or not at all, and none without those before it, wherever a crash tears its
//! log (`raft/src/disk/torn_tests.rs`). A note, which is written in place, tears when told to.

mod handle;
mod met;
mod notes;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use imbl::OrdMap;
use proto::seam::Random;
use raft::{Batch, Disk, Note, Table, Write};

use handle::Handle;
pub use met::Met;
use notes::Notes;

/// Immutable once made: a version of all tables costs only what changed in it.
type Tables = [OrdMap<Bytes, Bytes>; Table::ALL.len()];

/// So many synced batches at most a disk can lose that it had made durable.
const LOST_MAX: usize = 16;

/// So many rows that were forgotten last are still there.
const FORGOTTEN_STAY: usize = 3;

/// Between two pieces that a replica reads to see whether they are sound, where it is to find damage while it runs: all it has within a
/// second or two.
pub const SCRUB: Duration = Duration::from_millis(20);

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
    notes: Notes,
    faults: Faults,
    met: Met,
    /// With the next crash the end goes of what was durable.
    loses_end: bool,
    /// The handle of which a write has failed: it writes no more.
    broken: u64,
    /// The batch of that write. It may be there all the same, once the disk is opened again.
    stray: Option<Batch>,
    /// The record of which a bit turned over last, and what stands there since.
    rotten: Option<(Table, Bytes, Bytes)>,
    /// When a read failed last, and where one ever did.
    read_failed: Duration,
    unread: BTreeSet<(Table, Bytes)>,
    /// A sync has failed: the kernel forgot which pages were dirty, so later syncs succeed and make nothing durable.
    forgetful: bool,
}

/// What is wrong with the disk at present.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub full: bool,
    pub fail_sync: bool,
    pub fail_write: bool,
    /// A note that is saved in place is there in part: where that is to be durable it fails in the middle, otherwise the next crash
    /// comes in the middle.
    pub tear_notes: bool,
    /// Now and then a read fails, and works when it is tried again.
    pub fail_reads: bool,
    /// What grows is to be refused.
    pub little_room: bool,
    /// On top of what a sync takes anyway.
    pub slower_ms: u64,
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
        inner.notes.opened();
        Arc::new(Handle::new(self.clone(), inner.opened))
    }

    /// The host loses its power, or its process dies. Of the unsynced batches a random number of the oldest survive:
    /// what the kernel had written by then. The next one may be torn: it is as good as lost. One whose write failed
    /// may survive all others. Returns how many were lost, of the unsynced and of the synced.
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
        if loses_end {
            inner.notes.keep_newest();
        } else {
            let tears = inner.faults.tear_notes;
            let torn = inner.notes.crash(tears, &self.random);
            inner.met.torn_notes += torn;
        }
        let lost_synced = if loses_end && !inner.notes.is_unmarked() { self.lose_end(&mut inner) } else { 0 };
        inner.met.lost_ends += u64::from(lost_synced > 0);
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

    /// Turns a bit of a record that lies on the platters over, in one of these tables. Returns the place of the record.
    pub fn rot(&self, tables: &[Table]) -> Option<(Table, Bytes)> {
        let mut inner = self.lock();
        let filled = tables.iter().copied().filter(|table| !inner.durable[slot(*table)].is_empty());
        let filled: Vec<Table> = filled.collect();
        let table = *filled.get(self.random.below(filled.len().max(1) as u64) as usize)?;
        let rows = &inner.durable[slot(table)];
        let (key, sound) = rows.iter().nth(self.random.below(rows.len() as u64) as usize)?;
        let (key, sound) = (key.clone(), sound.clone());
        let mut rotten = sound.to_vec();
        let bit = self.random.below(8 * rotten.len().max(1) as u64) as usize;
        *rotten.get_mut(bit / 8)? ^= 1 << (bit % 8);
        let rotten = Bytes::from(rotten);
        let Inner { durable, unsynced, rotten: newest, .. } = &mut *inner;
        *newest = Some((table, key.clone(), rotten.clone()));
        // Where it was written anew since, that is what will be read.
        for tables in std::iter::once(durable).chain(unsynced) {
            let table = &mut tables[slot(table)];
            if table.get(&key) == Some(&sound) {
                table.insert(key.clone(), rotten.clone());
            }
        }
        Some((table, key))
    }

    /// Is the record still there of which a bit turned over last?
    pub fn is_rotten(&self) -> bool {
        let inner = self.lock();
        let stands =
            |(table, key, rotten): &(Table, Bytes, Bytes)| inner.newest()[slot(*table)].get(key) == Some(rotten);
        inner.rotten.as_ref().is_some_and(stands)
    }

    /// Turns a bit of a note over, of a host that is down. Returns which note.
    pub fn rot_note(&self) -> Option<Note> {
        self.lock().notes.rot(&self.random)
    }

    pub fn damaged_notes(&self) -> Vec<Note> {
        self.lock().notes.damaged()
    }

    /// How many damaged notes whoever uses the disk has come upon.
    pub fn damaged_notes_read(&self) -> u64 {
        self.lock().notes.met()
    }

    /// A new, empty disk in the place of the old. Returns whether there was anything on that.
    pub fn replace(&self) -> bool {
        let mut inner = self.lock();
        let was_used = !inner.notes.is_empty() || inner.newest().iter().any(|table| !table.is_empty());
        let (opened, met) = (inner.opened + 1, inner.met);
        *inner = Inner { opened, met, ..Inner::default() };
        was_used
    }

    pub fn met(&self) -> Met {
        self.lock().met
    }

    pub fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.lock().faults);
    }
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
