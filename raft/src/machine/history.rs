//! The changes of the history window: the newest in memory, all of them on the disk, trimmed a little at a time. Their
//! values lie in the log only. `trim` decides, `rows` reads, `ring` holds what is in memory; the rest acts. What came before a
//! snapshot that fills this replica is fetched from others: `gap` takes it in, `tell` is the other side of it.
//!
//! What is in memory is behind a lock that nobody holds while the disk works: entries are applied under it.

pub mod gap;
pub mod tell;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use proto::mutants::{self, Mutant};
use tokio::sync::Semaphore;

use super::published::Published;
use super::reach::Reach;
use super::ring::{self, Ring};
use super::row::{self, Place};
use super::rows::{self, Missing, key};
use super::trim::{self, Floors, Trimmed};
use crate::command::{Change, Previous, Revision};
use crate::disk::patience::patiently;
use crate::disk::{Batch, Disk, Table, apart};
use crate::metrics::Metrics;
use crate::record;
use crate::store::{Gone, HistoryError, HistoryWindow, Untold};
use crate::types::LogId;

/// So small a part of the window, and no more than the ring, may lie between a row and the near one that it relies on.
const NEAR_PART: u64 = 16;
/// How many bytes of rows one trimming step looks at, so that none of them takes long.
const TRIM_BYTES: usize = 64 << 10;
/// So many may read it from the disk at once, each on a thread of its own. When a replica has restarted, its memory holds
/// nothing, and all its watchers come at the same time: syncs need threads and the disk too.
const READS_AT_ONCE: usize = 4;

/// Positions do not come to an end, whatever somebody takes for a window.
const ANEW_MAX: u64 = 1 << 50;

const TRIMMED: &[u8] = b"trimmed";

/// Changes, and the revision up to which they are all there is.
pub type Stretch = (Vec<Arc<Change>>, Revision);

pub struct History {
    disk: Arc<dyn Disk>,
    metrics: Arc<Metrics>,
    window: HistoryWindow,
    reach: Arc<Reach>,
    /// So far back rely rows that were there at the start: they may have been written when the window was larger.
    near_found: u64,
    inner: Mutex<Inner>,
    /// Held by who drops some of it. Taken before `inner`, never while that is held.
    dropping: Mutex<()>,
    turns: Arc<Semaphore>,
}

struct Inner {
    trimmed: Trimmed,
    bytes_added: u64,
    newest: Revision,
    /// So far are the rows on the disk; what is newer is in memory.
    written: Revision,
    ring: Ring,
    floors: Floors,
    /// A snapshot filled this replica up to here, and what came before it was not fetched yet.
    filled: Option<Revision>,
    /// Rows up to this one go as whole files sooner or later: none is written there again.
    forgotten: Revision,
}

/// [`History::since`], where a read of the disk holds up nobody, and one that fails is tried again. Cancelled, it leaves a read
/// that has begun to end by itself.
pub async fn since(
    published: &Arc<Published>,
    after: Revision,
    upto: Revision,
    prefix: &Bytes,
) -> Result<Stretch, HistoryError> {
    let history = &published.history;
    if let Some(found) = history.recent(after, upto, prefix)? {
        return Ok(found);
    }
    let prefix = prefix.clone();
    from_disk(published, after, upto, move |history| history.since(after, upto, &prefix)).await
}

/// A read of what came after `after`, which holds up nobody.
async fn from_disk<T: Send + 'static>(
    published: &Arc<Published>,
    after: Revision,
    upto: Revision,
    read: impl Fn(&History) -> io::Result<Result<T, Gone>> + Clone + Send + 'static,
) -> Result<T, HistoryError> {
    let history = &published.history;
    let turn = Arc::new(history.turns.clone().acquire_owned().await.expect("the turns are never closed"));
    let read = || {
        let (there, read, turn) = (published.clone(), read.clone(), turn.clone());
        apart(&history.disk, move |_| {
            let _turn = turn;
            read(&there.history)
        })
    };
    match patiently(&published.ended, read).await {
        Ok(found) => Ok(found?),
        // As gone as what was trimmed; the watcher starts over.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            history.metrics.damage_found(&error);
            Err(Gone { asked: after, oldest: upto }.into())
        }
        Err(error) => Err(Untold(error.to_string()).into()),
    }
}

impl History {
    /// `bytes_added`, `newest`: all that ever came in, and the revision reached with it, as the state machine saved it.
    pub fn open(
        disk: Arc<dyn Disk>,
        metrics: Arc<Metrics>,
        window: HistoryWindow,
        reach: Arc<Reach>,
        (bytes_added, newest): (u64, Revision),
    ) -> io::Result<History> {
        let what = || "meta record trimmed".to_string();
        let trimmed = disk.get(Table::Meta, TRIMMED)?.map(|row| record::decode(&row, &what)).transpose()?;
        let mut trimmed: Trimmed = trimmed.unwrap_or_default();
        if mutants::on(Mutant::HistoryBeginsAnew) {
            trimmed.floor = newest;
        }
        reach.relies_beyond(trimmed.entry());
        let near_found = rows::check(&*disk, trimmed.cleared)?;
        let (ring, floors) = (Ring::default(), Floors::default());
        let (written, filled, forgotten) = (newest, gap::found(&*disk)?, 0);
        let inner = Mutex::new(Inner { trimmed, bytes_added, newest, written, ring, floors, filled, forgotten });
        let turns = Arc::new(Semaphore::new(READS_AT_ONCE));
        let dropping = Mutex::default();
        let history = History { disk, metrics, window, reach, near_found, inner, dropping, turns };
        history.report(&history.inner());
        Ok(history)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of the history panics")
    }

    fn dropping(&self) -> MutexGuard<'_, ()> {
        self.dropping.lock().expect("nobody who drops history panics")
    }

    fn report(&self, inner: &Inner) {
        Metrics::set(&self.metrics.history_floor, inner.trimmed.floor);
        Metrics::set(&self.metrics.history_bytes, inner.bytes());
    }

    /// Changes up to this revision are gone.
    pub fn floor(&self) -> Revision {
        self.inner().trimmed.floor
    }

    /// How many bytes may lie between a row and the one that it relies on.
    fn near_bytes(&self) -> u64 {
        (self.window.bytes_max / NEAR_PART).min(ring::BYTES_MAX as u64)
    }

    /// What an entry of so many bytes has changed. Its rows go into the batch, which the caller writes, and memory has it at once.
    /// The bytes count also where nothing was changed: the log keeps them for as long.
    pub fn add(&self, batch: &mut Batch, entry: &LogId, changes: Vec<Change>, entry_bytes: u64) {
        let mut inner = self.inner();
        let (start, near_bytes) = (inner.bytes_added, self.near_bytes());
        let (mut bytes, mut values) = (0, 0);
        for (n, change) in changes.iter().enumerate() {
            let position = start + bytes;
            let near = match &change.previous {
                Previous::Was(was) => inner.ring.position(was.revision).is_some_and(|at| position - at <= near_bytes),
                Previous::Absent | Previous::Forgotten => false,
            };
            let row = row::encode(change, Place::new(entry, position, n + 1 == changes.len()), values, near);
            bytes += row.len() as u64;
            values += usize::from(change.value.is_some());
            if mutants::on(Mutant::DeleteLeavesNoEvent) && change.value.is_none() {
                continue;
            }
            batch.put(Table::History, key(change.revision), row);
        }
        inner.bytes_added += bytes + entry_bytes;
        inner.newest = changes.last().map_or(inner.newest, |last| last.revision);
        inner.ring.extend(changes, start);
    }

    /// The rows of what was added up to this revision are on the disk now.
    pub fn wrote(&self, upto: Revision) {
        let mut inner = self.inner();
        inner.written = upto;
        inner.ring.shrink(upto);
        self.report(&inner);
    }

    /// Changes after `after` up to `upto` to keys that begin with `prefix`, about [`rows::READ_BYTES`] of them and whole
    /// commands only. A watcher keeps for as long as it likes what it is given. `None`: memory does not reach back so far.
    pub fn recent(&self, after: Revision, upto: Revision, prefix: &[u8]) -> Result<Option<Stretch>, Gone> {
        let inner = self.inner();
        if after < inner.trimmed.floor {
            return Err(Gone { asked: after, oldest: inner.trimmed.floor });
        }
        Ok(inner.ring.stretch(after, upto, prefix))
    }

    /// The same, from the disk where memory does not reach back so far; that may take long.
    fn since(&self, after: Revision, upto: Revision, prefix: &[u8]) -> io::Result<Result<Stretch, Gone>> {
        if let Some(found) = self.recent(after, upto, prefix).transpose() {
            return Ok(found);
        }
        Metrics::add(&self.metrics.watch_reads_from_disk, 1);
        let there = upto.min(self.inner().written);
        let changes = match rows::read(&*self.disk, after, there, |row| row.place.ends_command) {
            Ok(changes) => changes,
            Err(Missing::Row(revision)) => return Ok(Err(Gone { asked: after, oldest: self.floor().max(revision) })),
            Err(Missing::Unread(error)) => return Err(error),
        };
        let reached = changes.last().map_or(after, |change| change.revision);
        let wanted = changes.into_iter().filter(|change| change.key.starts_with(prefix)).map(Arc::new);
        Ok(Ok((wanted.collect(), reached)))
    }

    /// Drops a little of what the window no longer covers, up to `revision` at most. Returns whether there may be more
    /// to drop. Works on the disk all the while.
    pub fn trim(&self, now_ms: u64, revision: Revision) -> io::Result<bool> {
        let (before, added) = {
            let inner = self.inner();
            (inner.trimmed, inner.bytes_added)
        };
        let (mut bytes, mut seen) = (1, 0);
        let floor = loop {
            let rows = rows::scan(&*self.disk, before.floor, revision, bytes)?;
            let ends = rows.iter().any(|row| row.place.ends_command);
            match trim::expired(&self.window, &rows, now_ms, added) {
                // One row tells whether there is anything to do.
                Some(_) if bytes == 1 => bytes = TRIM_BYTES,
                Some(floor) => break floor,
                None if rows.is_empty() => return self.rest(),
                None if ends || rows.len() == seen => return Ok(false),
                // A command larger than that.
                None => (bytes, seen) = ((bytes * 4).max(TRIM_BYTES), rows.len()),
            }
        };
        let _alone = self.dropping();
        let trimmed = {
            let mut inner = self.inner();
            if inner.trimmed.floor != before.floor {
                return Ok(true);
            }
            let trimmed = inner.floors.move_on(before, floor, self.near_bytes().max(self.near_found));
            // Who reads hears of it before the rows go.
            (inner.trimmed.floor, inner.trimmed.position) = (trimmed.floor, trimmed.position);
            inner.ring.drop_upto(trimmed.floor);
            trimmed
        };
        self.store(trimmed, self.forgetting(trimmed.cleared), |_| {})?;
        Ok(true)
    }

    /// When nothing is left to look back on, nothing relies on what lies behind it.
    fn rest(&self) -> io::Result<bool> {
        let _alone = self.dropping();
        let (Trimmed { floor, position, cleared, .. }, entry) = {
            let inner = self.inner();
            if inner.trimmed.floor < inner.newest {
                return Ok(false);
            }
            (inner.trimmed, self.reach.now().applied)
        };
        if cleared < floor {
            self.store(Trimmed::all(floor, position, entry), self.forgetting(floor), |_| {})?;
        }
        self.reach.relies_beyond(entry);
        Ok(false)
    }

    /// Clears the rows up to this one, where they are on the disk still.
    fn forgetting(&self, upto: Revision) -> Batch {
        let (mut batch, mut inner) = (Batch::default(), self.inner());
        if upto > inner.trimmed.cleared {
            batch.forget(Table::History, key(upto));
            inner.forgotten = upto;
        }
        batch
    }

    /// Writes it down with what the caller has in the batch. The caller holds `dropping`, and has `then` done when that is on the
    /// disk.
    fn store(&self, trimmed: Trimmed, mut batch: Batch, then: impl FnOnce(&mut Inner)) -> io::Result<()> {
        batch.put(Table::Meta, TRIMMED, record::encode(&trimmed));
        self.disk.write(&batch)?;
        let mut inner = self.inner();
        inner.trimmed = trimmed;
        then(&mut inner);
        self.reach.relies_beyond(trimmed.entry());
        self.report(&inner);
        Ok(())
    }

    /// A snapshot replaces everything up to the entry: the batch, which the caller fills with the new state, is written
    /// while nobody trims.
    pub fn replace(&self, batch: &Batch, revision: Revision, entry: Option<LogId>) -> io::Result<()> {
        let _alone = self.dropping();
        let floor = if mutants::on(Mutant::HistoryHoleAfterSnapshot) { self.floor() } else { revision };
        let (mut batch, position) = (batch.clone(), self.position_anew());
        batch.delete_range(Table::History, key(0), key(u64::MAX));
        gap::put(&mut batch, revision);
        self.store(Trimmed::all(floor, position, entry), batch, |inner| {
            (inner.newest, inner.written, inner.bytes_added) = (revision, revision, position);
            inner.filled = Some(revision);
            inner.floors.forget();
            inner.ring.clear();
        })
    }

    pub fn bytes_added(&self) -> u64 {
        self.inner().bytes_added
    }

    /// Where it goes on behind a snapshot: a whole window has room before that, for what is fetched of the time before.
    pub fn position_anew(&self) -> u64 {
        self.bytes_added() + self.window.bytes_max.min(ANEW_MAX)
    }

    /// What the window takes, and what it is to take at most.
    pub fn bytes(&self) -> (u64, u64) {
        (self.inner().bytes(), self.window.bytes_max)
    }
}

impl Inner {
    fn bytes(&self) -> u64 {
        self.bytes_added.saturating_sub(self.trimmed.position)
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
