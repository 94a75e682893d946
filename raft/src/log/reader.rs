//! Reads the log, for openraft and for those who lag: the newest entries from memory, the rest from the disk. Acts.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::time::Duration;

use futures::Stream;
use openraft::OptionalSend;
use openraft::storage::RaftLogReader;
use proto::mutants::{self, Mutant};

use crate::disk::apart;
use crate::disk::patience::patiently;
use crate::log::rows::read_entries;
use crate::log::store::LogStore;
use crate::types::{Entry, Types, Vote};

/// What one append request carries at most, beyond its first entry.
pub const REQUEST_BYTES: usize = 1 << 20;
/// Between two looks whether there is room again.
const ROOM_PAUSE: Duration = Duration::from_millis(200);

impl LogStore {
    /// Entries of `start..end` in order, up to `bytes_max` of payload beyond the first. Fewer only at that limit.
    /// While the disk waits for room nothing may be there to be read, and that is waited for.
    async fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        loop {
            let error = match patiently(&self.room.stop, || self.read_once(start, end, bytes_max)).await {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => error,
                done => return done.inspect_err(|error| self.metrics.damage_found(error)),
            };
            if self.room.stop.run_until_cancelled(tokio::time::sleep(ROOM_PAUSE)).await.is_none() {
                return Err(error);
            }
        }
    }

    async fn read_once(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (start, cached) = {
            let ends = self.ends();
            let start = start.max(ends.purged.map_or(0, |at| at.index + 1));
            (start, ends.cached(start, end, bytes_max))
        };
        match cached {
            Some(entries) => Ok(entries),
            None => apart(&self.room.disk, move |disk| read_entries(disk, start, end, bytes_max)).await,
        }
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        self.read(start, end, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let entries = self.read(start, end, REQUEST_BYTES).await?;
        // Purged under the reader: what comes later must not pass for what was asked for. openraft then sends a request
        // without entries and looks again (see `until_overtaken` in peer/outgoing.rs).
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
            let store = store.clone();
            async move {
                let piece = match next < end {
                    true => store.read(next, end, REQUEST_BYTES).await?,
                    false => Vec::new(),
                };
                let Some(last) = piece.last() else { return Ok(None) };
                let next = last.log_id.index + 1;
                Ok::<_, io::Error>(Some((futures::stream::iter(piece.into_iter().map(Ok)), next)))
            }
        });
        futures::TryStreamExt::try_flatten(pieces)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.vote())
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
