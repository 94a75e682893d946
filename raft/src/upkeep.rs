//! What a replica does for itself now and then: saves its objects, trims its history and its log,
//! looks at its disk. Acts.

use std::sync::Arc;
use std::time::Duration;

use proto::seam::Clock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::disk::{Disk, apart};
use crate::log_store::LogStore;
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
/// Between two trimming steps, so that they take a small share of the time.
const PAUSE: Duration = Duration::from_millis(20);

pub async fn run(
    disk: Arc<dyn Disk>,
    published: Arc<Published>,
    log: LogStore,
    reach: Arc<Reach>,
    clock: Arc<dyn Clock>,
    rhythm: Rhythm,
    stop: CancellationToken,
) {
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
            Metrics::set(&published.metrics.disk_bytes, disk.bytes());
        }
        loop {
            // What the objects on the disk do not reach yet is written once more after a crash.
            let revision = reach.now().revision;
            match published.history.trim(clock.now_ms(), revision) {
                Ok(true) => tokio::time::sleep(PAUSE).await,
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "the history cannot be trimmed");
                    break;
                }
            }
            if stop.is_cancelled() {
                return;
            }
        }
        if let Err(error) = log.clear().await {
            tracing::warn!(%error, "what nothing needs of the log stays on the disk");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = rhythm.next(INTERVAL) => {}
        }
    }
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

/// Fails with the disk, which ends the replica's part anyway, or when the raft node has stopped.
pub async fn save(raft: &Raft) {
    let saved = raft.with_state_machine(|machine: &mut Machine| Box::pin(machine.save())).await;
    if let Some(error) = saved.map_or_else(|error| Some(error.to_string()), |saved| Some(saved.err()?.to_string())) {
        tracing::debug!(error, "the objects are not saved");
    }
}
