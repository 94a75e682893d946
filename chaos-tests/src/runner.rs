//! Many seeds on all cores, one process per run; a failing one is reduced to the faults that it needs. Acts.
//!
//! A process each, because tokio draws the seeds of its generators from a counter of the process: only a fresh process
//! begins like every other.

mod compare;
mod faults;
mod outcome;
mod reduce;
mod report;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};

pub use faults::Faults;
pub use outcome::{Outcome, Totals};
pub use report::Report;

use crate::{cluster, store};

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
        let faults = faults.map(|faults| ["--faults".to_string(), list(faults)]);
        let text = self.output(seed, faults.as_ref().map_or(&[][..], |words| &words[..]));
        let outcome = text.and_then(|text| Outcome::decode(&text).ok_or_else(|| unreadable(&text)));
        outcome.unwrap_or_else(|why| broken(seed, why))
    }

    /// Runs a seed twice and compares what happened.
    fn twice(&self, seed: u64) -> Outcome {
        let run = || {
            let text = self.output(seed, &["--trace".into()])?;
            let (outcome, trace) = Outcome::decode_with(&text).ok_or_else(|| unreadable(&text))?;
            Ok((outcome, trace.to_owned()))
        };
        let ((mut first, trace), (second, trace_now)) = match run().and_then(|first| Ok((first, run()?))) {
            Ok(both) => both,
            Err(why) => return broken(seed, why),
        };
        if first != second || trace != trace_now {
            let told = || format!("its trace is the same, but this came of it\n  {first:?}\n  {second:?}");
            let difference = compare::difference(&trace, &trace_now).unwrap_or_else(told);
            first.failures.push(format!("the same seed ran differently the second time: {difference}"));
            first.differs = true;
        }
        first
    }

    /// What the run's process printed.
    fn output(&self, seed: u64, more: &[String]) -> Result<String, String> {
        let mut command = Command::new(&self.binary);
        command.args(["--brief", "--seed", &seed.to_string()]).args(self.flags()).args(more);
        let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output();
        let output = output.map_err(|error| format!("cannot start {}: {error}", self.binary.display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match text.is_empty() {
            true => Err(format!(
                "the run's process ended with {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            )),
            false => Ok(text),
        }
    }

    /// Those that every run has.
    fn flags(&self) -> Vec<String> {
        let cluster = (self.subject == Subject::Cluster).then(|| "--cluster".to_string());
        let mutant = self.mutant.iter().flat_map(|mutant| ["--mutant".to_string(), mutant.clone()]);
        cluster.into_iter().chain(mutant).collect()
    }

    /// The command, for the repository's root, that runs exactly this again. `faults`: only these of the plan's.
    pub fn replay(&self, seed: u64, faults: Option<&[usize]>) -> String {
        let faults = faults.map(|faults| format!(" --faults '{}'", list(faults))).unwrap_or_default();
        self.command(&format!("--seed {seed}{faults}"))
    }

    fn command(&self, what: &str) -> String {
        // Where cargo puts its builds says which they are.
        let is_release = self.binary.parent().is_some_and(|dir| dir.ends_with("release"));
        let (profile, dir) = if is_release { (" --release", "release") } else { ("", "debug") };
        let features = if self.mutant.is_some() { " --features kontiki-chaos-tests/mutants" } else { "" };
        let flags: String = self.flags().iter().map(|flag| format!("{flag} ")).collect();
        format!(
            ". deploy/env.sh && cargo build{profile} --locked -q --workspace{features} --bin chaos && \
             \"$CARGO_TARGET_DIR/{dir}/chaos\" {flags}{what}"
        )
    }

    /// How to see a failure again, in as few faults as it needs.
    pub fn explain(&self, outcome: &Outcome) -> String {
        let seed = outcome.seed;
        if outcome.differs {
            let again = self.command(&format!("--from {seed} --seeds 1 --twice-every 1"));
            return format!("seed {seed} runs differently each time; again:\n  {again}");
        }
        let count = self.subject.faults(seed);
        let needed = reduce::reduce(count, |faults| outcome.is_met_by(&self.run(seed, Some(faults)).failures));
        let again = self.replay(seed, Some(&needed));
        format!("seed {seed} fails with {} of its {count} faults; again:\n  {again}", needed.len())
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
                    let is_repeated = twice_every > 0 && seed.is_multiple_of(twice_every);
                    let outcome = if is_repeated { runner.twice(seed) } else { runner.run(seed, None) };
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
}

fn broken(seed: u64, why: String) -> Outcome {
    Outcome { seed, failures: vec![why], ..Outcome::default() }
}

fn unreadable(text: &str) -> String {
    format!("the run's process said {text:?}")
}

fn list(faults: &[usize]) -> String {
    faults.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_runs_a_failure_again_has_all_its_flags() {
        let runner = |subject, mutant: Option<&str>| Runner {
            binary: "target/debug/chaos".into(),
            subject,
            mutant: mutant.map(str::to_string),
        };
        let (build, run) =
            (". deploy/env.sh && cargo build --locked -q --workspace", r#""$CARGO_TARGET_DIR/debug/chaos""#);
        let store = runner(Subject::Store, None);
        assert_eq!(store.replay(7, None), format!("{build} --bin chaos && {run} --seed 7"));
        assert_eq!(
            runner(Subject::Cluster, Some("FenceIgnored")).replay(7, Some(&[1, 4])),
            format!(
                "{build} --features kontiki-chaos-tests/mutants --bin chaos && {run} --cluster --mutant FenceIgnored \
                 --seed 7 --faults '1,4'"
            )
        );
        let differs = Outcome { seed: 7, differs: true, ..Outcome::default() };
        let again = runner(Subject::Cluster, None).explain(&differs);
        let command = format!("{build} --bin chaos && {run} --cluster --from 7 --seeds 1 --twice-every 1");
        assert!(again.ends_with(&command), "{again}");
        let released = Runner { binary: "target/release/chaos".into(), ..store };
        let again = released.replay(7, None);
        assert!(again.contains("cargo build --release ") && again.contains("/release/chaos\" --seed 7"), "{again}");
    }
}
