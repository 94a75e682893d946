//! A disk in memory that can be full, rot, fail to sync, or be held up in it; and clusters on such disks.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kontiki_raft::{Batch, Disk, Free, Note, Row, Store, Table, Write};
use proto::seam::Env;

use super::{Cluster, eventually};

type Tables = BTreeMap<Table, BTreeMap<Bytes, Vec<u8>>>;

pub struct Memory {
    tables: Mutex<Tables>,
    notes: Mutex<BTreeMap<Note, Vec<u8>>>,
    /// Of the file system, the reserve not counted.
    free: AtomicU64,
    reserved: AtomicU64,
    sick: AtomicBool,
    pub fail_sync: AtomicBool,
    /// How long a write into the log takes.
    log_write_ms: AtomicU64,
    /// No sync ends while a test holds this. Who waits for it is served in turn.
    pub syncs: tokio::sync::Mutex<()>,
    /// Nor is the state saved. That is done on a thread of its own, as long as there is room.
    pub saves: tokio::sync::Mutex<()>,
}

pub const TOTAL: u64 = 1 << 30;

impl Memory {
    pub fn new() -> Arc<Memory> {
        Arc::new(Memory {
            tables: Mutex::default(),
            notes: Mutex::default(),
            free: TOTAL.into(),
            reserved: 0.into(),
            sick: false.into(),
            fail_sync: false.into(),
            log_write_ms: 0.into(),
            syncs: Default::default(),
            saves: Default::default(),
        })
    }

    pub fn set_free(&self, bytes: u64) {
        self.free.store(bytes, SeqCst);
    }

    pub fn set_log_write(&self, takes: Duration) {
        self.log_write_ms.store(takes.as_millis() as u64, SeqCst);
    }

    /// Flips a bit in the row that `pick` finds. Returns its key.
    pub fn rot(&self, table: Table, pick: impl Fn(&[u8]) -> bool) -> Option<Bytes> {
        let mut tables = self.tables.lock().unwrap();
        let (key, row) = tables.get_mut(&table)?.iter_mut().find(|(key, _)| pick(key))?;
        *row.last_mut()? ^= 4;
        Some(key.clone())
    }

    /// The newest rows of the log are gone, as if they had never been written.
    pub fn lose_end(&self, rows: usize) {
        let mut tables = self.tables.lock().unwrap();
        let log = tables.get_mut(&Table::Log).unwrap();
        for _ in 0..rows {
            log.pop_last().unwrap();
        }
    }

    pub fn rot_note(&self, note: Note) {
        *self.notes.lock().unwrap().get_mut(&note).unwrap().last_mut().unwrap() ^= 4;
    }

    pub fn keys(&self, table: Table) -> Vec<Bytes> {
        self.tables.lock().unwrap().get(&table).map(|rows| rows.keys().cloned().collect()).unwrap_or_default()
    }
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left, says the test")
}

#[async_trait::async_trait]
impl Disk for Memory {
    fn write(&self, batch: &Batch) -> io::Result<()> {
        let is_log = |write: &Write| matches!(write, Write::Put(Table::Log, ..));
        if batch.writes.iter().any(is_log) {
            std::thread::sleep(Duration::from_millis(self.log_write_ms.load(SeqCst)));
        }
        let is_state = |write: &Write| matches!(write, Write::Put(Table::Meta, key, _) if key == "state");
        if batch.writes.iter().any(is_state) && self.saves.try_lock().is_err() {
            drop(self.saves.blocking_lock());
        }
        let free = self.free.load(SeqCst);
        if self.sick.load(SeqCst) || free < batch.bytes as u64 {
            self.sick.store(true, SeqCst);
            return Err(full());
        }
        self.free.store(free - batch.bytes as u64, SeqCst);
        let mut tables = self.tables.lock().unwrap();
        for write in &batch.writes {
            match write {
                Write::Put(table, key, value) => {
                    tables.entry(*table).or_default().insert(key.clone(), value.clone());
                }
                Write::Delete(table, key) => {
                    tables.entry(*table).or_default().remove(key);
                }
                Write::DeleteRange(table, from, to) => {
                    tables.entry(*table).or_default().retain(|key, _| key < from || key >= to);
                }
                Write::Forget(table, upto) => tables.entry(*table).or_default().retain(|key, _| key > upto),
            }
        }
        Ok(())
    }

    async fn sync(&self) -> io::Result<()> {
        let _turn = self.syncs.lock().await;
        if self.fail_sync.load(SeqCst) {
            return Err(io::Error::other("the platter is scratched, says the test"));
        }
        if self.sick.load(SeqCst) { Err(full()) } else { Ok(()) }
    }

    fn heal(&self) -> io::Result<()> {
        if self.free.load(SeqCst) < 64 << 10 {
            return Err(full());
        }
        self.sick.store(false, SeqCst);
        Ok(())
    }

    fn free(&self) -> io::Result<Option<Free>> {
        Ok(Some(Free { bytes: self.free.load(SeqCst), total_bytes: TOTAL }))
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let free = self.free.load(SeqCst) + self.reserved.swap(0, SeqCst);
        self.free.store(free, SeqCst);
        let left = free.checked_sub(bytes).ok_or_else(full)?;
        self.reserved.store(bytes, SeqCst);
        self.free.store(left, SeqCst);
        Ok(())
    }

    fn reserved(&self) -> io::Result<u64> {
        Ok(self.reserved.load(SeqCst))
    }

    fn save_note(&self, note: Note, bytes: &[u8], _durable: bool) -> io::Result<()> {
        self.notes.lock().unwrap().insert(note, bytes.to_vec());
        Ok(())
    }

    fn note(&self, note: Note) -> io::Result<Option<Vec<u8>>> {
        Ok(self.notes.lock().unwrap().get(&note).cloned())
    }

    fn set_aside(&self) -> io::Result<()> {
        self.tables.lock().unwrap().clear();
        Ok(())
    }

    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.tables.lock().unwrap().get(&table).and_then(|rows| rows.get(key).cloned()))
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], bytes_max: usize) -> io::Result<Vec<Row>> {
        let tables = self.tables.lock().unwrap();
        let Some(rows) = tables.get(&table) else { return Ok(Vec::new()) };
        let mut bytes = 0;
        let within = rows.iter().skip_while(|(key, _)| key[..] < *from).take_while(|(key, _)| key[..] < *to);
        let fits = within.take_while(|(_, row)| {
            let fits = bytes == 0 || bytes < bytes_max;
            bytes += row.len();
            fits
        });
        Ok(fits.map(|(key, row)| (key.clone(), row.clone())).collect())
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn close(&self) {}
}

pub type Disks = BTreeMap<u64, Arc<Memory>>;

pub async fn start_on(cluster: &mut Cluster, disks: &Disks, id: u64) -> Result<Store, String> {
    let opened = Store::open_on(disks[&id].clone(), cluster.config(id), Env::real()).await;
    let store = opened.map_err(|error| error.to_string())?;
    cluster.stores.insert(id, store.clone());
    Ok(store)
}

pub async fn on_memory(size: u64) -> (Cluster, Disks) {
    let mut cluster = Cluster::of(size);
    let disks: Disks = (1..=size).map(|id| (id, Memory::new())).collect();
    for id in 1..=size {
        start_on(&mut cluster, &disks, id).await.unwrap();
    }
    cluster.leader().await;
    (cluster, disks)
}

/// Waits until this object is on the disk: it may come later than the answer to its write.
pub async fn saved(disk: &Memory, name: &str) {
    let found = async || disk.keys(Table::Objects).iter().any(|key| key.ends_with(name.as_bytes())).then_some(());
    eventually("the object on the disk", found).await;
}
