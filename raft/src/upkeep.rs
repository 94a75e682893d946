//! What a replica does for itself now and then: saves its objects, trims its history and its log,
//! looks at its disk. Acts.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use openraft::RaftMetrics;
use openraft::async_runtime::watch::WatchReceiver as _;
use proto::seam::Clock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::disk::{Disk, apart};
use crate::log::LogStore;
use crate::machine::Machine;
use crate::machine::published::Published;
use crate::machine::reach::Reach;
use crate::metrics::Metrics;
use crate::rhythm::Rhythm;
use crate::types::Raft;

const INTERVAL: Duration = Duration::from_secs(2);
/// So much may be deleted meanwhile: a window that is full loses as much as comes in.
const RECLAIM_EVERY: Duration = Duration::from_secs(30);
const MEASURE_EVERY: Duration = Duration::from_secs(10);
/// Between two trimming steps, so that they take a small share of the time. It shrinks while the history is larger than it is
/// to be, and is gone when that is by such a part: hot objects bring in more than such steps take away.
const PAUSE: Duration = Duration::from_millis(20);
const EXCESS_PART: u64 = 16;
/// Trimming that does not come to an end is interrupted so often, for the log is cleared behind it.
const TRIM_FOR: Duration = Duration::from_secs(2);
/// The log is kept for followers that lag, but no more of it than this, or than a share of the file system; then half of that
/// stays. Who lags farther is filled by a snapshot.
const LOG_BYTES_MAX: u64 = 128 << 20;
const LOG_SHARE_MAX: u64 = 8;
/// A leader keeps so many times as much, though no larger share, while somebody has need of it: one that is being filled must find
/// what was written meanwhile, or it would be filled again, and again.
const LOG_NEEDED_MAX: u64 = 4;
/// A snapshot costs nothing to make: it shares the state's parts.
const SNAPSHOT_MAX: Duration = Duration::from_secs(5);

/// Ends with `stop`.
pub async fn run(
    disk: Arc<dyn Disk>,
    published: Arc<Published>,
    log: LogStore,
    reach: Arc<Reach>,
    clock: Arc<dyn Clock>,
    rhythm: Rhythm,
    stop: CancellationToken,
) {
    // Side by side: giving room back may take long, and trimming as well.
    let room = look_after_room(disk.clone(), published.metrics.clone(), rhythm, stop.clone());
    tokio::join!(room, trim(disk, published, log, reach, clock, rhythm, stop));
}

/// Gives the room of what was deleted back, and measures what is taken.
async fn look_after_room(disk: Arc<dyn Disk>, metrics: Arc<Metrics>, rhythm: Rhythm, stop: CancellationToken) {
    let mut reclaimed = Instant::now();
    let mut measured: Option<Instant> = None;
    loop {
        if reclaimed.elapsed() > RECLAIM_EVERY {
            reclaimed = Instant::now();
            if let Err(error) = apart(&disk, |disk| disk.reclaim()).await {
                tracing::debug!(%error, "the room of what was deleted is not given back yet");
            }
        }
        if measured.is_none_or(|at| at.elapsed() >= MEASURE_EVERY) {
            measured = Some(Instant::now());
            if let Ok(bytes) = apart(&disk, |disk| Ok(disk.bytes())).await {
                Metrics::set(&metrics.disk_bytes, bytes);
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = rhythm.next(INTERVAL) => {}
        }
    }
}

/// Drops what the history window no longer covers, and what nothing needs of the log then.
async fn trim(
    disk: Arc<dyn Disk>,
    published: Arc<Published>,
    log: LogStore,
    reach: Arc<Reach>,
    clock: Arc<dyn Clock>,
    rhythm: Rhythm,
    stop: CancellationToken,
) {
    loop {
        let began = Instant::now();
        let is_behind = loop {
            // What the objects on the disk do not reach yet is written once more after a crash.
            let (now_ms, revision) = (clock.now_ms(), reach.now().revision);
            let trimming = published.clone();
            match apart(&disk, move |_| trimming.history.trim(now_ms, revision)).await {
                Ok(true) => tokio::time::sleep(pause(published.history.bytes())).await,
                Ok(false) => break false,
                Err(error) => {
                    tracing::warn!(%error, "the history cannot be trimmed");
                    published.metrics.damage_found(&error);
                    break false;
                }
            }
            if stop.is_cancelled() {
                return;
            }
            if began.elapsed() >= TRIM_FOR {
                break true;
            }
        };
        if let Err(error) = log.clear().await {
            tracing::warn!(%error, "what nothing needs of the log stays on the disk");
        }
        if let Err(error) = log.give_back().await {
            tracing::debug!(%error, "the room of what nothing needs is not given back yet");
        }
        if is_behind {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = rhythm.next(INTERVAL) => {}
        }
    }
}

/// After a trimming step that has left the window so many bytes of at most so many.
fn pause((bytes, bytes_max): (u64, u64)) -> Duration {
    let much = (bytes_max / EXCESS_PART).max(1);
    let left = much - bytes.saturating_sub(bytes_max).min(much);
    PAUSE.mul_f64(left as f64 / much as f64)
}

/// Saves the objects wherever they lag behind at the end of `every`. Ends with `stop`.
pub async fn save_now_and_then(
    raft: Raft,
    reach: Arc<Reach>,
    every: Duration,
    rhythm: Rhythm,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = rhythm.next(every) => {}
        }
        if !reach.now().whole {
            save(&raft).await;
        }
    }
}

/// Drops the beginning of a log that takes too much room. Ends with `stop`.
pub async fn bound_log(raft: Raft, log: LogStore, metrics: Arc<Metrics>, rhythm: Rhythm, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = rhythm.next(INTERVAL) => {}
        }
        let bytes = log.bytes();
        Metrics::set(&metrics.log_bytes, bytes);
        let total = metrics.disk_total_bytes.load(Relaxed);
        let max = |times| log.bytes_max().map_or_else(|| log_bytes_max(total, times), |bytes| bytes * times);
        // What is not applied stays, however much that is.
        let Some(upto) = log.before(max(1) / 2).min(applied(&raft)) else { continue };
        let times = if is_needed(&raft, upto) { LOG_NEEDED_MAX } else { 1 };
        if bytes > max(times) {
            go_on_without(&raft, &log, upto).await;
        }
    }
}

/// What comes up to there goes, also where a follower that acknowledges, however slowly, is still to be sent it: openraft would keep
/// it for him. His stream ends for that only once a snapshot stands for it: sooner, he would just begin again where he was.
async fn go_on_without(raft: &Raft, log: &LogStore, upto: u64) {
    if is_covered(raft, upto).await {
        log.leave_behind(upto);
        drop_log(raft, upto).await;
        log.leave_behind(0);
    }
}

fn applied(raft: &Raft) -> Option<u64> {
    raft.metrics().borrow_watched().last_applied.map(|at| at.index)
}

/// Does this replica lead, and somebody not have all of the log up to there?
fn is_needed(raft: &Raft, upto: u64) -> bool {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let mut matched = metrics.replication.iter().flatten().map(|(_, at)| at.as_ref().map_or(0, |at| at.index));
    matched.any(|at| at < upto)
}

/// `total`: the size of the file system; 0: it is not known.
fn log_bytes_max(total: u64, times: u64) -> u64 {
    match total {
        0 => LOG_BYTES_MAX * times,
        _ => (LOG_BYTES_MAX * times).min(total / LOG_SHARE_MAX),
    }
}

/// The applied entries up to `upto` go, and a snapshot stands for them. Returns once they are gone, or after a while.
pub async fn purge(raft: &Raft, upto: u64) {
    if is_covered(raft, upto).await {
        drop_log(raft, upto).await;
    }
}

/// Has a snapshot made that stands for them.
async fn is_covered(raft: &Raft, upto: u64) -> bool {
    if raft.trigger().snapshot().await.is_err() {
        return false;
    }
    let made = |metrics: &RaftMetrics<_>| metrics.snapshot.is_some_and(|at| at.index >= upto);
    raft.wait(Some(SNAPSHOT_MAX)).metrics(made, "a snapshot").await.is_ok()
}

/// A leader waits for the end of a transfer that may need the entries.
async fn drop_log(raft: &Raft, upto: u64) {
    if raft.trigger().purge_log(upto).await.is_ok() {
        let purged = |metrics: &RaftMetrics<_>| metrics.purged.is_some_and(|at| at.index >= upto);
        let _ = raft.wait(Some(SNAPSHOT_MAX)).metrics(purged, "the purge").await;
    }
}

/// Fails with the disk, which ends the replica's part anyway, or when the raft node has stopped.
pub async fn save(raft: &Raft) {
    let saved = raft.with_state_machine(|machine: &mut Machine| Box::pin(machine.save())).await;
    if let Some(error) = saved.map_or_else(|error| Some(error.to_string()), |saved| Some(saved.err()?.to_string())) {
        tracing::debug!(error, "the objects are not saved");
    }
}

#[cfg(test)]
#[path = "upkeep_tests.rs"]
mod tests;
