//! The objects on the disk, by generation: a snapshot is written beside the present generation and then takes its
//! place in one step. Acts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bytes::{BufMut, Bytes, BytesMut};

use super::image::Image;
use crate::command::Versioned;
use crate::disk::room::Room;
use crate::disk::{Batch, Disk, Table};
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
}

impl Generations {
    /// Everything but `present` is left over from a transfer that did not finish.
    pub fn open(room: Arc<Room>, present: u32) -> io::Result<Arc<Generations>> {
        let (first, behind) = (key(present, b""), key(present + 1, b""));
        let disk = &room.disk;
        let mut leftovers = disk.scan(Table::Objects, b"", &first, 1)?;
        leftovers.extend(disk.scan(Table::Objects, &behind, &key(u32::MAX, b""), 1)?);
        if !leftovers.is_empty() {
            let mut batch = Batch::default();
            batch.delete_range(Table::Objects, key(0, b""), first);
            batch.delete_range(Table::Objects, behind, key(u32::MAX, b""));
            disk.write(&batch)?;
        }
        Ok(Arc::new(Generations { room, next: AtomicU32::new(present + 1) }))
    }

    pub fn stage(self: &Arc<Self>) -> Stage {
        let generation = self.next.fetch_add(1, Relaxed);
        let staged = Staged { generation, room: self.room.clone(), adopted: false.into() };
        Stage { staged: Arc::new(staged), batch: Batch::default(), state: State::default() }
    }

    /// Puts the objects of an image that came without a generation of its own onto the disk.
    pub async fn write(self: &Arc<Self>, image: &Image) -> io::Result<Arc<Staged>> {
        let mut stage = self.stage();
        for (key, object) in image.state.objects() {
            stage.add(key.clone(), object.clone()).await?;
        }
        Ok(stage.finish(image.state.revision()).await?.1)
    }
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
        self.staged.room.write(&std::mem::take(&mut self.batch)).await
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

/// A generation on the disk that no state refers to yet. Dropped without being adopted, it is cleared away.
pub struct Staged {
    pub generation: u32,
    room: Arc<Room>,
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
        let mut batch = Batch::default();
        batch.delete_range(Table::Objects, key(self.generation, b""), key(self.generation + 1, b""));
        if let Err(error) = self.room.disk.write(&batch) {
            tracing::warn!(%error, "an unfinished snapshot is left on the disk until the next start");
        }
    }
}
