//! What came of a run in a process of its own, and of many; how that process tells its parent. Pure.

use super::faults::Faults;
use super::report::Report;
use crate::sim::os;

/// Between what came of a run and its trace.
const TRACE_FOLLOWS: &str = "\u{1e}\n";

/// So many runs, some of them with short histories, tell whether anybody ever met what is gone.
const GONE_RUNS_MIN: u64 = 60;
/// So many runs tell what is usual.
const MANY_RUNS: u64 = 100;
/// One in so many operations at most has an outcome that nobody knows; it is one in a hundred.
const UNKNOWN_MAX: u64 = 25;
const SHORT_HISTORY: &str = "ShortHistory";

/// What came of one run in a process of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub seed: u64,
    pub totals: Totals,
    /// Of everything that happened.
    pub trace: u32,
    pub failures: Vec<String>,
    /// It went another way the second time, which only two runs show.
    pub differs: bool,
}

/// What a number of runs amounts to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub runs: u64,
    pub simulated_ms: u64,
    pub faults: Faults,
    pub operations: u64,
    /// Of them, those whose outcome nobody knows.
    pub unknown: u64,
    pub terms: u64,
    pub snapshots: u64,
    /// Changes from before a snapshot that another replica told whom that had filled.
    pub fetched: u64,
    /// Replicas that found damage and began anew by themselves.
    pub renewals: u64,
    /// Watches of clusters, and pages of lists, that met a history that was gone.
    pub gone: u64,
    /// Runs in which every change ever made is known, so that all that follows from them was checked too.
    pub whole: u64,
}

impl Totals {
    fn numbers(&mut self) -> [&mut u64; 10] {
        let Totals {
            runs,
            simulated_ms,
            faults: _,
            operations,
            unknown,
            terms,
            snapshots,
            fetched,
            renewals,
            gone,
            whole,
        } = self;
        [runs, simulated_ms, operations, unknown, terms, snapshots, fetched, renewals, gone, whole]
    }

    pub fn add(&mut self, other: &Totals) {
        self.faults.add(&other.faults);
        let mut other = other.clone();
        self.numbers().into_iter().zip(other.numbers()).for_each(|(sum, more)| *sum += *more);
    }

    /// Of many runs, in which somebody was filled often.
    fn fetched_nothing(&self) -> Option<String> {
        let Totals { runs, snapshots, fetched, .. } = self;
        (*runs >= MANY_RUNS && *snapshots >= 20 && *fetched == 0)
            .then(|| format!("{snapshots} snapshots were installed, and nobody fetched what had been before"))
    }

    /// A judge who knows little of what was answered says little.
    fn too_much_is_unknown(&self) -> Option<String> {
        let Totals { runs, operations, unknown, .. } = self;
        (*runs >= MANY_RUNS && unknown * UNKNOWN_MAX > *operations)
            .then(|| format!("of {operations} operations {unknown} had an outcome that nobody knows"))
    }

    /// Why many runs say less than they seem to. What follows from all changes is judged only where all are known; a fault that
    /// meets nobody tries nothing; and where nobody misses what short histories lack, nobody tries to go on without it.
    pub fn hollow(&self) -> Vec<String> {
        let Totals { runs, whole, gone, .. } = self;
        let unjudged = (*runs >= 10 && whole * 10 < runs * 9).then(|| {
            format!("all changes are known in {whole} of {runs} runs, and what follows from them is judged only there")
        });
        let numb = self.faults.numb(*runs).into_iter().map(|kind| format!("too few faults met somebody: {kind}"));
        let short = self.faults.planned_of(SHORT_HISTORY);
        let unmissed = (*runs >= GONE_RUNS_MIN && short > 0 && *gone == 0)
            .then(|| format!("the history was short in {short} of {runs} runs, and nobody met what was gone"));
        let blind = self.fetched_nothing().into_iter().chain(self.too_much_is_unknown());
        unjudged.into_iter().chain(unmissed).chain(blind).chain(numb).collect()
    }
}

impl Outcome {
    pub fn of(report: &Report) -> Outcome {
        let trace = crc32fast::hash(report.trace.as_bytes());
        let (totals, failures) = (report.totals.clone(), report.failures.clone());
        Outcome { seed: report.seed, totals, trace, failures, differs: false }
    }

    /// Do these failures, of a run with fewer faults, show what this one showed? Without the fault that makes its host another
    /// fault breaks the suite itself: that is something else.
    pub fn is_met_by(&self, failures: &[String]) -> bool {
        let panicked = |failures: &[String]| failures.iter().any(|why| why.starts_with(os::PANICKED));
        !failures.is_empty() && panicked(failures) == panicked(&self.failures)
    }

    /// How a run's process tells its parent: one line of numbers, one of faults, then a line per failure.
    pub fn encode(&self) -> String {
        let mut totals = self.totals.clone();
        let numbers: Vec<String> = totals.numbers().iter().map(|number| number.to_string()).collect();
        let failures = self.failures.iter().map(|why| format!("\n{}", why.replace('\n', "\u{1f}")));
        let (numbers, faults) = (numbers.join(" "), self.totals.faults.encode());
        format!("{} {} {numbers}\n{faults}{}", self.seed, self.trace, failures.collect::<String>())
    }

    /// The same, and everything that happened.
    pub fn encode_with(&self, trace: &str) -> String {
        format!("{}\n{TRACE_FOLLOWS}{trace}", self.encode())
    }

    pub fn decode_with(text: &str) -> Option<(Outcome, &str)> {
        let (outcome, trace) = text.split_once(TRACE_FOLLOWS)?;
        Some((Outcome::decode(outcome)?, trace))
    }

    pub fn decode(text: &str) -> Option<Outcome> {
        let mut lines = text.lines();
        let mut numbers = lines.next()?.split(' ').map(|word| word.parse::<u64>().ok());
        let mut outcome = Outcome { seed: numbers.next()??, trace: numbers.next()?? as u32, ..Outcome::default() };
        for number in outcome.totals.numbers() {
            *number = numbers.next()??;
        }
        // A run without faults ends with an empty line, if nothing follows on that.
        outcome.totals.faults = Faults::decode(lines.next().unwrap_or_default())?;
        outcome.failures = lines.map(|line| line.replace('\u{1f}', "\n")).collect();
        Some(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::plan::{Fault, Kind};

    #[test]
    fn an_outcome_survives_the_way_between_processes() {
        let mut totals = Totals {
            runs: 1,
            simulated_ms: 2,
            faults: Faults::default(),
            operations: 4,
            unknown: 5,
            terms: 6,
            snapshots: 7,
            fetched: 10,
            renewals: 8,
            gone: 9,
            whole: 1,
        };
        let calm = Outcome { seed: 8, totals: totals.clone(), ..Outcome::default() };
        totals.faults.count("Crash".into(), true);
        totals.faults.count("Freeze".into(), false);
        let failures = vec!["one\nwith two lines".to_string(), "another".into()];
        let without_faults = Outcome { failures: failures.clone(), ..calm.clone() };
        let outcome = Outcome { seed: 9, totals, trace: 77, failures, differs: false };
        assert_eq!(Outcome::decode("nonsense"), None);
        for outcome in [calm, without_faults, outcome] {
            assert_eq!(Outcome::decode(&outcome.encode()).as_ref(), Some(&outcome));
            let text = outcome.encode_with("1 a\n2 b\n");
            assert_eq!(Outcome::decode_with(&text), Some((outcome, "1 a\n2 b\n")));
        }
    }

    #[test]
    fn many_runs_in_which_little_was_judged_or_faults_met_nobody_are_hollow() {
        let totals = |runs, whole, planned: u64, felt| {
            let mut totals = Totals { runs, whole, ..Totals::default() };
            (0..planned).for_each(|n| totals.faults.count("Freeze".into(), n < felt));
            totals.hollow()
        };
        assert!(totals(100, 90, 40, 20).is_empty());
        assert!(totals(9, 0, 40, 0).is_empty(), "too few runs to tell");
        assert!(matches!(&totals(10, 8, 0, 0)[..], [why] if why.contains("8 of 10 runs")));
        assert!(matches!(&totals(100, 100, 40, 19)[..], [why] if why.ends_with(": 19 of 40 Freeze")));
        assert_eq!(totals(100, 0, 40, 0).len(), 2);
    }

    #[test]
    fn short_histories_of_which_nobody_missed_anything_are_hollow() {
        let hollow = |runs, planned, gone| {
            let mut totals = Totals { runs, whole: runs, gone, ..Totals::default() };
            (0..planned).for_each(|_| totals.faults.count(SHORT_HISTORY.into(), gone > 0));
            totals.hollow()
        };
        assert!(matches!(&hollow(60, 15, 0)[..], [why] if why.contains("short in 15 of 60 runs")));
        assert!(hollow(60, 15, 1).is_empty());
        assert!(hollow(60, 0, 0).is_empty(), "no history was short");
        assert!(hollow(59, 15, 0).is_empty(), "too few runs to tell");
        let fault = Fault { at_ms: 0, for_ms: 0, kind: Kind::ShortHistory { seconds: 1, bytes: 1 } };
        assert_eq!(fault.name(), SHORT_HISTORY, "as it is counted");
    }

    #[test]
    fn many_runs_that_fetch_nothing_or_know_little_are_hollow() {
        let many = |snapshots, fetched, unknown| {
            Totals { runs: 100, whole: 100, operations: 1000, snapshots, fetched, unknown, ..Totals::default() }
                .hollow()
        };
        assert!(many(20, 1, 40).is_empty() && many(19, 0, 0).is_empty());
        assert!(matches!(&many(20, 0, 0)[..], [why] if why.contains("nobody fetched")));
        assert!(matches!(&many(0, 0, 41)[..], [why] if why.starts_with("of 1000 operations 41")));
    }

    #[test]
    fn totals_add_up_with_their_faults() {
        let mut sum = Totals::default();
        for is_felt in [true, false] {
            let mut one = Totals { runs: 1, operations: 5, ..Totals::default() };
            one.faults.count("Freeze".into(), is_felt);
            sum.add(&one);
        }
        assert_eq!((sum.runs, sum.operations, sum.faults.planned(), sum.faults.felt()), (2, 10, 2, 1));
    }

    #[test]
    fn a_suite_that_breaks_is_not_the_failure_that_is_being_reduced() {
        let lost = vec!["an acknowledged write is lost".to_string()];
        let broken = vec![format!("{}: no such host", os::PANICKED)];
        let with = |failures: &[String]| Outcome { failures: failures.to_vec(), ..Outcome::default() };
        assert!(with(&lost).is_met_by(&lost) && with(&broken).is_met_by(&broken));
        assert!(with(&lost).is_met_by(&["not linearizable".to_string()]), "what follows from it may show first");
        assert!(!with(&lost).is_met_by(&broken) && !with(&broken).is_met_by(&lost));
        assert!(!with(&lost).is_met_by(&[]));
    }
}
