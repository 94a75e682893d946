//! The changes of the history window: the newest in memory, all of them on the disk, trimmed a little at a time.
//! `expired` decides, the rest acts.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::{Change, Previous, Revision};
use crate::disk::{Batch, Disk, Table};
use crate::metrics::Metrics;
use crate::mutants::{self, Mutant};
use crate::record;
use crate::store::{Gone, HistoryWindow};

/// Watchers that keep up are served from memory; beyond this the oldest changes are only on the disk.
const RING_BYTES: usize = 4 << 20;
/// How much a watcher that fell behind reads from the disk at once.
const READ_BYTES: usize = 256 << 10;
/// How much history one trimming step drops, so that none of them takes long.
const TRIM_BYTES: usize = 512 << 10;

const TRIMMED: Bytes = Bytes::from_static(b"trimmed");

/// One change as it lies on the disk.
#[derive(Serialize, Deserialize)]
struct Row {
    change: Change,
    /// The last change of its command: a reader stops only here, so that a command's changes arrive together.
    ends_command: bool,
}

/// How far the history was dropped. Kept apart from what `apply` saves, because another task writes it.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Trimmed {
    /// Changes up to this revision are gone.
    floor: Revision,
    /// Ever dropped; together with what was ever added it gives the size of the window.
    bytes: u64,
}

pub struct History {
    disk: Arc<dyn Disk>,
    metrics: Arc<Metrics>,
    inner: Mutex<Inner>,
}

struct Inner {
    trimmed: Trimmed,
    bytes_added: u64,
    ring: VecDeque<Arc<Change>>,
    ring_bytes: usize,
}

impl History {
    /// `bytes_added`: all that was ever added, as the state machine saved it.
    pub fn open(disk: Arc<dyn Disk>, metrics: Arc<Metrics>, bytes_added: u64) -> io::Result<History> {
        let what = || "meta record trimmed".to_string();
        let trimmed = disk.get(Table::Meta, &TRIMMED)?.map(|row| record::decode(&row, &what)).transpose()?;
        let trimmed = trimmed.unwrap_or_default();
        let inner = Inner { trimmed, bytes_added, ring: VecDeque::new(), ring_bytes: 0 };
        let history = History { disk, metrics, inner: Mutex::new(inner) };
        history.check()?;
        history.report(&history.inner());
        Ok(history)
    }

    /// Reads it once, so that damage is found while it can still be repaired.
    fn check(&self) -> io::Result<()> {
        let mut next = self.floor() + 1;
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

    /// Puts a command's changes into the batch. Returns the bytes they take.
    pub fn write(batch: &mut Batch, changes: &[Change]) -> u64 {
        let mut bytes = 0;
        for (n, change) in changes.iter().enumerate() {
            let ends_command = n + 1 == changes.len();
            let row = record::encode(&RowRef { change, ends_command });
            bytes += row.len() as u64;
            if mutants::on(Mutant::DeleteLeavesNoEvent) && change.value.is_none() {
                continue;
            }
            batch.put(Table::History, key(change.revision), row);
        }
        bytes
    }

    /// The changes are on the disk now: keeps them in memory too.
    pub fn remember(&self, changes: Vec<Arc<Change>>, bytes: u64) {
        let mut inner = self.inner();
        inner.bytes_added += bytes;
        for change in changes {
            if mutants::on(Mutant::DeleteLeavesNoEvent) && change.value.is_none() {
                continue;
            }
            inner.ring_bytes += weight(&change);
            inner.ring.push_back(change);
        }
        while inner.ring_bytes > RING_BYTES {
            let Some(oldest) = inner.ring.pop_front() else { break };
            inner.ring_bytes -= weight(&oldest);
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
            if let Some(skip) = inner.ring.front().and_then(|first| (after + 1).checked_sub(first.revision)) {
                let wanted = inner.ring.iter().skip(skip as usize).take((upto - after) as usize);
                return Ok((wanted.filter(|change| change.key.starts_with(prefix)).cloned().collect(), upto));
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
            Metrics::add(&self.metrics.checksum_failures, 1);
            self.metrics.rot_found(&error);
            Gone { asked: after, oldest: upto }
        };
        let mut changes = Vec::new();
        let (mut next, mut bytes) = (after + 1, 0);
        while next <= upto {
            let rows = self.disk.scan(Table::History, &next.to_be_bytes(), &(upto + 1).to_be_bytes(), READ_BYTES);
            let mut ended = false;
            for (_, row) in rows.map_err(unreadable)? {
                bytes += row.len();
                let row: Row = record::decode(&row, &|| format!("history row {next}")).map_err(unreadable)?;
                if row.change.revision != next {
                    return Err(self.gone(after, next));
                }
                next += 1;
                changes.push(row.change);
                ended = row.ends_command && bytes >= READ_BYTES;
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

    /// The row at `missing` was trimmed while somebody read towards it.
    fn gone(&self, asked: Revision, missing: Revision) -> Gone {
        Gone { asked, oldest: self.floor().max(missing) }
    }

    /// Drops a little of what the window no longer covers. Returns whether there may be more to drop.
    pub fn trim(&self, window: &HistoryWindow, now_ms: u64, revision: Revision) -> io::Result<bool> {
        let floor = self.floor();
        let (from, to) = ((floor + 1).to_be_bytes(), (revision + 1).to_be_bytes());
        let oldest = self.disk.scan(Table::History, &from, &to, 1)?;
        if self.expired(&oldest, window, now_ms)?.is_none() {
            return Ok(false);
        }
        let rows = self.disk.scan(Table::History, &from, &to, TRIM_BYTES)?;
        let trimmed = self.expired(&rows, window, now_ms)?;
        let mut inner = self.inner();
        if inner.trimmed.floor != floor {
            return Ok(true);
        }
        let Some(trimmed) = trimmed else { return Ok(false) };
        let mut batch = Batch::default();
        batch.put(Table::Meta, TRIMMED, record::encode(&trimmed));
        batch.delete_range(Table::History, key(floor + 1), key(trimmed.floor + 1));
        self.disk.write(&batch)?;
        inner.trimmed = trimmed;
        while inner.ring.front().is_some_and(|change| change.revision <= trimmed.floor) {
            inner.ring_bytes -= inner.ring.pop_front().map_or(0, |change| weight(&change));
        }
        self.report(&inner);
        Ok(true)
    }

    /// How far the window has left these oldest rows behind; `None`: not at all.
    fn expired(&self, rows: &[(Bytes, Vec<u8>)], window: &HistoryWindow, now_ms: u64) -> io::Result<Option<Trimmed>> {
        let (before, added) = {
            let inner = self.inner();
            (inner.trimmed, inner.bytes_added)
        };
        let mut trimmed = before;
        for (_, row) in rows {
            let what = || format!("history row {}", trimmed.floor + 1);
            let Row { change, .. } = record::decode(row, &what)?;
            let age_ms = now_ms.saturating_sub(change.proposed_at_ms);
            let held = added.saturating_sub(trimmed.bytes);
            if !expired(window, Duration::from_millis(age_ms), held) {
                break;
            }
            trimmed = Trimmed { floor: change.revision, bytes: trimmed.bytes + row.len() as u64 };
        }
        Ok((trimmed.floor != before.floor).then_some(trimmed))
    }

    /// A snapshot replaces everything: the batch, which the caller fills with the new state, is written while
    /// nobody trims.
    pub fn replace(&self, batch: &Batch, revision: Revision) -> io::Result<()> {
        let mut inner = self.inner();
        let floor = if mutants::on(Mutant::HistoryHoleAfterSnapshot) { inner.trimmed.floor } else { revision };
        let trimmed = Trimmed { floor, bytes: inner.bytes_added };
        let mut batch = batch.clone();
        batch.put(Table::Meta, TRIMMED, record::encode(&trimmed));
        batch.delete_range(Table::History, key(0), key(u64::MAX));
        self.disk.write(&batch)?;
        inner.trimmed = trimmed;
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
}

/// The encoding of [`Row`], without owning the change.
#[derive(Serialize)]
struct RowRef<'a> {
    change: &'a Change,
    ends_command: bool,
}

/// Is the oldest change outside the window, which holds so many bytes?
fn expired(window: &HistoryWindow, age: Duration, held_bytes: u64) -> bool {
    age > window.age_max || held_bytes > window.bytes_max
}

fn key(revision: Revision) -> Bytes {
    Bytes::copy_from_slice(&revision.to_be_bytes())
}

/// Bytes a change keeps in memory, roughly.
fn weight(change: &Change) -> usize {
    let previous = match &change.previous {
        Previous::Was(was) => was.value.len(),
        Previous::Absent | Previous::Forgotten => 0,
    };
    256 + change.key.len() + change.value.as_ref().map_or(0, Bytes::len) + previous
}
