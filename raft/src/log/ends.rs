//! Both ends of the log, and its newest entries in memory. Decides what is kept; touches no disk.

use std::collections::VecDeque;

use openraft::EntryPayload;
use proto::mutants::{self, Mutant};

use crate::log::extent::Extent;
use crate::types::{Entry, LogId};

/// Followers that keep up and `apply` read from here; only a lagging follower reads the disk.
pub const CACHE_BYTES: usize = 4 << 20;

pub struct Ends {
    pub purged: Option<LogId>,
    /// Off the disk, too.
    pub cleared: Option<LogId>,
    pub last: Option<LogId>,
    /// So far is committed, where the disk does not know yet.
    pub committed: Option<LogId>,
    /// Where the newest of the memberships lies that were appended since this replica started.
    pub members_at: Option<u64>,
    cache: VecDeque<Entry>,
    pub cache_bytes: usize,
    cache_bytes_max: usize,
    pub extent: Extent,
}

impl Ends {
    /// Of a log that holds nothing beyond what was purged.
    pub fn new(purged: Option<LogId>) -> Ends {
        Ends {
            purged,
            cleared: purged,
            last: purged,
            committed: None,
            members_at: None,
            cache: VecDeque::new(),
            cache_bytes: 0,
            cache_bytes_max: CACHE_BYTES,
            extent: Extent::default(),
        }
    }

    /// `None`: the cache does not reach back to `start`.
    pub fn cached(&self, start: u64, end: u64, bytes_max: usize) -> Option<Vec<Entry>> {
        let first = self.cache.front()?.log_id.index;
        let skip = start.checked_sub(first)? as usize;
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let fits = bytes < bytes_max && entry.log_id.index < end;
            bytes += weight(entry);
            fits
        };
        Some(self.cache.iter().skip(skip).take_while(fits).cloned().collect())
    }

    pub fn push(&mut self, entry: Entry) {
        let (next, index) = (self.cache.back().map(|back| back.log_id.index + 1), entry.log_id.index);
        let stale = mutants::on(Mutant::TruncatedStayCached) && next > Some(index);
        if next.is_some_and(|next| next != index) && !stale {
            // What is kept is found by its place.
            (self.cache, self.cache_bytes) = Default::default();
        }
        self.last = Some(entry.log_id);
        if matches!(entry.payload, EntryPayload::Membership(_)) {
            self.members_at = Some(entry.log_id.index);
        }
        self.extent.push(entry.log_id.index, weight(&entry) as u64);
        self.cache_bytes += weight(&entry);
        self.cache.push_back(entry);
        self.forget();
    }

    /// From now on at most so much of it in memory, beyond the newest entry.
    pub fn cache_at_most(&mut self, bytes: usize) {
        self.cache_bytes_max = bytes;
        self.forget();
    }

    fn forget(&mut self) {
        while self.cache_bytes > self.cache_bytes_max && self.cache.len() > 1 {
            self.cache_bytes -= self.cache.pop_front().map_or(0, |entry| weight(&entry));
        }
    }

    pub fn truncate(&mut self, last: Option<LogId>) {
        let keep = last.map_or(0, |at| at.index + 1);
        while !mutants::on(Mutant::TruncatedStayCached)
            && self.cache.back().is_some_and(|entry| entry.log_id.index >= keep)
        {
            self.cache_bytes -= self.cache.pop_back().map_or(0, |entry| weight(&entry));
        }
        self.extent.truncate(keep);
        self.members_at = self.members_at.filter(|at| *at < keep);
        self.last = self.last.min(last);
    }

    pub fn purge(&mut self, upto: LogId) {
        while self.cache.front().is_some_and(|entry| entry.log_id.index <= upto.index) {
            self.cache_bytes -= self.cache.pop_front().map_or(0, |entry| weight(&entry));
        }
        self.extent.purge(upto.index);
        self.purged = Some(upto);
        self.last = self.last.max(Some(upto));
    }
}

/// Bytes an entry keeps in memory, roughly.
pub fn weight(entry: &Entry) -> usize {
    64 + match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}
