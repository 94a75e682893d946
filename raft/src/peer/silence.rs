//! Notices that the leader has fallen silent though nothing broke: its process is frozen, or its network lost. Asks the
//! others then whether they hear it, long before openraft's own timers, which stay behind it for what is left. Acts;
//! [`super::ear`] decides.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ear::Ear;
use super::succession::{STAGGER, Succession};
use crate::metrics::Metrics;
use crate::trouble;

/// How often the others are asked before this replica listens again: enough for one that heard the leader a little later.
const ATTEMPTS: u32 = 3;
/// Between two such rounds, while the others go on hearing a leader that this replica does not.
const PAUSE: Duration = Duration::from_millis(250);

/// Who wakes so much too late was frozen itself, or got no processor. What the leader has sent since then is read within
/// the next moments.
const HELD_UP: Duration = Duration::from_millis(150);
const CATCH_UP: Duration = Duration::from_millis(50);

/// Ends with `stop`.
pub async fn run(succession: Succession, ear: Arc<Ear>, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut changes = succession.raft.server_metrics();
    loop {
        let follows = async {
            let Some(followed) = succession.followed() else { return changes.changed().await.is_ok() };
            let (term, Some(rank)) = (followed.term(), followed.rank) else { return changes.changed().await.is_ok() };
            let Some(due) = ear.patience_ends(term).map(|at| at + STAGGER * rank) else {
                // Known from the disk, and not heard since the start. When it is heard, nothing changes here.
                return !matches!(tokio::time::timeout(PAUSE, changes.changed()).await, Ok(Err(_)));
            };
            if Instant::now() < due {
                wake(due).await;
                return true;
            }
            tracing::info!(leader = followed.id, "the leader has fallen silent");
            Metrics::add(&metrics.elections_after_silence, 1);
            succession.seek(followed.id, rank, ATTEMPTS, || !ear.is_lost(term, Instant::now())).await;
            tokio::time::sleep(PAUSE).await;
            // One that has ended elects nobody.
            trouble::ended(&succession.raft).is_none()
        };
        tokio::select! {
            () = stop.cancelled() => return,
            goes_on = follows => if !goes_on { return },
        }
    }
}

/// Returns at `due`; a little later when this process was held up so long that it may not have read what came in time.
async fn wake(due: Instant) {
    tokio::time::sleep_until(due).await;
    if due.elapsed() > HELD_UP {
        tokio::time::sleep(CATCH_UP).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_was_frozen_reads_before_it_judges() {
        let start = Instant::now();
        wake(start + Duration::from_millis(600)).await;
        assert_eq!(start.elapsed(), Duration::from_millis(600), "on time");
        let woken = tokio::spawn(wake(Instant::now() + Duration::from_millis(600)));
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_secs(2)).await;
        tokio::task::yield_now().await;
        assert!(!woken.is_finished());
        let thawed = Instant::now();
        woken.await.unwrap();
        assert_eq!(thawed.elapsed(), CATCH_UP);
    }
}
