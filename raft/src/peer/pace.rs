//! Sends the leader's heartbeats, and says when openraft's own clock runs. That one ticks five times per heartbeat, on
//! every replica, which would be most of what an idle one does. Nothing depends on it while this replica leads, and while
//! it hears its leader. Acts; `decide` is pure.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::Instant as _;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::{RaftMetrics, ServerState};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::ear::Ear;
use super::herald::Herald;
use super::succession::{STAGGER, Succession};
use crate::rhythm::Rhythm;
use crate::types::Types;

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

fn decide(leads: bool, patience_ends: Option<Instant>, now: Instant, beat: Instant) -> Pace {
    match patience_ends {
        _ if leads => Pace::Leads { next: beat },
        Some(until) if now < until => Pace::Follows { until },
        _ => Pace::Alone { look: beat },
    }
}

/// A leader that no majority has answered for `patience` falls silent for as long, so that the others, who may hear it though
/// it does not hear them, can elect another one; then it tries again for as long.
fn may_speak(unanswered: Duration, patience: Duration) -> bool {
    (unanswered.as_nanos() / patience.as_nanos()).is_multiple_of(2)
}

/// For how long no majority has answered this leader, which knows of itself, and has led for `led`.
fn unanswered(metrics: &RaftMetrics<Types>, led: Duration) -> Duration {
    let alone = metrics.membership_config.voter_ids().all(|voter| voter == metrics.id);
    let answered = metrics.last_quorum_acked.map_or(led, |at| at.elapsed());
    if alone { Duration::ZERO } else { led.min(answered) }
}

/// Ends with `stop`.
pub async fn run(
    succession: Succession,
    ear: Arc<Ear>,
    mut herald: Herald,
    patience: Duration,
    rhythm: Rhythm,
    stop: CancellationToken,
) {
    let heartbeat = herald.heartbeat;
    let raft = &succession.raft;
    let (mut changes, metrics) = (raft.server_metrics(), raft.metrics());
    let mut led_since = None;
    loop {
        let leads = changes.borrow_and_update().state == ServerState::Leader;
        led_since = leads.then(|| led_since.unwrap_or_else(Instant::now));
        // When `silence` wakes as well.
        let patience_ends = succession.followed().and_then(|followed| {
            let turn = STAGGER * followed.rank.unwrap_or_default();
            ear.patience_ends(followed.term()).map(|at| at + turn)
        });
        let now = Instant::now();
        let pace = decide(leads, patience_ends, now, rhythm.before(now, now + heartbeat));
        raft.runtime_config().tick(matches!(pace, Pace::Alone { .. }));
        let until = match pace {
            Pace::Leads { next } => {
                let unanswered =
                    unanswered(&metrics.borrow_watched(), led_since.map_or(Duration::ZERO, |at| at.elapsed()));
                // Without them the others elect somebody who may lead.
                if succession.franchise.lost().is_none() && may_speak(unanswered, patience) {
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
    fn who_is_not_answered_falls_silent_now_and_then() {
        let patience = Duration::from_millis(1600);
        for (unanswered_ms, expected) in
            [(0, true), (1599, true), (1600, false), (3199, false), (3200, true), (4799, true), (4800, false)]
        {
            assert_eq!(may_speak(Duration::from_millis(unanswered_ms), patience), expected, "{unanswered_ms} ms");
        }
    }

    #[test]
    fn the_clock_stands_for_a_leader_and_for_who_hears_one() {
        let (now, heartbeat) = (Instant::now() + Duration::from_secs(9), Duration::from_millis(200));
        let (past, soon) = (now - Duration::from_millis(1), now + Duration::from_millis(600));
        let beat = now + heartbeat;
        for (leads, patience_ends, expected) in [
            (true, None, Pace::Leads { next: beat }),
            (true, Some(past), Pace::Leads { next: beat }),
            (false, Some(soon), Pace::Follows { until: soon }),
            (false, Some(now), Pace::Alone { look: beat }),
            (false, Some(past), Pace::Alone { look: beat }),
            (false, None, Pace::Alone { look: beat }),
        ] {
            assert_eq!(decide(leads, patience_ends, now, beat), expected, "{leads} {patience_ends:?}");
        }
    }
}
