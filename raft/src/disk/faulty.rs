//! A disk that fails when told to, and on which what was forgotten is gone at once. For tests.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Batch, Disk, Free, Note, Row, Table, Write};

pub struct Faulty {
    pub below: Arc<dyn Disk>,
    pub fail_sync: AtomicBool,
    pub sync_takes: Mutex<Duration>,
    /// The next write fails, and not for lack of room.
    pub fail_write: AtomicBool,
    /// The next write panics.
    pub panic_write: AtomicBool,
    /// So many more writes, notes and syncs are taken, and none after that: the process is killed there.
    pub takes: AtomicU64,
    /// So many of the next scans fail; so many of those after them find no room.
    pub fail_scans: AtomicU64,
    pub full_scans: AtomicU64,
    /// The next scan panics.
    pub panic_scan: AtomicBool,
    /// Of the file system, the reserve not counted.
    pub free: Mutex<u64>,
    /// It does not tell how much is free.
    pub silent: AtomicBool,
    pub total: u64,
    reserved: Mutex<u64>,
    /// A write has failed since the last healing.
    pub sick: AtomicBool,
    pub heals: AtomicU64,
    pub reclaims: AtomicU64,
    /// The next note, and the next scan: the one is told before it is saved, or read, which then waits until the other is told.
    pub hold_note: Hold,
    pub hold_scan: Hold,
}

type Hold = Mutex<Option<(oneshot::Sender<()>, mpsc::Receiver<()>)>>;

fn wait_for(hold: &Hold) {
    // Not in one with what follows, which would hold up the others as well.
    let held = hold.lock().unwrap().take();
    if let Some((begun, end)) = held {
        let _ = begun.send(());
        let _ = end.recv_timeout(HELD_MAX);
    }
}

const MIB: u64 = 1 << 20;
/// Nothing is held for longer than this.
const HELD_MAX: Duration = Duration::from_secs(20);

impl Faulty {
    pub fn new(below: Arc<dyn Disk>) -> Arc<Faulty> {
        let total = 1024 * MIB;
        Arc::new(Faulty {
            below,
            fail_sync: false.into(),
            sync_takes: Mutex::default(),
            fail_write: false.into(),
            panic_write: false.into(),
            takes: u64::MAX.into(),
            fail_scans: 0.into(),
            full_scans: 0.into(),
            panic_scan: false.into(),
            free: Mutex::new(total),
            silent: AtomicBool::new(false),
            total,
            reserved: Mutex::new(0),
            sick: false.into(),
            heals: AtomicU64::new(0),
            reclaims: AtomicU64::new(0),
            hold_note: Mutex::default(),
            hold_scan: Mutex::default(),
        })
    }

    pub fn set_free(&self, bytes: u64) {
        *self.free.lock().unwrap() = bytes;
    }

    fn take(&self) -> io::Result<()> {
        let taken = self.takes.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        taken.map(|_| ()).map_err(|_| io::Error::other("the process is killed, says the test"))
    }
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left, says the test")
}

#[async_trait]
impl Disk for Faulty {
    fn write(&self, batch: &Batch) -> io::Result<()> {
        self.take()?;
        if self.fail_write.swap(false, Relaxed) {
            return Err(io::Error::other("the cable is loose, says the test"));
        }
        assert!(!self.panic_write.swap(false, Relaxed), "a bug, says the test");
        let mut free = self.free.lock().unwrap();
        if self.sick.load(Relaxed) || *free < batch.bytes as u64 {
            self.sick.store(true, Relaxed);
            return Err(full());
        }
        *free -= batch.bytes as u64;
        let mut batch = batch.clone();
        for write in &mut batch.writes {
            if let Write::Forget(table, upto) = write {
                *write = Write::DeleteRange(*table, Bytes::new(), [&upto[..], &[0]].concat().into());
            }
        }
        self.below.write(&batch)
    }

    async fn sync(&self) -> io::Result<()> {
        self.take()?;
        let takes = *self.sync_takes.lock().unwrap();
        tokio::time::sleep(takes).await;
        match self.fail_sync.load(Relaxed) {
            true => Err(io::Error::other("the platter is scratched, says the test")),
            false if self.sick.load(Relaxed) => Err(full()),
            false => self.below.sync().await,
        }
    }

    fn heal(&self) -> io::Result<()> {
        self.heals.fetch_add(1, Relaxed);
        match *self.free.lock().unwrap() > 64 << 10 {
            true => self.sick.store(false, Relaxed),
            false => return Err(full()),
        }
        Ok(())
    }

    fn free(&self) -> io::Result<Option<Free>> {
        if self.silent.load(Relaxed) {
            return Ok(None);
        }
        Ok(Some(Free { bytes: *self.free.lock().unwrap(), total_bytes: self.total }))
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let (mut free, mut reserved) = (self.free.lock().unwrap(), self.reserved.lock().unwrap());
        *free = (*free + *reserved).checked_sub(bytes).ok_or_else(full)?;
        *reserved = bytes;
        Ok(())
    }

    fn reserved(&self) -> io::Result<u64> {
        Ok(*self.reserved.lock().unwrap())
    }

    fn save_note(&self, note: Note, bytes: &[u8], durable: bool) -> io::Result<()> {
        wait_for(&self.hold_note);
        self.take()?;
        self.below.save_note(note, bytes, durable)
    }

    fn note(&self, note: Note) -> io::Result<Option<Vec<u8>>> {
        self.below.note(note)
    }

    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.below.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], bytes_max: usize) -> io::Result<Vec<Row>> {
        wait_for(&self.hold_scan);
        assert!(!self.panic_scan.swap(false, Relaxed), "a bug, says the test");
        let one_of = |count: &AtomicU64| count.fetch_update(Relaxed, Relaxed, |count| count.checked_sub(1)).is_ok();
        match () {
            () if one_of(&self.fail_scans) => Err(io::Error::other("the sector is gone, says the test")),
            () if one_of(&self.full_scans) => Err(full()),
            () => self.below.scan(table, from, to, bytes_max),
        }
    }

    fn reclaim(&self) -> io::Result<()> {
        self.reclaims.fetch_add(1, Relaxed);
        self.below.reclaim()
    }

    fn bytes(&self) -> u64 {
        self.below.bytes()
    }

    fn close(&self) {
        self.below.close();
    }
}
