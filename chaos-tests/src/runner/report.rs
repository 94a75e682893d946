//! What came of a run, for whoever started it: what any world tells of itself, and what a verdict adds. Acts where it runs a world;
//! else pure.

use std::fmt::Debug;

use super::outcome::Totals;
use crate::check::replicas::Replicas;
use crate::fault::Fault;
use crate::felt::Felt;
use crate::sim::world::World;
use crate::sim::{memory, os};

/// What stays behind of a world that has ended: what is made once per process, some hundred bytes with stores and 68 kB with
/// clusters.
const KEPT_BYTES_MAX: i64 = 128 << 10;

/// What came of a run.
#[derive(Default)]
pub struct Report {
    pub seed: u64,
    /// What this run adds to those of many.
    pub totals: Totals,
    /// By their numbers in the plan, those of its faults that met nobody.
    pub missed: Vec<usize>,
    /// Empty: every promise was held.
    pub failures: Vec<String>,
    pub trace: String,
}

impl Report {
    /// Of a world on a thread of its own.
    pub fn of(seed: u64, world: impl FnOnce() -> Report + Send + 'static) -> Report {
        let watched = move || {
            let before = memory::held();
            let mut report = world();
            let kept = memory::held() - before - report.bytes();
            // One that has failed was not told to end.
            if report.failures.is_empty() && kept > KEPT_BYTES_MAX {
                report.failures.push(format!("a world that has ended left {kept} bytes behind"));
            }
            report
        };
        let failed = |why| Report { failures: vec![why], ..Report::default() };
        let mut report = os::run(seed, watched).unwrap_or_else(failed);
        report.seed = seed;
        report.totals.runs = 1;
        report
    }

    /// What any world tells once its run is over. A panic in it is a failure; what else failed, and what was seen and counted, a
    /// verdict adds.
    pub fn begin<Kind: Debug>(world: &World, planned: &[Fault<Kind>], felt: &Felt, replicas: &Replicas) -> Report {
        let trace = world.trace().lock().expect("no holder of the trace panics").text();
        Report {
            totals: Totals {
                simulated_ms: world.now().as_millis() as u64,
                faults: felt.tally(planned),
                terms: replicas.terms() as u64,
                ..Totals::default()
            },
            missed: felt.missed(planned.len()),
            failures: world.panics().into_iter().map(|panic| format!("a panic: {panic}")).collect(),
            trace,
            ..Report::default()
        }
    }

    /// What it takes itself.
    fn bytes(&self) -> i64 {
        self.failures.iter().map(String::capacity).chain([self.trace.capacity()]).sum::<usize>() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_that_gives_back_less_than_it_took_has_failed() {
        let world = |leaks: bool| {
            let bytes = std::hint::black_box(vec![7u8; 3 << 20]);
            if leaks {
                std::mem::forget(bytes);
            }
            Report { trace: "x".repeat(5 << 20), ..Report::default() }
        };
        assert!(Report::of(1, move || world(false)).failures.is_empty(), "its trace is no leak");
        let failures = Report::of(1, move || world(true)).failures;
        assert!(matches!(&failures[..], [why] if why.contains("left 3145728 bytes behind")), "{failures:?}");
    }

    #[test]
    fn a_world_that_panics_is_a_run_that_failed() {
        let report = Report::of(7, || panic!("no such host"));
        assert_eq!((report.seed, report.totals.runs), (7, 1));
        assert!(matches!(&report.failures[..], [why] if why.starts_with(os::PANICKED)), "{:?}", report.failures);
    }
}
