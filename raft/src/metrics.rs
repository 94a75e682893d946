//! What the store counts. Plain numbers: the server renders them. Decides nothing.

use std::io::ErrorKind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Upper bounds of the sync latency buckets, in microseconds; the last bucket has none.
pub const SYNC_BUCKETS_US: [u64; 8] = [250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000];

#[derive(Debug, Default)]
pub struct Metrics {
    /// Commands that callers on this replica proposed.
    pub proposals: AtomicU64,
    /// Of those, how many went to a leader elsewhere.
    pub proposals_forwarded: AtomicU64,
    pub proposals_unknown: AtomicU64,
    pub proposals_refused: AtomicU64,
    /// Syncs of the write-ahead log, and the time spent in them.
    pub syncs: AtomicU64,
    pub sync_us: AtomicU64,
    /// Not cumulative: each sync counts in one bucket of [`SYNC_BUCKETS_US`], or behind the last.
    pub sync_buckets: [AtomicU64; SYNC_BUCKETS_US.len() + 1],
    syncing: Mutex<Option<Instant>>,
    pub entries_appended: AtomicU64,
    pub entries_applied: AtomicU64,
    pub applied_index: AtomicU64,
    pub committed_index: AtomicU64,
    pub revision: AtomicU64,
    pub objects: AtomicU64,
    pub leader_changes: AtomicU64,
    pub elections_after_reset: AtomicU64,
    pub elections_after_silence: AtomicU64,
    pub barriers: AtomicU64,
    pub barrier_rounds: AtomicU64,
    pub snapshots_sent: AtomicU64,
    pub snapshots_installed: AtomicU64,
    pub snapshot_bytes_sent: AtomicU64,
    pub snapshot_bytes_installed: AtomicU64,
    pub watchers: AtomicU64,
    pub watch_reads_from_disk: AtomicU64,
    pub history_floor: AtomicU64,
    /// Changes from before a snapshot, told by another replica.
    pub history_fetched: AtomicU64,
    pub history_bytes: AtomicU64,
    /// What the log takes, as of the last look.
    pub log_bytes: AtomicU64,
    /// The whole data directory, as of the last look, a few seconds ago.
    pub disk_bytes: AtomicU64,
    /// Of the file system that the data directory lies on; the reserve does not count as free.
    pub disk_free_bytes: AtomicU64,
    pub disk_total_bytes: AtomicU64,
    pub disk_reserve_bytes: AtomicU64,
    /// 0: enough room, 1: little, 2: a write waits for room.
    pub space_level: AtomicU64,
    /// Writes that had to wait for room, and how often the disk was made to take writes again.
    pub space_waits: AtomicU64,
    pub disk_heals: AtomicU64,
    pub proposals_no_space: AtomicU64,
    /// Records and files that were found damaged, and how much was read in search of them.
    pub checksum_failures: AtomicU64,
    pub scrubbed_bytes: AtomicU64,
    /// How often the replica began anew in this process to be rid of damage.
    pub renewals: AtomicU64,
    /// Of the state at the applied index: equal on replicas at the same index.
    pub state_digest: AtomicU64,
    /// Comparisons of states that this replica led, and the odd ones found in them.
    pub comparisons: AtomicU64,
    pub divergences: AtomicU64,
    /// 1 when this replica's own state was found to be the odd one.
    pub fenced: AtomicU64,
    /// 1 while replicas differ and none is known to be right.
    pub in_doubt: AtomicU64,
    failure: Mutex<Option<(ErrorKind, String)>>,
    rot: watch::Sender<Option<String>>,
    /// Why the replica does not begin anew yet to be rid of it.
    waits: Mutex<Option<String>>,
}

impl Metrics {
    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Relaxed);
    }

    pub(crate) fn set(gauge: &AtomicU64, to: u64) {
        gauge.store(to, Relaxed);
    }

    pub(crate) fn synced(&self, took: Duration) {
        let us = took.as_micros() as u64;
        Metrics::add(&self.syncs, 1);
        Metrics::add(&self.sync_us, us);
        let bucket = SYNC_BUCKETS_US.iter().position(|bound| us <= *bound).unwrap_or(SYNC_BUCKETS_US.len());
        Metrics::add(&self.sync_buckets[bucket], 1);
    }

    /// Since when the disk has owed the answer to a sync; `None`: it owes none.
    pub(crate) fn syncing(&self, since: Option<Instant>) {
        *self.syncing.lock().expect("no holder of an instant panics") = since;
    }

    /// For how long the sync that is under way has lasted, with the wait for room in it.
    pub fn sync_owed(&self) -> Duration {
        let since = *self.syncing.lock().expect("no holder of an instant panics");
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Remembers the first failure: what comes later follows from it.
    pub(crate) fn disk_failed(&self, error: &std::io::Error) {
        let mut failure = self.failure.lock().expect("no holder of the failure panics");
        if failure.is_none() {
            tracing::error!(%error, "the disk cannot be trusted any more");
            *failure = Some((error.kind(), error.to_string()));
        }
        drop(failure);
        // The database takes no more writes once it has come upon damage by itself.
        self.damage_found(error);
    }

    /// What a read of the disk has come upon, if it is damage and not the disk that fails. The first find stays.
    pub(crate) fn damage_found(&self, error: &std::io::Error) {
        if error.kind() != ErrorKind::InvalidData {
            return;
        }
        Metrics::add(&self.checksum_failures, 1);
        let first = |rot: &mut Option<String>| rot.is_none() && rot.replace(error.to_string()).is_none();
        if self.rot.send_if_modified(first) {
            tracing::error!(%error, "data on the disk is damaged");
        }
    }

    /// The damage that was found since the start. The state in memory is not concerned.
    pub fn rot(&self) -> Option<String> {
        self.rot.borrow().clone()
    }

    pub(crate) fn rotten(&self) -> watch::Receiver<Option<String>> {
        self.rot.subscribe()
    }

    pub(crate) fn waits_for_repair(&self, why: Option<String>) {
        *self.waits.lock().expect("no holder of the reason panics") = why;
    }

    /// Why the damage is not repaired yet.
    pub(crate) fn repair_waits(&self) -> Option<String> {
        self.waits.lock().expect("no holder of the reason panics").clone()
    }

    /// The same, where it is the device that failed, and not what had been written on it.
    pub fn device_failure(&self) -> Option<String> {
        let failure = self.failure.lock().expect("no holder of the failure panics").clone();
        failure.filter(|(kind, _)| *kind != ErrorKind::InvalidData).map(|(_, why)| why)
    }

    /// Why this replica's disk cannot be trusted any more; `None` while it can.
    pub fn disk_failure(&self) -> Option<String> {
        self.failure.lock().expect("no holder of the failure panics").clone().map(|(_, why)| why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_counts_in_the_bucket_of_its_time() {
        let metrics = Metrics::default();
        for us in [250, 251, 300_000] {
            metrics.synced(Duration::from_micros(us));
        }
        let counts: Vec<u64> = metrics.sync_buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        assert_eq!(counts, [1, 1, 0, 0, 0, 0, 0, 0, 1]);
    }
}
