//! The changes of the history window: the newest in memory, all of them on the disk, trimmed a little at a time.
//! `is_over` decides, the rest acts.
//!
//! A row does not repeat the value before its change where the row that has it is near. So rows stay on the disk for a
//! while after the window has left them behind.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::row::{self, Found};
use crate::command::{Change, Previous, Revision};
use crate::disk::{Batch, Disk, Table};
use crate::metrics::Metrics;
use crate::mutants::{self, Mutant};
use crate::record;
use crate::store::{Gone, HistoryWindow};

/// Watchers that keep up are served from memory; beyond this the oldest changes are only on the disk.
const RING_BYTES: usize = 4 << 20;
/// So small a part of the window, and no more than the ring, may lie between a row and the near one that it relies on.
const NEAR_PART: u64 = 16;
/// How much a watcher that fell behind reads from the disk at once.
const READ_BYTES: usize = 256 << 10;
/// How much history one trimming step drops, so that none of them takes long.
const TRIM_BYTES: usize = 512 << 10;

const TRIMMED: Bytes = Bytes::from_static(b"trimmed");

/// How far the history was dropped. Kept apart from what `apply` saves, because another task writes it.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Trimmed {
    /// Changes up to this revision are gone.
    floor: Revision,
    /// Ever dropped; together with what was ever added it gives the size of the window.
    bytes: u64,
    /// Rows up to this revision are off the disk too; those between are there for the rows that rely on them.
    cleared: Revision,
}

pub struct History {
    disk: Arc<dyn Disk>,
    metrics: Arc<Metrics>,
    window: HistoryWindow,
    inner: Mutex<Inner>,
}

struct Inner {
    trimmed: Trimmed,
    bytes_added: u64,
    ring: VecDeque<Kept>,
    ring_bytes: usize,
    /// Where the floor stood, in bytes ever dropped, as long as its rows are not cleared.
    floors: VecDeque<(u64, Revision)>,
}

/// A change in memory.
struct Kept {
    change: Arc<Change>,
    /// What was ever added when it was.
    at: u64,
}

impl History {
    /// `bytes_added`: all that was ever added, as the state machine saved it.
    pub fn open(
        disk: Arc<dyn Disk>,
        metrics: Arc<Metrics>,
        window: HistoryWindow,
        bytes_added: u64,
    ) -> io::Result<History> {
        let what = || "meta record trimmed".to_string();
        let trimmed = disk.get(Table::Meta, &TRIMMED)?.map(|row| record::decode(&row, &what)).transpose()?;
        let trimmed = trimmed.unwrap_or_default();
        let (ring, floors) = (VecDeque::new(), VecDeque::new());
        let inner = Inner { trimmed, bytes_added, ring, ring_bytes: 0, floors };
        let history = History { disk, metrics, window, inner: Mutex::new(inner) };
        history.check()?;
        history.report(&history.inner());
        Ok(history)
    }

    /// Reads it once, so that damage is found while it can still be repaired.
    fn check(&self) -> io::Result<()> {
        let mut next = self.inner().trimmed.cleared + 1;
        loop {
            let rows = self.disk.scan(Table::History, &next.to_be_bytes(), &u64::MAX.to_be_bytes(), READ_BYTES)?;
            for (at, row) in &rows {
                let revision = <[u8; 8]>::try_from(&at[..]).map_or(next, u64::from_be_bytes);
                record::open(row, &|| format!("history row {revision}"))?;
                next = revision + 1;
            }
            if rows.is_empty() {
                return Ok(());
            }
        }
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

    /// Puts a command's changes into the batch, which holds `before` bytes of them already. Returns the bytes they take.
    pub fn write(&self, batch: &mut Batch, changes: &[Change], before: u64) -> u64 {
        let inner = self.inner();
        let (start, near_bytes) = (inner.bytes_added + before, self.near_bytes());
        let mut bytes = 0;
        for (n, change) in changes.iter().enumerate() {
            let near = match &change.previous {
                Previous::Was(was) => inner.at(was.revision).is_some_and(|at| start + bytes - at <= near_bytes),
                Previous::Absent | Previous::Forgotten => false,
            };
            let row = row::encode(change, near, n + 1 == changes.len());
            bytes += row.len() as u64;
            if mutants::on(Mutant::DeleteLeavesNoEvent) && change.value.is_none() {
                continue;
            }
            batch.put(Table::History, key(change.revision), row);
        }
        bytes
    }

    /// The changes are on the disk now, in so many bytes: keeps them in memory too.
    pub fn remember(&self, changes: Vec<Arc<Change>>, bytes: u64) {
        let mut inner = self.inner();
        // All as if they began where the first does: none counts as nearer than it is.
        let at = inner.bytes_added;
        inner.bytes_added += bytes;
        for change in changes {
            if mutants::on(Mutant::DeleteLeavesNoEvent) && change.value.is_none() {
                continue;
            }
            inner.ring_bytes += weight(&change);
            inner.ring.push_back(Kept { change, at });
        }
        while inner.ring_bytes > RING_BYTES {
            let Some(oldest) = inner.ring.pop_front() else { break };
            inner.ring_bytes -= weight(&oldest.change);
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
        let changes = self.read(after, upto)?;
        let reached = changes.last().map_or(after, |change| change.revision);
        let wanted = changes.into_iter().filter(|change| change.key.starts_with(prefix)).map(Arc::new);
        Ok((wanted.collect(), reached))
    }

    /// From the disk: at least one whole command, if there is any.
    fn read(&self, after: Revision, upto: Revision) -> Result<Vec<Change>, Gone> {
        // A change that cannot be read is as gone as one that was trimmed; the watcher starts over.
        let unreadable = |error: io::Error| {
            self.metrics.damage_found(&error);
            Gone { asked: after, oldest: upto }
        };
        let mut changes = Vec::new();
        let (mut next, mut bytes) = (after + 1, 0);
        while next <= upto {
            let rows = self.disk.scan(Table::History, &next.to_be_bytes(), &(upto + 1).to_be_bytes(), READ_BYTES);
            let mut ended = false;
            for (_, row) in rows.map_err(unreadable)? {
                bytes += row.len();
                let row = Found::decode(&row, &|| format!("history row {next}")).map_err(unreadable)?;
                if row.revision != next {
                    return Err(self.gone(after, next));
                }
                next += 1;
                ended = row.ends_command && bytes >= READ_BYTES;
                let value = match row.near() {
                    Some(revision) => {
                        let value = self.value(revision, &changes).map_err(unreadable)?;
                        Some(value.ok_or_else(|| self.gone(after, next))?)
                    }
                    None => None,
                };
                changes.push(row.change(value));
                if ended {
                    break;
                }
            }
            match ended || changes.is_empty() {
                true => break,
                false => continue,
            }
        }
        match changes.is_empty() && after < upto {
            true => Err(self.gone(after, next)),
            false => Ok(changes),
        }
    }

    /// What was written at this revision, which may be among the changes just read. `None`: it was cleared meanwhile.
    fn value(&self, revision: Revision, read: &[Change]) -> io::Result<Option<Bytes>> {
        let here = read.first().and_then(|first| revision.checked_sub(first.revision));
        if let Some(change) = here.and_then(|at| read.get(at as usize)) {
            return Ok(change.value.clone());
        }
        let what = || format!("history row {revision}");
        let row = self.disk.get(Table::History, &key(revision))?;
        Ok(row.map(|row| Found::decode(&row, &what)).transpose()?.and_then(|row| row.value))
    }

    /// The row at `missing` was trimmed while somebody read towards it.
    fn gone(&self, asked: Revision, missing: Revision) -> Gone {
        Gone { asked, oldest: self.floor().max(missing) }
    }

    /// Drops a little of what the window no longer covers. Returns whether there may be more to drop.
    pub fn trim(&self, now_ms: u64, revision: Revision) -> io::Result<bool> {
        let floor = self.floor();
        let (from, to) = ((floor + 1).to_be_bytes(), (revision + 1).to_be_bytes());
        let oldest = self.disk.scan(Table::History, &from, &to, 1)?;
        if self.expired(&oldest, now_ms)?.is_none() {
            return Ok(false);
        }
        let rows = self.disk.scan(Table::History, &from, &to, TRIM_BYTES)?;
        let trimmed = self.expired(&rows, now_ms)?;
        let mut inner = self.inner();
        if inner.trimmed.floor != floor {
            return Ok(true);
        }
        let Some(mut trimmed) = trimmed else { return Ok(false) };
        // What lies behind any floor that is too far away to be near is needed by no row that is left.
        let far = trimmed.bytes.saturating_sub(self.near_bytes());
        let unneeded = inner.floors.iter().take_while(|(bytes, _)| *bytes <= far).count();
        trimmed.cleared = unneeded.checked_sub(1).map_or(trimmed.cleared, |last| inner.floors[last].1);
        let mut batch = Batch::default();
        batch.put(Table::Meta, TRIMMED, record::encode(&trimmed));
        if trimmed.cleared > inner.trimmed.cleared {
            batch.delete_range(Table::History, key(inner.trimmed.cleared + 1), key(trimmed.cleared + 1));
        }
        self.disk.write(&batch)?;
        inner.trimmed = trimmed;
        inner.floors.drain(..unneeded);
        inner.floors.push_back((trimmed.bytes, trimmed.floor));
        while inner.ring.front().is_some_and(|kept| kept.change.revision <= trimmed.floor) {
            inner.ring_bytes -= inner.ring.pop_front().map_or(0, |kept| weight(&kept.change));
        }
        self.report(&inner);
        Ok(true)
    }

    /// How far the window has left these oldest rows behind; `None`: not at all.
    fn expired(&self, rows: &[(Bytes, Vec<u8>)], now_ms: u64) -> io::Result<Option<Trimmed>> {
        let (before, added) = {
            let inner = self.inner();
            (inner.trimmed, inner.bytes_added)
        };
        let mut trimmed = before;
        for (_, row) in rows {
            let what = || format!("history row {}", trimmed.floor + 1);
            let change = Found::decode(row, &what)?;
            let age_ms = now_ms.saturating_sub(change.proposed_at_ms);
            let held = added.saturating_sub(trimmed.bytes);
            if !is_over(&self.window, Duration::from_millis(age_ms), held) {
                break;
            }
            trimmed = Trimmed { floor: change.revision, bytes: trimmed.bytes + row.len() as u64, ..trimmed };
        }
        Ok((trimmed.floor != before.floor).then_some(trimmed))
    }

    /// A snapshot replaces everything: the batch, which the caller fills with the new state, is written while
    /// nobody trims.
    pub fn replace(&self, batch: &Batch, revision: Revision) -> io::Result<()> {
        let mut inner = self.inner();
        let floor = if mutants::on(Mutant::HistoryHoleAfterSnapshot) { inner.trimmed.floor } else { revision };
        let trimmed = Trimmed { floor, bytes: inner.bytes_added, cleared: floor };
        let mut batch = batch.clone();
        batch.put(Table::Meta, TRIMMED, record::encode(&trimmed));
        batch.delete_range(Table::History, key(0), key(u64::MAX));
        self.disk.write(&batch)?;
        inner.trimmed = trimmed;
        inner.floors.clear();
        if !mutants::on(Mutant::RingKeptAcrossSnapshot) {
            inner.ring.clear();
            inner.ring_bytes = 0;
        }
        self.report(&inner);
        Ok(())
    }

    pub fn bytes_added(&self) -> u64 {
        self.inner().bytes_added
    }
}

impl Inner {
    fn bytes(&self) -> u64 {
        self.bytes_added.saturating_sub(self.trimmed.bytes)
    }

    /// Where the change of this revision was added, if the ring has it.
    fn at(&self, revision: Revision) -> Option<u64> {
        let index = revision.checked_sub(self.ring.front()?.change.revision)?;
        self.ring.get(index as usize).filter(|kept| kept.change.revision == revision).map(|kept| kept.at)
    }
}

/// Is the oldest change outside the window, which holds so many bytes?
fn is_over(window: &HistoryWindow, age: Duration, held_bytes: u64) -> bool {
    age > window.age_max || held_bytes > window.bytes_max
}

fn key(revision: Revision) -> Bytes {
    Bytes::copy_from_slice(&revision.to_be_bytes())
}

/// Bytes a change keeps in memory, roughly.
fn weight(change: &Change) -> usize {
    let Change { key, value, previous, author, .. } = change;
    256 + key.len() + author.len() + value.as_ref().map_or(0, Bytes::len) + previous.len()
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
