//! Many seeds on all cores, one process per run; a failing one is reduced to the faults that it needs. Acts.
//!
//! A process each, because tokio draws the seeds of its generators from a counter of the process: only a fresh process
//! begins like every other.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};

use crate::sim::os;
use crate::{cluster, store};

/// Runs that reducing one failure may take.
const REDUCE_RUNS_MAX: usize = 60;

/// What came of a run.
#[derive(Default)]
pub struct Report {
    pub seed: u64,
    pub faults: u64,
    /// Empty: every promise was held.
    pub failures: Vec<String>,
    pub trace: String,
    pub simulated_ms: u64,
    pub operations: u64,
    pub unknown: u64,
    pub terms: u64,
    pub snapshots: u64,
    /// 1: every change ever made is known, so all that follows from them was checked too.
    pub whole: u64,
}

impl Report {
    /// Of a world on a thread of its own.
    pub fn of(seed: u64, world: impl FnOnce() -> Report + Send + 'static) -> Report {
        let failed = |why| Report { seed, failures: vec![why], ..Report::default() };
        os::run(seed, world).unwrap_or_else(failed)
    }
}

/// What came of one run in a process of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub seed: u64,
    pub totals: Totals,
    /// Of everything that happened.
    pub trace: u32,
    pub failures: Vec<String>,
}

/// What a number of runs amounts to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub runs: u64,
    pub simulated_ms: u64,
    pub faults: u64,
    pub operations: u64,
    pub unknown: u64,
    pub terms: u64,
    pub snapshots: u64,
    pub whole: u64,
}

impl Totals {
    fn fields(&mut self) -> [&mut u64; 8] {
        let Totals { runs, simulated_ms, faults, operations, unknown, terms, snapshots, whole } = self;
        [runs, simulated_ms, faults, operations, unknown, terms, snapshots, whole]
    }

    pub fn add(&mut self, other: &Totals) {
        let mut other = other.clone();
        self.fields().into_iter().zip(other.fields()).for_each(|(sum, more)| *sum += *more);
    }
}

impl Outcome {
    pub fn of(report: &Report) -> Outcome {
        let totals = Totals {
            runs: 1,
            simulated_ms: report.simulated_ms,
            faults: report.faults,
            operations: report.operations,
            unknown: report.unknown,
            terms: report.terms,
            snapshots: report.snapshots,
            whole: report.whole,
        };
        let trace = crc32fast::hash(report.trace.as_bytes());
        Outcome { seed: report.seed, totals, trace, failures: report.failures.clone() }
    }

    /// How a run's process tells its parent: one line of numbers, then a line per failure.
    pub fn encode(&self) -> String {
        let mut totals = self.totals.clone();
        let numbers: Vec<String> = totals.fields().iter().map(|number| number.to_string()).collect();
        let failures = self.failures.iter().map(|why| format!("\n{}", why.replace('\n', "\u{1f}")));
        format!("{} {} {}{}", self.seed, self.trace, numbers.join(" "), failures.collect::<String>())
    }

    pub fn decode(text: &str) -> Option<Outcome> {
        let mut lines = text.lines();
        let mut numbers = lines.next()?.split(' ').map(|word| word.parse::<u64>().ok());
        let mut outcome = Outcome { seed: numbers.next()??, trace: numbers.next()?? as u32, ..Outcome::default() };
        for field in outcome.totals.fields() {
            *field = numbers.next()??;
        }
        outcome.failures = lines.map(|line| line.replace('\u{1f}', "\n")).collect();
        Some(outcome)
    }
}

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Store,
    Cluster,
}

impl Subject {
    /// How many faults the plan of a seed has.
    pub fn faults(self, seed: u64) -> usize {
        match self {
            Subject::Store => store::plan::Plan::new(seed).faults.len(),
            Subject::Cluster => cluster::plan::Plan::new(seed).faults.len(),
        }
    }

    fn argument(self) -> Option<&'static str> {
        (self == Subject::Cluster).then_some("--cluster")
    }
}

/// Runs seeds with the binary of `bin/chaos.rs`.
#[derive(Clone)]
pub struct Runner {
    pub binary: PathBuf,
    pub subject: Subject,
    pub mutant: Option<String>,
}

impl Runner {
    /// `faults`: only those of the seed's plan.
    pub fn run(&self, seed: u64, faults: Option<&[usize]>) -> Outcome {
        let mut command = Command::new(&self.binary);
        command.args(["--brief", "--seed", &seed.to_string()]).args(self.subject.argument());
        if let Some(faults) = faults {
            command.args(["--faults", &list(faults)]);
        }
        if let Some(mutant) = &self.mutant {
            command.args(["--mutant", mutant]);
        }
        let broken = |why: String| Outcome { seed, failures: vec![why], ..Outcome::default() };
        match command.stdin(Stdio::null()).stderr(Stdio::piped()).output() {
            Ok(output) => Outcome::decode(&String::from_utf8_lossy(&output.stdout)).unwrap_or_else(|| {
                let errors = String::from_utf8_lossy(&output.stderr).into_owned();
                broken(format!("the run's process ended with {}: {errors}", output.status))
            }),
            Err(error) => broken(format!("cannot start {}: {error}", self.binary.display())),
        }
    }

    /// The command that runs exactly this again. `faults`: only these of the plan's.
    pub fn replay(&self, seed: u64, faults: Option<&[usize]>) -> String {
        let faults = faults.map(|faults| format!(" --faults '{}'", list(faults))).unwrap_or_default();
        let subject = self.subject.argument().map(|argument| format!(" {argument}")).unwrap_or_default();
        format!("cargo run -p kontiki-chaos-tests --bin chaos --{subject} --seed {seed}{faults}")
    }

    /// Runs each seed once, and every `twice_every`th a second time to compare the traces (0: none). `each` is called
    /// on this thread as results come, and returns whether to go on.
    pub fn seeds(
        &self,
        seeds: std::ops::Range<u64>,
        jobs: usize,
        twice_every: u64,
        mut each: impl FnMut(Outcome) -> bool,
    ) {
        let next = Arc::new(AtomicU64::new(seeds.start));
        let (results, outcomes) = mpsc::channel();
        let worker = |_| {
            let (runner, next, results, end) = (self.clone(), next.clone(), results.clone(), seeds.end);
            std::thread::spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= end {
                        return;
                    }
                    let mut outcome = runner.run(seed, None);
                    if twice_every > 0 && seed.is_multiple_of(twice_every) && runner.run(seed, None) != outcome {
                        outcome.failures.push("the same seed ran differently the second time".into());
                    }
                    if results.send(outcome).is_err() {
                        return;
                    }
                }
            })
        };
        let workers: Vec<_> = (0..jobs.max(1)).map(worker).collect();
        drop(results);
        for outcome in outcomes {
            if !each(outcome) {
                next.store(seeds.end, Relaxed);
            }
        }
        for worker in workers {
            worker.join().expect("a worker does not panic");
        }
    }

    /// Which of its plan's faults a seed needs to fail: leaves out one after the other while it still does.
    pub fn reduce(&self, seed: u64) -> Vec<usize> {
        let mut needed: Vec<usize> = (0..self.subject.faults(seed)).collect();
        let (mut runs, mut progress) = (0, true);
        while progress {
            progress = false;
            for n in (0..needed.len()).rev() {
                if runs == REDUCE_RUNS_MAX {
                    return needed;
                }
                let mut fewer = needed.clone();
                fewer.remove(n);
                runs += 1;
                if !self.run(seed, Some(&fewer)).failures.is_empty() {
                    needed = fewer;
                    progress = true;
                }
            }
        }
        needed
    }
}

fn list(faults: &[usize]) -> String {
    faults.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_survives_the_way_between_processes() {
        let totals =
            Totals { runs: 1, simulated_ms: 2, faults: 3, operations: 4, unknown: 5, terms: 6, snapshots: 7, whole: 1 };
        let failures = vec!["one\nwith two lines".to_string(), "another".into()];
        let outcome = Outcome { seed: 9, totals, trace: 77, failures };
        assert_eq!(Outcome::decode(&outcome.encode()), Some(outcome));
        assert_eq!(Outcome::decode("nonsense"), None);
    }
}
