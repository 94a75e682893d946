//! The objects on the disk, by generation: a snapshot is written beside the present generation and then takes its
//! place in one step. Acts.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::runtime::Handle;

use super::image::Image;
use crate::command::Versioned;
use crate::disk::room::Room;
use crate::disk::{Batch, Disk, Table, apart};
use crate::record;
use crate::state::State;

/// How much is written at once while a snapshot comes in.
const STAGE_BYTES: usize = 1 << 20;

pub fn key(generation: u32, key: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(4 + key.len());
    out.put_u32(generation);
    out.put_slice(key);
    out.freeze()
}

/// Reads a generation into memory.
pub fn load(disk: &dyn Disk, generation: u32) -> io::Result<State> {
    let mut state = State::default();
    let end = key(generation + 1, b"");
    let mut from = key(generation, b"");
    loop {
        let rows = disk.scan(Table::Objects, &from, &end, STAGE_BYTES)?;
        let Some((last, _)) = rows.last() else { return Ok(state) };
        let mut next = BytesMut::from(&last[..]);
        next.put_u8(0);
        from = next.freeze();
        for (at, row) in rows {
            let name = at.slice(4..);
            let object = record::decode(&row, &|| format!("object {}", String::from_utf8_lossy(&name)))?;
            // A key of its own: a slice would keep the generation's four bytes and the row alive.
            state.insert(Bytes::copy_from_slice(&name), object);
        }
    }
}

/// Hands out generations and clears away the ones that no state refers to.
pub struct Generations {
    room: Arc<Room>,
    next: AtomicU32,
    /// Nothing refers to them, and they take room still: the disk was full when they were to go.
    left: Mutex<Vec<u32>>,
    /// One at a time clears them away.
    clearing: tokio::sync::Mutex<()>,
}

impl Generations {
    /// Everything but `present` is left over from a transfer that did not finish. On a full disk that stays until
    /// [`Generations::clear_left`].
    pub fn open(room: Arc<Room>, present: u32) -> io::Result<Arc<Generations>> {
        let mut left = all(&*room.disk)?;
        left.retain(|generation| *generation != present);
        let highest = left.iter().fold(present, |highest, of| highest.max(*of));
        if !left.is_empty() {
            match room.disk.write(&deletion(&left)) {
                Ok(()) => left.clear(),
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    tracing::warn!(%error, "unfinished snapshots are left on the disk until there is room");
                }
                Err(error) => return Err(error),
            }
        }
        let (next, left) = (AtomicU32::new(highest + 1), Mutex::new(left));
        Ok(Arc::new(Generations { room, next, left, clearing: Default::default() }))
    }

    /// Begins a new one, once those that were left have given their room back: it may be all that there is.
    pub async fn stage(self: &Arc<Self>) -> io::Result<Stage> {
        self.clear_left().await?;
        let generation = self.next.fetch_add(1, Relaxed);
        let staged = Staged { generation, generations: self.clone(), adopted: false.into() };
        Ok(Stage { staged: Arc::new(staged), batch: Batch::default(), state: State::default() })
    }

    fn left(&self) -> MutexGuard<'_, Vec<u32>> {
        self.left.lock().expect("no holder of the generations that are left panics")
    }

    /// Waits until the disk takes writes again. Cancelled, or failed, it leaves all of it to the next.
    pub async fn clear_left(&self) -> io::Result<()> {
        let _alone = self.clearing.lock().await;
        let left = self.left().clone();
        if left.is_empty() {
            return Ok(());
        }
        self.room.write(&deletion(&left)).await?;
        if let Err(error) = apart(&self.room.disk, |disk| disk.reclaim()).await {
            tracing::debug!(%error, "the room of unfinished snapshots is not given back yet");
        }
        self.left().retain(|generation| !left.contains(generation));
        Ok(())
    }

    /// Puts the objects of an image that came without a generation of its own onto the disk.
    pub async fn write(self: &Arc<Self>, image: &Image) -> io::Result<Arc<Staged>> {
        let mut stage = self.stage().await?;
        for (key, object) in image.state.objects() {
            stage.add(key.clone(), object.clone()).await?;
        }
        Ok(stage.finish(image.state.revision()).await?.1)
    }
}

/// The generations of which there is at least one row.
fn all(disk: &dyn Disk) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    let mut from = key(0, b"");
    while let Some((at, _)) = disk.scan(Table::Objects, &from, &key(u32::MAX, b""), 1)?.first() {
        let Some(generation) = at.first_chunk().map(|number| u32::from_be_bytes(*number)) else { break };
        found.push(generation);
        from = key(generation.saturating_add(1), b"");
    }
    Ok(found)
}

/// A generation that is being written.
pub struct Stage {
    staged: Arc<Staged>,
    batch: Batch,
    state: State,
}

impl Stage {
    pub async fn add(&mut self, name: Bytes, object: Versioned) -> io::Result<()> {
        self.batch.put(Table::Objects, key(self.staged.generation, &name), record::encode(&object));
        self.state.insert(name, object);
        match self.batch.bytes >= STAGE_BYTES {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let (staged, batch) = (self.staged.clone(), std::mem::take(&mut self.batch));
        // Whoever gives the snapshot up clears it away, which no write may come after: it is kept until this one is done.
        let write = move |disk: &dyn Disk| {
            let _kept = &staged;
            disk.write(&batch)
        };
        self.staged.generations.room.persist_apart(write).await
    }

    pub fn len(&self) -> usize {
        self.state.len()
    }

    pub async fn finish(mut self, revision: u64) -> io::Result<(State, Arc<Staged>)> {
        self.flush().await?;
        self.state.set_revision(revision);
        Ok((self.state, self.staged))
    }
}

/// A generation on the disk that no state refers to yet. Dropped without being adopted, it is cleared away; on a full disk, as
/// soon as there is room for that.
pub struct Staged {
    pub generation: u32,
    generations: Arc<Generations>,
    adopted: std::sync::atomic::AtomicBool,
}

impl Staged {
    pub fn adopt(&self) {
        self.adopted.store(true, Relaxed);
    }
}

impl std::fmt::Debug for Staged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Staged({})", self.generation)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.adopted.load(Relaxed) {
            return;
        }
        match self.generations.room.disk.write(&deletion(&[self.generation])) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!(%error, "an unfinished snapshot is left on the disk until there is room");
                self.generations.left().push(self.generation);
                // Perhaps nobody sends another.
                let generations = self.generations.clone();
                let clears = async move { generations.clear_left().await };
                drop(Handle::try_current().map(|runtime| runtime.spawn(clears)));
            }
            Err(error) => {
                tracing::warn!(%error, "an unfinished snapshot is left on the disk until the next start");
            }
        }
    }
}

fn deletion(generations: &[u32]) -> Batch {
    let mut batch = Batch::default();
    for generation in generations {
        batch.delete_range(Table::Objects, key(*generation, b""), key(generation + 1, b""));
    }
    batch
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep, timeout};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::disk::faulty::Faulty;
    use crate::disk::rocks::Rocks;
    use crate::metrics::Metrics;

    const PATIENCE: Duration = Duration::from_secs(20);
    const ENOUGH: u64 = 100 << 20;

    fn rows(disk: &Faulty) -> usize {
        disk.scan(Table::Objects, b"", &[0xff; 9], usize::MAX).unwrap().len()
    }

    fn fill_up(disk: &Faulty) {
        disk.set_free(0);
        let mut one = Batch::default();
        one.put(Table::Meta, Bytes::from_static(b"one"), vec![1]);
        disk.write(&one).expect_err("the disk is full");
    }

    /// Some of it is on the disk when that is full.
    async fn give_one_up(generations: &Arc<Generations>, disk: &Faulty) {
        let mut stage = timeout(PATIENCE, generations.stage()).await.unwrap().unwrap();
        let large = Versioned { revision: 1, created: 1, value: vec![7; STAGE_BYTES].into() };
        stage.add("large".into(), large).await.unwrap();
        fill_up(disk);
        drop(stage);
        assert_eq!(rows(disk), 1, "what deletes is refused as well");
    }

    #[tokio::test]
    async fn a_snapshot_given_up_on_a_full_disk_goes_when_there_is_room_and_before_another_comes() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
        let room = Room::new(disk.clone(), Arc::new(Metrics::default()), CancellationToken::new());
        let generations = Generations::open(room, 0).unwrap();

        give_one_up(&generations, &disk).await;
        disk.set_free(ENOUGH);
        let deadline = Instant::now() + PATIENCE;
        while rows(&disk) > 0 {
            assert!(Instant::now() < deadline, "it is still there");
            sleep(Duration::from_millis(20)).await;
        }

        give_one_up(&generations, &disk).await;
        let before = disk.reclaims.load(Relaxed);
        disk.set_free(ENOUGH);
        let _next = timeout(PATIENCE, generations.stage()).await.expect("there is room").unwrap();
        assert_eq!((rows(&disk), disk.reclaims.load(Relaxed)), (0, before + 1));
    }

    #[tokio::test]
    async fn a_replica_that_starts_on_a_full_disk_leaves_unfinished_snapshots_until_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
        let mut batch = Batch::default();
        for generation in [0, 3, 4, 9] {
            batch.put(Table::Objects, key(generation, b"a"), vec![1]);
            batch.put(Table::Objects, key(generation, b"b"), vec![1]);
        }
        disk.write(&batch).unwrap();
        assert_eq!(all(&*disk).unwrap(), [0, 3, 4, 9]);

        fill_up(&disk);
        let room = Room::new(disk.clone(), Arc::new(Metrics::default()), CancellationToken::new());
        let generations = Generations::open(room, 3).expect("it serves what it has");
        assert_eq!((rows(&disk), generations.left().clone()), (8, vec![0, 4, 9]));
        disk.set_free(ENOUGH);
        timeout(PATIENCE, generations.clear_left()).await.expect("there is room").unwrap();
        assert_eq!((all(&*disk).unwrap(), generations.left().clone()), (vec![3], vec![]));
        assert_eq!(generations.stage().await.unwrap().staged.generation, 10, "a number of its own");
    }
}
