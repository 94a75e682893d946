//! Sends the leader's heartbeats, and says when openraft's own clock runs. That one ticks five times per heartbeat, on
//! every replica, which would be most of what an idle one does. Nothing depends on it while this replica leads, and while
//! it hears its leader. Acts; `decide` is pure.

use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::ear::Ear;
use super::herald::Herald;
use super::succession::{STAGGER, Succession};

/// What openraft's clock does until there is news, or until the instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// It stands, and the others hear a heartbeat now.
    Leads { next: Instant },
    /// It stands: the leader is not silent before this.
    Follows { until: Instant },
    /// It runs, and elects when its time has come.
    Alone { look: Instant },
}

fn decide(leads: bool, patience_ends: Option<Instant>, heartbeat: Duration, now: Instant) -> Pace {
    match patience_ends {
        _ if leads => Pace::Leads { next: now + heartbeat },
        Some(until) if now < until => Pace::Follows { until },
        _ => Pace::Alone { look: now + heartbeat },
    }
}

/// Ends with `stop`.
pub async fn run(succession: Succession, ear: Arc<Ear>, mut herald: Herald, stop: CancellationToken) {
    let heartbeat = herald.heartbeat;
    let raft = &succession.raft;
    let mut changes = raft.server_metrics();
    loop {
        let leads = changes.borrow_and_update().state == ServerState::Leader;
        // When `silence` wakes as well.
        let patience_ends = succession.followed().and_then(|followed| {
            let turn = STAGGER * followed.rank.unwrap_or_default();
            ear.patience_ends(followed.term()).map(|at| at + turn)
        });
        let pace = decide(leads, patience_ends, heartbeat, Instant::now());
        raft.runtime_config().tick(matches!(pace, Pace::Alone { .. }));
        let until = match pace {
            Pace::Leads { next } => {
                // Without them the others elect somebody who may lead.
                if succession.franchise.lost().is_none() {
                    // An error: the raft node has ended, which the changes tell as well.
                    let _ = raft.trigger().heartbeat().await;
                    herald.beat().await;
                }
                next
            }
            Pace::Follows { until } => until,
            Pace::Alone { look } => look,
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = sleep_until(until) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_stands_for_a_leader_and_for_who_hears_one() {
        let (now, heartbeat) = (Instant::now() + Duration::from_secs(9), Duration::from_millis(200));
        let (past, soon) = (now - Duration::from_millis(1), now + Duration::from_millis(600));
        for (leads, patience_ends, expected) in [
            (true, None, Pace::Leads { next: now + heartbeat }),
            (true, Some(past), Pace::Leads { next: now + heartbeat }),
            (false, Some(soon), Pace::Follows { until: soon }),
            (false, Some(now), Pace::Alone { look: now + heartbeat }),
            (false, Some(past), Pace::Alone { look: now + heartbeat }),
            (false, None, Pace::Alone { look: now + heartbeat }),
        ] {
            assert_eq!(decide(leads, patience_ends, heartbeat, now), expected, "{leads} {patience_ends:?}");
        }
    }
}
