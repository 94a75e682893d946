//! Medians and the like. Pure.

use std::time::Duration;

/// Sorted samples.
pub struct Samples(Vec<Duration>);

impl Samples {
    pub fn new(mut samples: Vec<Duration>) -> Samples {
        samples.sort();
        Samples(samples)
    }

    /// The value below which this part of the samples lies; zero without samples.
    pub fn quantile(&self, part: f64) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * part).round() as usize).copied().unwrap_or_default()
    }

    pub fn line(&self) -> String {
        let ms = |part| self.quantile(part).as_secs_f64() * 1e3;
        format!(
            "n {}  min {:.1} ms  median {:.1} ms  p90 {:.1} ms  p99 {:.1} ms  max {:.1} ms",
            self.0.len(),
            ms(0.0),
            ms(0.5),
            ms(0.9),
            ms(0.99),
            ms(1.0)
        )
    }
}
