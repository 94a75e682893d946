//! The way of every write that must not fail for lack of room: it waits, makes room with the reserve, and goes
//! through once there is some. To the cluster a replica that waits is a slow one: it acknowledges nothing and votes
//! for nobody meanwhile. Acts; [`super::space`] decides.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::slowness::Slowness;
use super::space::{Level, Limits};
use super::{Batch, Disk, Free, Note, apart};
use crate::metrics::Metrics;
use crate::rhythm::Rhythm;

/// Between two looks at the free room.
const LOOK: Duration = Duration::from_millis(500);
/// Between two attempts of a write that finds no room; it doubles up to the second.
const AGAIN_FIRST: Duration = Duration::from_millis(50);
const AGAIN_MAX: Duration = Duration::from_secs(1);

pub struct Room {
    pub disk: Arc<dyn Disk>,
    metrics: Arc<Metrics>,
    slowness: Arc<Slowness>,
    level: watch::Sender<Level>,
    /// Writes that wait for room now.
    waiting: AtomicUsize,
    /// One at a time makes room. How large is the reserve that is held?
    reserve: Mutex<u64>,
    /// The disk is closed after it.
    pub stop: CancellationToken,
}

impl Room {
    /// Waiting writes end with an error at `stop`.
    pub fn new(disk: Arc<dyn Disk>, metrics: Arc<Metrics>, stop: CancellationToken) -> Arc<Room> {
        let level = watch::Sender::new(Level::Ample);
        // One from before a restart is held as well.
        let reserve = Mutex::new(disk.reserved().unwrap_or(0));
        Arc::new(Room { disk, metrics, slowness: Arc::default(), level, waiting: AtomicUsize::new(0), reserve, stop })
    }

    pub fn level(&self) -> watch::Receiver<Level> {
        self.level.subscribe()
    }

    /// On this thread, which is quickest, or on another where that would hold up this one.
    pub async fn write(&self, batch: &Batch) -> io::Result<()> {
        match self.slowness.is_now() {
            false => self.persist(|| self.slowness.of(|| self.disk.write(batch))).await,
            true => {
                let (slowness, batch) = (self.slowness.clone(), batch.clone());
                self.persist_apart(move |disk| slowness.of(|| disk.write(&batch))).await
            }
        }
    }

    /// The same for a note that needs no sync of its own.
    pub async fn note(&self, note: Note, bytes: Vec<u8>) -> io::Result<()> {
        match self.slowness.is_now() {
            false => self.persist(|| self.slowness.of(|| self.disk.save_note(note, &bytes, false))).await,
            true => {
                let slowness = self.slowness.clone();
                self.persist_apart(move |disk| slowness.of(|| disk.save_note(note, &bytes, false))).await
            }
        }
    }

    /// The same for much at once, which would hold up everybody else on this thread.
    pub async fn write_apart(&self, batch: Batch) -> io::Result<()> {
        self.persist_apart(move |disk| disk.write(&batch)).await
    }

    /// [`Room::persist`] for what may take long.
    pub async fn persist_apart(
        &self,
        write: impl Fn(&dyn Disk) -> io::Result<()> + Send + Sync + 'static,
    ) -> io::Result<()> {
        let write = Arc::new(write);
        let writing = write.clone();
        let mut first = Some(apart(&self.disk, move |disk| writing(disk)).await);
        self.persist(|| first.take().unwrap_or_else(|| write(&*self.disk))).await
    }

    /// Runs `write` until it finds room. Any other error ends the trust in the disk.
    pub async fn persist(&self, mut write: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        let result = match write() {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => self.wait(error, write).await,
            done => done,
        };
        result.inspect_err(|error| {
            if !self.stop.is_cancelled() {
                self.metrics.disk_failed(error);
            }
        })
    }

    /// Waits until the disk takes writes again after it refused with `error`.
    pub async fn recover(&self, error: io::Error) -> io::Result<()> {
        self.wait(error, || Ok(())).await
    }

    async fn wait(&self, error: io::Error, mut write: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        let _waits = Waits::begin(self, &error);
        let mut pause = AGAIN_FIRST;
        loop {
            let healed = self.heal().await;
            let done = healed.and_then(|()| write());
            if !done.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull) {
                return done;
            }
            tokio::select! {
                () = self.stop.cancelled() => {
                    let why = done.err().map(|error| error.to_string()).unwrap_or_default();
                    return Err(io::Error::other(format!("the wait ends before there was room: {why}")));
                }
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(AGAIN_MAX),
            }
        }
    }

    /// Gives the reserve back and lets the disk take writes again.
    async fn heal(&self) -> io::Result<()> {
        let mut held = self.reserve.lock().await;
        if *held > 0 {
            tracing::warn!("the disk is full: the reserve is given back");
        }
        // Whether or not it is known of.
        apart(&self.disk, |disk| disk.reserve(0)).await?;
        *held = 0;
        Metrics::set(&self.metrics.disk_reserve_bytes, 0);
        apart(&self.disk, |disk| disk.heal()).await?;
        Metrics::add(&self.metrics.disk_heals, 1);
        Ok(())
    }

    /// Looks at the free room again and again. Ends with `stop`.
    pub async fn watch(self: Arc<Self>, rhythm: Rhythm) {
        loop {
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "the free room on the disk is not known");
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = rhythm.next(LOOK) => {}
            }
        }
    }

    async fn look(&self) -> io::Result<()> {
        let free = match self.slowness.is_now() {
            false => self.slowness.of(|| self.disk.free())?,
            true => apart(&self.disk, |disk| disk.free()).await?,
        };
        let waits = self.waiting.load(SeqCst) > 0;
        let Some(Free { bytes, total_bytes }) = free else {
            // Nothing but the writes that wait tells of it.
            self.show(if waits { Level::Out } else { Level::Ample });
            return Ok(());
        };
        Metrics::set(&self.metrics.disk_free_bytes, bytes);
        Metrics::set(&self.metrics.disk_total_bytes, total_bytes);
        let limits = Limits::of(total_bytes);
        let was = *self.level.borrow();
        self.show(limits.level(was, bytes, waits));
        // A write that makes room goes first.
        let Ok(mut held) = self.reserve.try_lock() else { return Ok(()) };
        let hold = limits.holds_reserve(*held > 0, bytes);
        if hold != (*held > 0) {
            let reserve = if hold { limits.reserve } else { 0 };
            match apart(&self.disk, move |disk| disk.reserve(reserve)).await {
                // There is room, and not for this user: a quota.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    tracing::debug!(%error, "no reserve can be set aside on the disk");
                }
                done => {
                    done?;
                    *held = reserve;
                    tracing::info!(reserve_bytes = reserve, free_bytes = bytes, "the reserve on the disk has changed");
                }
            }
        }
        Metrics::set(&self.metrics.disk_reserve_bytes, *held);
        Ok(())
    }

    fn show(&self, level: Level) {
        let changed = self.level.send_if_modified(|shown| std::mem::replace(shown, level) != level);
        Metrics::set(&self.metrics.space_level, level.number());
        if changed {
            match level {
                Level::Ample => tracing::info!("there is enough room on the disk"),
                Level::Short => tracing::warn!("there is little room on the disk: what grows the state is refused"),
                Level::Out => tracing::error!("writes find no room: this replica takes no part"),
            }
        }
    }
}

/// Counts as a waiting write until it is dropped.
struct Waits<'a>(&'a Room);

impl<'a> Waits<'a> {
    fn begin(room: &'a Room, error: &io::Error) -> Waits<'a> {
        tracing::warn!(%error, "a write waits for room");
        Metrics::add(&room.metrics.space_waits, 1);
        room.waiting.fetch_add(1, SeqCst);
        room.show(Level::Out);
        Waits(room)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, SeqCst) == 1 {
            // How short it is, the next look tells.
            self.0.show(Level::Short);
        }
    }
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
