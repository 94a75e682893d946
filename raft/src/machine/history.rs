//! The changes of the history window: the newest in memory, all of them on the disk, trimmed a little at a time. Their
//! values lie in the log only. `trim` decides, `rows` reads; the rest acts.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::reach::Reach;
use super::row::{self, Place};
use super::rows::{self, Missing, key};
use super::trim::{self, Floors, Trimmed};
use crate::command::{Change, Previous, Revision};
use crate::disk::{Batch, Disk, Table};
use crate::metrics::Metrics;
use crate::mutants::{self, Mutant};
use crate::record;
use crate::store::{Gone, HistoryWindow};
use crate::types::LogId;

/// Watchers that keep up are served from memory; beyond this the oldest changes are only on the disk.
const RING_BYTES: usize = 4 << 20;
/// So small a part of the window, and no more than the ring, may lie between a row and the near one that it relies on.
const NEAR_PART: u64 = 16;
/// How many bytes of rows one trimming step looks at, so that none of them takes long.
const TRIM_BYTES: usize = 64 << 10;

const TRIMMED: &[u8] = b"trimmed";

pub struct History {
    disk: Arc<dyn Disk>,
    metrics: Arc<Metrics>,
    window: HistoryWindow,
    reach: Arc<Reach>,
    inner: Mutex<Inner>,
}

struct Inner {
    trimmed: Trimmed,
    bytes_added: u64,
    newest: Revision,
    ring: VecDeque<Kept>,
    ring_bytes: usize,
    floors: Floors,
}

/// A change in memory.
struct Kept {
    change: Arc<Change>,
    /// What had come in before it.
    position: u64,
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
        let trimmed: Trimmed = trimmed.unwrap_or_default();
        reach.relies_beyond(trimmed.entry());
        let (ring, floors) = (VecDeque::new(), Floors::default());
        let inner = Inner { trimmed, bytes_added, newest, ring, ring_bytes: 0, floors };
        let history = History { disk, metrics, window, reach, inner: Mutex::new(inner) };
        history.check()?;
        history.report(&history.inner());
        Ok(history)
    }

    /// Reads it once, so that damage is found while it can still be repaired.
    fn check(&self) -> io::Result<()> {
        let mut at = self.inner().trimmed.cleared;
        while let Some(last) = rows::scan(&*self.disk, at, u64::MAX, rows::READ_BYTES)?.last() {
            at = last.revision;
        }
        Ok(())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of the history panics")
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
        (self.window.bytes_max / NEAR_PART).min(RING_BYTES as u64)
    }

    /// Puts the rows of an entry's changes into the batch of a round in which `before` bytes came in already. Returns
    /// the bytes of the rows.
    pub fn write(&self, batch: &mut Batch, entry: &LogId, changes: &[Change], before: u64) -> u64 {
        let inner = self.inner();
        let (start, near_bytes) = (inner.bytes_added + before, self.near_bytes());
        let (mut bytes, mut values) = (0, 0);
        for (n, change) in changes.iter().enumerate() {
            let position = start + bytes;
            let near = match &change.previous {
                Previous::Was(was) => inner.position(was.revision).is_some_and(|at| position - at <= near_bytes),
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
        bytes
    }

    /// A round of entries is on the disk now, with so many bytes, which count also where nothing was changed: the log
    /// keeps them for as long. Keeps the changes in memory too.
    pub fn remember(&self, changes: Vec<Arc<Change>>, bytes: u64) {
        let mut inner = self.inner();
        // All as if they began where the first does: none counts as nearer than it is.
        let position = inner.bytes_added;
        inner.bytes_added += bytes;
        for change in changes {
            inner.newest = change.revision;
            if mutants::on(Mutant::DeleteLeavesNoEvent) && change.value.is_none() {
                continue;
            }
            inner.ring_bytes += weight(&change);
            inner.ring.push_back(Kept { change, position });
        }
        while inner.ring_bytes > RING_BYTES {
            inner.drop_oldest();
        }
        self.report(&inner);
    }

    /// Changes after `after` up to `upto` to keys that begin with `prefix`, and the revision up to which that is
    /// all there is: `upto`, or less when the rest is left for another call.
    pub fn since(&self, after: Revision, upto: Revision, prefix: &[u8]) -> Result<(Vec<Arc<Change>>, Revision), Gone> {
        {
            let inner = self.inner();
            if after < inner.trimmed.floor {
                return Err(Gone { asked: after, oldest: inner.trimmed.floor });
            }
            if let Some(skip) = inner.ring.front().and_then(|first| (after + 1).checked_sub(first.change.revision)) {
                let wanted = inner.ring.iter().skip(skip as usize).take((upto - after) as usize);
                let wanted = wanted.filter(|kept| kept.change.key.starts_with(prefix));
                return Ok((wanted.map(|kept| kept.change.clone()).collect(), upto));
            }
        }
        Metrics::add(&self.metrics.watch_reads_from_disk, 1);
        let changes = rows::read(&*self.disk, after, upto).map_err(|missing| self.gone(after, upto, missing))?;
        let reached = changes.last().map_or(after, |change| change.revision);
        let wanted = changes.into_iter().filter(|change| change.key.starts_with(prefix)).map(Arc::new);
        Ok((wanted.collect(), reached))
    }

    /// A change that cannot be read is as gone as one that was trimmed; the watcher starts over.
    fn gone(&self, asked: Revision, upto: Revision, missing: Missing) -> Gone {
        match missing {
            Missing::Row(revision) => Gone { asked, oldest: self.floor().max(revision) },
            Missing::Damaged(error) => {
                self.metrics.damage_found(&error);
                Gone { asked, oldest: upto }
            }
        }
    }

    /// Drops a little of what the window no longer covers, up to `revision` at most. Returns whether there may be more
    /// to drop.
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
        let mut inner = self.inner();
        if inner.trimmed.floor != before.floor {
            return Ok(true);
        }
        let trimmed = inner.floors.move_on(before, floor, self.near_bytes());
        self.store(&mut inner, trimmed, Batch::default())?;
        while inner.ring.front().is_some_and(|kept| kept.change.revision <= trimmed.floor) {
            inner.drop_oldest();
        }
        Ok(true)
    }

    /// When nothing is left to look back on, nothing relies on what lies behind it.
    fn rest(&self) -> io::Result<bool> {
        let mut inner = self.inner();
        let Trimmed { floor, position, cleared, .. } = inner.trimmed;
        if floor < inner.newest {
            return Ok(false);
        }
        let entry = self.reach.now().applied;
        if cleared < floor {
            self.store(&mut inner, Trimmed::all(floor, position, entry), Batch::default())?;
        }
        self.reach.relies_beyond(entry);
        Ok(false)
    }

    /// Writes it down with what the caller has in the batch, and clears the rows.
    fn store(&self, inner: &mut Inner, trimmed: Trimmed, mut batch: Batch) -> io::Result<()> {
        batch.put(Table::Meta, TRIMMED, record::encode(&trimmed));
        if trimmed.cleared > inner.trimmed.cleared {
            batch.delete_range(Table::History, key(inner.trimmed.cleared + 1), key(trimmed.cleared + 1));
        }
        self.disk.write(&batch)?;
        inner.trimmed = trimmed;
        self.reach.relies_beyond(trimmed.entry());
        self.report(inner);
        Ok(())
    }

    /// A snapshot replaces everything up to the entry: the batch, which the caller fills with the new state, is written
    /// while nobody trims.
    pub fn replace(&self, batch: &Batch, revision: Revision, entry: Option<LogId>) -> io::Result<()> {
        let mut inner = self.inner();
        let floor = if mutants::on(Mutant::HistoryHoleAfterSnapshot) { inner.trimmed.floor } else { revision };
        let mut batch = batch.clone();
        batch.delete_range(Table::History, key(0), key(u64::MAX));
        let trimmed = Trimmed::all(floor, inner.bytes_added, entry);
        self.store(&mut inner, trimmed, batch)?;
        inner.newest = revision;
        inner.floors.forget();
        if !mutants::on(Mutant::RingKeptAcrossSnapshot) {
            inner.ring.clear();
            inner.ring_bytes = 0;
        }
        Ok(())
    }

    pub fn bytes_added(&self) -> u64 {
        self.inner().bytes_added
    }
}

impl Inner {
    fn bytes(&self) -> u64 {
        self.bytes_added.saturating_sub(self.trimmed.position)
    }

    /// Of the change of this revision, if the ring has it.
    fn position(&self, revision: Revision) -> Option<u64> {
        let index = revision.checked_sub(self.ring.front()?.change.revision)?;
        self.ring.get(index as usize).filter(|kept| kept.change.revision == revision).map(|kept| kept.position)
    }

    fn drop_oldest(&mut self) {
        self.ring_bytes -= self.ring.pop_front().map_or(0, |kept| weight(&kept.change));
    }
}

/// Bytes a change keeps in memory, roughly.
fn weight(change: &Change) -> usize {
    let Change { key, value, previous, author, .. } = change;
    256 + key.len() + author.len() + value.as_ref().map_or(0, bytes::Bytes::len) + previous.len()
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
