//! When the tasks of a replica look at what changes slowly: at the same moments, so that an idle one is woken once for
//! all of them.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Cheap to clone.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    begin: Instant,
}

impl Rhythm {
    pub fn begin() -> Rhythm {
        Rhythm { begin: Instant::now() }
    }

    /// Waits for the next whole multiple of `period` since the beginning. Cancel safe.
    pub async fn next(self, period: Duration) {
        sleep_until(self.begin + following(self.begin.elapsed(), period)).await;
    }
}

/// `period` is not zero.
fn following(elapsed: Duration, period: Duration) -> Duration {
    let past = elapsed.as_nanos() / period.as_nanos();
    Duration::from_nanos_u128((past + 1) * period.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_wakes_with_the_others() {
        let ms = Duration::from_millis;
        for (elapsed, period, expected) in
            [(0, 500, 500), (499, 500, 500), (500, 500, 1000), (700, 500, 1000), (700, 1000, 1000), (7001, 2000, 8000)]
        {
            assert_eq!(following(ms(elapsed), ms(period)), ms(expected), "{elapsed} {period}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_drift() {
        let rhythm = Rhythm::begin();
        for turn in 1..5 {
            rhythm.next(Duration::from_secs(1)).await;
            assert_eq!(rhythm.begin.elapsed(), Duration::from_secs(turn));
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}
