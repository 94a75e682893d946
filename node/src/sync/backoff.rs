//! How long to wait before a container is started again. Pure.

use std::time::Duration;

use crate::runtime::Exit;

/// Kubernetes': 10 s, doubling up to 5 minutes, forgotten after 10 minutes of good running.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub base: Duration,
    pub max: Duration,
    pub forget_after: Duration,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { base: Duration::from_secs(10), max: Duration::from_secs(300), forget_after: Duration::from_secs(600) }
    }
}

impl Policy {
    /// How often in a row a container has ended, this end included. `before`: the count when this attempt was made.
    pub fn failures(&self, before: u32, exit: &Exit) -> u32 {
        // Less than nothing where the clock was set back meanwhile: that it ran well is not known then.
        let ran = Duration::try_from(exit.finished_at.duration_since(exit.started_at)).unwrap_or_default();
        if ran >= self.forget_after { 1 } else { before.saturating_add(1) }
    }

    /// The wait after so many ends in a row: none after the first.
    pub fn restart_delay(&self, failures: u32) -> Duration {
        if failures <= 1 { Duration::ZERO } else { self.delay(failures - 1) }
    }

    /// The wait after so many failed tries (of a pull, say).
    pub fn delay(&self, failures: u32) -> Duration {
        let doubled = self.base.saturating_mul(1 << failures.saturating_sub(1).min(20));
        doubled.min(self.max)
    }
}
