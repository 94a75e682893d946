//! The raft log on the disk, with the newest entries also in memory, and the vote. Acts.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use proto::mutants::{self, Mutant};

use crate::disk::flusher::{Flusher, SYNC_DEADLINE};
use crate::disk::room::Room;
use crate::disk::{Batch, Table, apart};
use crate::log::ends::{Ends, weight};
use crate::log::reader::REQUEST_BYTES;
use crate::log::rows::{
    COMMITTED, MEMBERS, PURGED, committed, in_order, key, members, missing, read_entries, read_meta, row,
};
use crate::log::votes::Votes;
use crate::machine::reach::Reach;
use crate::metrics::Metrics;
use crate::record;
use crate::types::{Entry, LogId, Types, Vote, log_id, term_of};

/// Clones share one log.
#[derive(Clone)]
pub struct LogStore {
    pub(super) room: Arc<Room>,
    flusher: Flusher,
    pub(super) metrics: Arc<Metrics>,
    ends: Arc<Mutex<Ends>>,
    /// What it needs stays on the disk, also when openraft needs it no more.
    reach: Arc<Reach>,
    pub votes: Arc<Votes>,
    /// See [`LogStore::bound`].
    bytes_max: Arc<AtomicU64>,
    /// See [`LogStore::leave_behind`].
    left_behind: Arc<AtomicU64>,
    /// One at a time clears the disk.
    clearing: Arc<tokio::sync::Mutex<()>>,
}

impl LogStore {
    /// Reads the whole log once, so that a damaged record is found at start and not when a peer needs it.
    pub fn open(room: Arc<Room>, flusher: Flusher, metrics: Arc<Metrics>, reach: Arc<Reach>) -> io::Result<LogStore> {
        let disk = &room.disk;
        let purged: Option<(u64, u64)> = read_meta(&**disk, &PURGED)?;
        let purged = purged.map(|(term, index)| log_id(term, index));
        let votes = Votes::open(room.clone(), flusher.clone(), metrics.clone())?;
        let mut ends = Ends::new(purged);
        // openraft reads it later, when nobody can set it aside any more.
        committed(&**disk)?;
        let mut next = purged.map_or(0, |at| at.index + 1);
        loop {
            let entries = read_entries(&**disk, next, u64::MAX, REQUEST_BYTES)?;
            let Some(last) = entries.last() else { break };
            if entries[0].log_id.index != next {
                return Err(missing(next, entries[0].log_id.index));
            }
            in_order(ends.last, &entries)?;
            (next, ends.last) = (last.log_id.index + 1, Some(last.log_id));
            entries.iter().for_each(|entry| ends.extent.push(entry.log_id.index, weight(entry) as u64));
        }
        Ok(LogStore {
            room,
            flusher,
            metrics,
            ends: Arc::new(Mutex::new(ends)),
            reach,
            votes,
            bytes_max: Arc::default(),
            left_behind: Arc::default(),
            clearing: Arc::default(),
        })
    }

    /// Nothing was ever written here: neither a vote nor an entry.
    pub fn is_pristine(&self) -> bool {
        self.last().is_none() && self.vote().is_none()
    }

    pub fn vote(&self) -> Option<Vote> {
        self.votes.newest()
    }

    /// Where the newest of the memberships lies that were appended since this replica started.
    pub fn members_at(&self) -> Option<u64> {
        self.ends().members_at
    }

    pub fn last(&self) -> Option<LogId> {
        self.ends().last
    }

    /// Roughly.
    pub fn bytes(&self) -> u64 {
        self.ends().extent.bytes()
    }

    /// See [`Ends::cache_at_most`].
    pub fn cache_at_most(&self, bytes: usize) {
        self.ends().cache_at_most(bytes);
    }

    /// The last entry that can go if at least `kept` bytes are to stay.
    pub fn before(&self, kept: u64) -> Option<u64> {
        self.ends().extent.before(kept)
    }

    /// Keeps at most about so many bytes for followers that lag, and some times as many for who is being filled. For tests.
    pub fn bound(&self, bytes: u64) {
        self.bytes_max.store(bytes, Relaxed);
        self.ends().extent.step(bytes / 16);
    }

    /// `None`: as many as in production.
    pub fn bytes_max(&self) -> Option<u64> {
        Some(self.bytes_max.load(Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// What comes up to there is to go, though somebody is sent it now: he is to be filled by a snapshot instead. 0: nothing.
    pub fn leave_behind(&self, upto: u64) {
        self.left_behind.store(upto, Relaxed);
    }

    pub fn leaves_behind(&self, matched: u64) -> bool {
        matched < self.left_behind.load(Relaxed)
    }

    /// The last entry that is gone for every reader, whether or not it is on the disk still.
    pub fn purged(&self) -> Option<LogId> {
        self.ends().purged
    }

    pub(super) fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().expect("no holder of the log's ends panics")
    }

    /// What follows on a snapshot, and not on the entries here, waits until that is durable: else a crash would leave a log with
    /// a hole, of which the end was acknowledged.
    async fn grounded(&self, first: u64) -> io::Result<()> {
        let next = self.last().map_or(1, |at| at.index + 1);
        if first <= next {
            return Ok(());
        }
        match self.reach.covers(first - 1).await {
            true => Ok(()),
            false => Err(io::Error::other(format!("what comes before log entry {first} has not become durable"))),
        }
    }

    /// Takes off the disk what neither openraft nor a restart nor the history needs any more.
    pub async fn clear(&self) -> io::Result<()> {
        let _alone = self.clearing.lock().await;
        let (purged, cleared) = {
            let ends = self.ends();
            (ends.purged, ends.cleared)
        };
        let reached = self.reach.now();
        let needless = match () {
            () if mutants::on(Mutant::PurgedBeforeSaved) => purged,
            () if mutants::on(Mutant::ClearedUnderHistory) => reached.applied.min(purged),
            () => reached.needless().min(purged),
        };
        let Some(at) = needless.filter(|at| Some(*at) > cleared) else { return Ok(()) };
        let mut batch = Batch::default();
        if !mutants::on(Mutant::PurgeForgotten) {
            batch.put(Table::Meta, PURGED, record::encode(&(term_of(&at), at.index)));
        }
        batch.forget(Table::Log, key(at.index));
        self.room.write(&batch).await?;
        self.ends().cleared = needless;
        Ok(())
    }

    /// Gives the room back of what was forgotten, here and in the history: once a crash cannot bring back who needs it.
    pub async fn give_back(&self) -> io::Result<()> {
        let drop_it = || apart(&self.room.disk, |disk| disk.drop_forgotten());
        if drop_it().await? {
            self.flusher.durable(SYNC_DEADLINE).await?;
            drop_it().await?;
        }
        Ok(())
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let ends = self.ends();
        Ok(LogState { last_purged_log_id: ends.purged, last_log_id: ends.last })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.votes.save(*vote).await
    }

    /// It goes to the disk with the entries that come next, or, where none come, as what the state has applied. A lost one costs
    /// a restarted replica only the wait for its leader.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        Metrics::set(&self.metrics.committed_index, committed.map_or(0, |at| at.index));
        self.ends().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let saved = committed(&*self.room.disk)?;
        let ends = self.ends();
        // The log's own tail may have been lost with a sync that never came.
        Ok(saved.max(ends.committed).min(ends.last))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        if let Some(first) = entries.first() {
            self.grounded(first.log_id.index).await?;
        }
        let mut batch = Batch::default();
        if let Some(at) = self.ends().committed.take() {
            batch.put(Table::Meta, COMMITTED, record::encode(&Some((term_of(&at), at.index))));
        }
        for entry in &entries {
            batch.put(Table::Log, key(entry.log_id.index), row(entry));
        }
        if mutants::on(Mutant::UncommittedMembersKept)
            && let Some(members) = members(&entries)
        {
            batch.put(Table::Meta, MEMBERS, record::encode(&members));
        }
        self.room.write(&batch).await?;
        Metrics::add(&self.metrics.entries_appended, entries.len() as u64);
        let last = entries.last().map(|entry| entry.log_id);
        let mut ends = self.ends();
        entries.into_iter().for_each(|entry| ends.push(entry));
        drop(ends);
        if mutants::on(Mutant::AppendBeforeSync) {
            callback.io_completed(Ok(()));
            return Ok(());
        }
        self.flusher.appended(last, callback)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        // First the syncs that are under way, for the mark is raised with them; nothing is appended meanwhile.
        self.flusher.durable_at_last(None).await?;
        self.flusher.mark().lower(last).await?;
        let mut batch = Batch::default();
        let from = last.map_or(0, |at| at.index + 1);
        if !mutants::on(Mutant::TruncationForgotten) {
            batch.delete_range(Table::Log, key(from), key(u64::MAX));
        }
        self.room.write(&batch).await?;
        self.ends().truncate(last);
        Ok(())
    }

    /// The rest goes from the disk when nothing else needs it.
    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.ends().purge(upto);
        self.clear().await
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
