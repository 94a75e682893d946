//! Counts values by powers of two, each in four parts: what openraft keeps its batch sizes and latencies in. Pure.
//!
//! It has the name and the calls of the crate that openraft asks for, and takes its place (`[patch.crates-io]`). That one
//! (0.2.3) fills tables for sixteen precisions at its first use, of which openraft uses one: 25 MiB of every replica.

use std::fmt;
use std::marker::PhantomData;

/// Four parts of a power of two: a value is off by an eighth at most.
const PARTS_BITS: u32 = 2;
const PARTS: usize = 1 << PARTS_BITS;
/// All of `u64`: values below 4 by themselves, then each power of two in its parts.
const BUCKETS: usize = PARTS + (64 - PARTS_BITS as usize) * PARTS;

/// `T` is what a slot of time would carry; openraft keeps none.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Box<[u64; BUCKETS]>,
    total: u64,
    slot: PhantomData<T>,
}

impl<T> Histogram<T> {
    pub fn new() -> Histogram<T> {
        Histogram { counts: Box::new([0; BUCKETS]), total: 0, slot: PhantomData }
    }

    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// The same value so many times. Counts stop at their largest value.
    pub fn record_n(&mut self, value: u64, times: u64) {
        let count = &mut self.counts[bucket(value)];
        *count = count.saturating_add(times);
        self.total = self.total.saturating_add(times);
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    /// The value that this part (0 to 1) of all values does not exceed, to within its bucket; 0 when there are none.
    pub fn percentile(&self, part: f64) -> u64 {
        let rank = ((self.total as f64 * part).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0u64;
        for (index, count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen >= rank {
                return middle(index);
            }
        }
        0
    }

    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total,
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.1),
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Histogram<T> {
        Histogram::new()
    }
}

impl<T> fmt::Debug for Histogram<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.percentile_stats())
    }
}

fn bucket(value: u64) -> usize {
    if value < PARTS as u64 {
        return value as usize;
    }
    let power = value.ilog2();
    let part = (value >> (power - PARTS_BITS)) as usize & (PARTS - 1);
    PARTS + (power - PARTS_BITS) as usize * PARTS + part
}

/// The middle of a bucket's values.
fn middle(index: usize) -> u64 {
    if index < PARTS {
        return index as u64;
    }
    let (power, part) = ((index - PARTS) / PARTS, (index - PARTS) % PARTS);
    let low = ((PARTS + part) as u64) << power;
    low + (1u64 << power) / 2
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PercentileStats { samples, p0_1, p1, p5, p10, p50, p90, p99, p99_9 } = self;
        write!(f, "[samples: {samples}, P0.1: {p0_1}, P1: {p1}, P5: {p5}, P10: {p10}, ")?;
        write!(f, "P50: {p50}, P90: {p90}, P99: {p99}, P99.9: {p99_9}]")
    }
}

/// Several histograms, shown one below the other.
#[derive(Clone, Debug)]
pub struct AsciiChart<T = ()>(Vec<(String, Histogram<T>)>);

impl<T> AsciiChart<T> {
    pub fn new() -> AsciiChart<T> {
        AsciiChart(Vec::new())
    }

    pub fn add(mut self, name: &str, histogram: Histogram<T>) -> AsciiChart<T> {
        self.0.push((name.to_owned(), histogram));
        self
    }

    pub fn detailed(&self) -> impl fmt::Display + '_ {
        fmt::from_fn(|f| {
            self.0.iter().try_for_each(|(name, histogram)| writeln!(f, "{name:>22}: {}", histogram.percentile_stats()))
        })
    }
}

impl<T> Default for AsciiChart<T> {
    fn default() -> AsciiChart<T> {
        AsciiChart::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_bucket_whose_middle_is_near() {
        let around = |power: u32| [-1i128, 0, 1].map(|step| (1i128 << power) + step);
        let values = (0..64).flat_map(around).chain([u64::MAX as i128]).filter_map(|value| u64::try_from(value).ok());
        for value in values {
            let index = bucket(value);
            assert!(index < BUCKETS, "{value}");
            let off = middle(index).abs_diff(value);
            assert!(off <= value / 8 + 1, "{value} is {off} off");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile(0.5), 0);
        histogram.record_n(1, 90);
        histogram.record_n(1000, 9);
        histogram.record(1_000_000);
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p50, stats.p90), (100, 1, 1));
        assert!((900..=1100).contains(&stats.p99), "{stats}");
        assert!((900_000..=1_100_000).contains(&stats.p99_9), "{stats}");
        let chart = AsciiChart::new().add("one", histogram).detailed().to_string();
        assert!(chart.contains("one: [samples: 100,"), "{chart}");
    }
}
