//! The raft log and the vote on the disk, with the newest entries also in memory. Acts.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use futures::Stream;
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};

use crate::disk::flusher::{Flusher, SYNC_DEADLINE};
use crate::disk::room::Room;
use crate::disk::{Batch, Note, Table};
use crate::identity::Identity;
use crate::keepsake::Keepsake;
use crate::log_ends::{Ends, weight};
use crate::log_rows::{
    COMMITTED, PURGED, VOTE, committed, in_order, kept_vote, key, missing, read_entries, read_meta, row,
};
use crate::machine::INSTALL_DEADLINE;
use crate::machine::reach::Reach;
use crate::metrics::Metrics;
use crate::mutants::{self, Mutant};
use crate::record;
use crate::types::{Entry, LogId, Types, Vote, log_id, term_of};

/// What one append request carries at most, beyond its first entry.
const REQUEST_BYTES: usize = 1 << 20;

/// Clones share one log.
#[derive(Clone)]
pub struct LogStore {
    room: Arc<Room>,
    flusher: Flusher,
    metrics: Arc<Metrics>,
    ends: Arc<Mutex<Ends>>,
    /// What it needs stays on the disk, also when openraft needs it no more.
    reach: Arc<Reach>,
    /// Kept beside the vote.
    owner: Arc<OnceLock<Identity>>,
    others: Arc<AtomicBool>,
    /// One at a time writes the vote's copies.
    noting: Arc<tokio::sync::Mutex<()>>,
    /// One at a time clears the disk.
    clearing: Arc<tokio::sync::Mutex<()>>,
}

impl LogStore {
    /// Reads the whole log once, so that a damaged record is found at start and not when a peer needs it.
    pub fn open(room: Arc<Room>, flusher: Flusher, metrics: Arc<Metrics>, reach: Arc<Reach>) -> io::Result<LogStore> {
        let disk = &room.disk;
        let purged: Option<(u64, u64)> = read_meta(&**disk, &PURGED)?;
        let purged = purged.map(|(term, index)| log_id(term, index));
        let mut ends = Ends::new(purged, kept_vote(&**disk)?);
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
            clearing: Arc::default(),
            owner: Arc::default(),
            others: Arc::new(AtomicBool::new(true)),
            noting: Arc::default(),
        })
    }

    /// Whose vote it is, and whether there are other voters. To be said before there is a new vote.
    pub fn belongs_to(&self, owner: Identity, others: bool) {
        self.owner.get_or_init(|| owner);
        self.others.store(others, Relaxed);
    }

    fn keepsake(&self, vote: Vote) -> Keepsake {
        Keepsake { vote, owner: self.owner.get().cloned(), others: self.others.load(Relaxed) }
    }

    /// Are there other voters now?
    pub async fn note_others(&self, others: bool) -> io::Result<()> {
        let _alone = self.noting.lock().await;
        let Some(vote) = self.vote().filter(|_| self.others.swap(others, Relaxed) != others) else { return Ok(()) };
        let note = self.keepsake(vote).encode();
        self.room.persist_apart(move |disk| disk.save_note(Note::Vote, &note, true)).await
    }

    /// Makes the copies of the vote one again, where a crash or damage has left them different: each of them alone must be
    /// enough, also as soon as the other is lost. To be called before there is a new vote.
    pub async fn mend_vote(&self) -> io::Result<()> {
        let Some(vote) = self.vote() else { return Ok(()) };
        let disk = &self.room.disk;
        let (stored, note) = (read_meta::<Vote>(&**disk, &VOTE), Keepsake::read(disk.note(Note::Vote)?));
        let wanted = self.keepsake(vote);
        if matches!((&stored, &note), (Ok(Some(stored)), Ok(Some(note))) if *stored == vote && *note == wanted) {
            return Ok(());
        }
        let damage = |error: &io::Error| error.kind() == io::ErrorKind::InvalidData;
        for error in [stored.err(), note.err()].into_iter().flatten().filter(damage) {
            tracing::error!(%error, "a copy of the vote is damaged: it is made good by the other");
            Metrics::add(&self.metrics.checksum_failures, 1);
        }
        let mut batch = Batch::default();
        batch.put(Table::Meta, VOTE, record::encode(&vote));
        self.room.write(&batch).await?;
        let note = wanted.encode();
        self.room.persist_apart(move |disk| disk.save_note(Note::Vote, &note, true)).await?;
        self.flusher.durable(SYNC_DEADLINE).await
    }

    /// Nothing was ever written here: neither a vote nor an entry.
    pub fn is_pristine(&self) -> bool {
        let ends = self.ends();
        ends.last.is_none() && ends.vote.is_none()
    }

    pub fn vote(&self) -> Option<Vote> {
        self.ends().vote
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

    /// The last entry that can go if at least `kept` bytes are to stay.
    pub fn before(&self, kept: u64) -> Option<u64> {
        self.ends().extent.before(kept)
    }

    /// The last entry that is gone for every reader, whether or not it is on the disk still.
    pub fn purged(&self) -> Option<LogId> {
        self.ends().purged
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().expect("no holder of the log's ends panics")
    }

    /// Entries of `start..end` in order, up to `bytes_max` of payload beyond the first. Fewer only at that limit.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (start, cached) = {
            let ends = self.ends();
            let start = start.max(ends.purged.map_or(0, |at| at.index + 1));
            (start, ends.cached(start, end, bytes_max))
        };
        match cached {
            Some(entries) => Ok(entries),
            None => read_entries(&*self.room.disk, start, end, bytes_max)
                .inspect_err(|error| self.metrics.damage_found(error)),
        }
    }

    /// What follows on a snapshot, and not on the entries here, waits until that is durable: else a crash would leave a log with
    /// a hole, of which the end was acknowledged.
    async fn grounded(&self, first: u64) -> io::Result<()> {
        let next = self.last().map_or(1, |at| at.index + 1);
        if first <= next {
            return Ok(());
        }
        let late = || format!("what comes before log entry {first} is not durable after {INSTALL_DEADLINE:?}");
        let covered = tokio::time::timeout(INSTALL_DEADLINE, self.reach.covers(first - 1)).await;
        covered.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, late()))
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
        batch.delete_range(Table::Log, key(cleared.map_or(0, |at| at.index)), key(at.index + 1));
        self.room.write(&batch).await?;
        self.ends().cleared = needless;
        Ok(())
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        self.read(start, end, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let entries = self.read(start, end, REQUEST_BYTES)?;
        // Purged under the reader: what comes later must not pass for what was asked for. openraft then sends a request
        // without entries and looks again (see `until_overtaken` in peer/network.rs).
        let purged = entries.first().is_some_and(|first| first.log_id.index != start);
        Ok(if purged && !mutants::on(Mutant::PurgedUnderReader) { Vec::new() } else { entries })
    }

    /// In pieces, so that a long way to catch up does not bring the whole log into memory.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let store = self.clone();
        let pieces = futures::stream::try_unfold(start, move |next| {
            let piece = match next < end {
                true => store.read(next, end, REQUEST_BYTES),
                false => Ok(Vec::new()),
            };
            async move {
                let piece = piece?;
                let Some(last) = piece.last() else { return Ok(None) };
                let next = last.log_id.index + 1;
                Ok::<_, io::Error>(Some((futures::stream::iter(piece.into_iter().map(Ok)), next)))
            }
        });
        futures::TryStreamExt::try_flatten(pieces)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.ends().vote)
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(at) => *at,
        Bound::Excluded(at) => at + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(at) => at + 1,
        Bound::Excluded(at) => *at,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
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
        let _alone = self.noting.lock().await;
        let mut batch = Batch::default();
        batch.put(Table::Meta, VOTE, record::encode(vote));
        self.room.write(&batch).await?;
        // That the one who has this vote leads promises nothing new: after a crash it is heard from him again.
        if self.vote().is_some_and(|before| vote.committed && before.leader_id == vote.leader_id) {
            self.ends().vote = Some(*vote);
            return Ok(());
        }
        // The mutant leaves the copy that would make good for what the sync did not save as it was.
        let noted = self.vote().filter(|_| mutants::on(Mutant::VoteBeforeSync)).unwrap_or(*vote);
        let note = self.keepsake(noted).encode();
        let noted = self.room.persist_apart(move |disk| disk.save_note(Note::Vote, &note, true));
        let durable = async {
            match mutants::on(Mutant::VoteBeforeSync) {
                true => Ok(()),
                false => self.flusher.durable(SYNC_DEADLINE).await,
            }
        };
        let (durable, noted) = tokio::join!(durable, noted);
        durable.and(noted)?;
        self.ends().vote = Some(*vote);
        Ok(())
    }

    /// Without a sync of its own: a lost one costs a restarted replica only the wait for its leader.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let mut batch = Batch::default();
        let at = committed.as_ref().map(|at| (term_of(at), at.index));
        Metrics::set(&self.metrics.committed_index, at.map_or(0, |(_, index)| index));
        batch.put(Table::Meta, COMMITTED, record::encode(&at));
        self.room.write(&batch).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        // The log's own tail may have been lost with a sync that never came.
        Ok(committed(&*self.room.disk)?.min(self.ends().last))
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
        for entry in &entries {
            batch.put(Table::Log, key(entry.log_id.index), row(entry));
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
        self.flusher.durable(SYNC_DEADLINE).await?;
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
#[path = "log_store_tests.rs"]
mod tests;
