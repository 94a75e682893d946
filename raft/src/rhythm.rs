//! When the tasks of a replica look at what changes slowly: at the same moments, so that an idle one is woken once for
//! all of them. Decides.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::runtime;

/// For a timer that is further away than this, tokio's runtime wakes twice: at the last whole multiple before it, counted from
/// the runtime's own beginning, and then for the timer. One that ends on a multiple costs no second waking.
const SLOT: Duration = Duration::from_millis(64);

/// Cheap to clone.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    begin: Instant,
}

impl Rhythm {
    pub fn begin() -> Rhythm {
        Rhythm { begin: runtime::began().unwrap_or_else(Instant::now) }
    }

    /// Waits for the next whole multiple of `period` since the beginning, or the end of its slot. Cancel safe.
    pub async fn next(self, period: Duration) {
        sleep_until(self.begin + following(self.begin.elapsed(), period)).await;
    }

    /// The end of a slot before `until`; `until` itself when none ends between `now` and that.
    pub fn before(self, now: Instant, until: Instant) -> Instant {
        let ends = self.begin + multiple(until.duration_since(self.begin), SLOT);
        if ends > now { ends } else { until }
    }
}

/// The last whole multiple of `period`, which is not zero.
fn multiple(elapsed: Duration, period: Duration) -> Duration {
    Duration::from_nanos_u128(elapsed.as_nanos() / period.as_nanos() * period.as_nanos())
}

fn following(elapsed: Duration, period: Duration) -> Duration {
    let next = multiple(elapsed, period) + period;
    let slot = multiple(next, SLOT);
    if slot < next { slot + SLOT } else { next }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn whoever_waits_wakes_with_the_others_at_the_end_of_a_slot() {
        for (elapsed, period, expected) in [
            (0, 500, 512),
            (499, 500, 512),
            (512, 500, 1024),
            (512, 1000, 1024),
            (700, 500, 1024),
            (1024, 500, 1536),
            (1024, 1000, 2048),
            (7001, 2000, 8000),
        ] {
            assert_eq!(following(ms(elapsed), ms(period)), ms(expected), "{elapsed} {period}");
        }
    }

    #[test]
    fn a_beat_ends_with_a_slot() {
        let rhythm = Rhythm { begin: Instant::now() };
        for (now, until, expected) in
            [(0, 200, 192), (192, 392, 384), (193, 393, 384), (250, 450, 448), (10, 30, 30), (60, 70, 64), (64, 70, 70)]
        {
            let at = |at| rhythm.begin + ms(at);
            assert_eq!(rhythm.before(at(now), at(until)), at(expected), "{now} {until}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_drift() {
        let rhythm = Rhythm::begin();
        for turn in 1..5 {
            rhythm.next(Duration::from_secs(1)).await;
            assert_eq!(rhythm.begin.elapsed(), ms(turn * 1000).div_duration_f64(SLOT).ceil() as u32 * SLOT);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}
