//! Runs seeds of the simulated store, or with `--cluster` of whole clusters: `--seeds N` many of them, `--seed N` one
//! again, `--mutants` to test the suite itself. Acts.

use std::process::ExitCode;

use clap::Parser;
use kontiki_chaos_tests::runner::{Outcome, Report, Runner, Subject, Totals};
use kontiki_chaos_tests::sim::memory::Counting;
use kontiki_chaos_tests::sim::os;
use kontiki_chaos_tests::{cluster, store};

/// Of one run.
const FAILURES_SHOWN: usize = 6;

#[derive(Parser)]
#[command(name = "chaos", about = "Tries the store's promises in a simulated world, one world per seed")]
struct Args {
    /// Try whole clusters instead of the store alone
    #[arg(long)]
    cluster: bool,
    /// Run this seed alone
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: only these faults of its plan, by number, separated by commas; empty: none
    #[arg(long)]
    faults: Option<String>,
    /// With --seed: print everything that happened
    #[arg(long)]
    trace: bool,
    /// With --seed: print what the product's processes log, with the simulated time and the number of the host
    #[arg(long)]
    log: bool,
    /// With --seed: print what the runner reads
    #[arg(long, hide = true)]
    brief: bool,
    /// How many seeds to run
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run at once; 0: as many as there are cores
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    /// Every so many seeds, one is run twice and the traces compared; 0: never
    #[arg(long, default_value_t = 20)]
    twice_every: u64,
    /// Go on after a failure
    #[arg(long)]
    keep_going: bool,
    /// Put this known bug into the store (needs the feature `mutants`)
    #[arg(long)]
    mutant: Option<String>,
    /// Find every known bug, each within --seeds, and print the table (needs the feature `mutants`)
    #[arg(long)]
    mutants: bool,
    /// With --mutants: all but these
    #[arg(long, value_delimiter = ',')]
    except: Vec<String>,
}

/// As the product has it; a run takes less time.
#[global_allocator]
static ALLOCATOR: Counting<mimalloc::MiMalloc> = Counting(mimalloc::MiMalloc);

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.seed {
        Some(seed) => one(seed, &args),
        None if args.mutants => all_mutants(&args),
        None => many(&args),
    };
    done.unwrap_or_else(|why| {
        eprintln!("{why}");
        ExitCode::from(2)
    })
}

/// The simulated time in milliseconds, and the host.
struct Simulated;

impl tracing_subscriber::fmt::time::FormatTime for Simulated {
    fn format_time(&self, line: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        let host = os::host().map_or("-".into(), |host| host.to_string());
        write!(line, "{:>7} {host}", os::now().as_millis())
    }
}

fn jobs(args: &Args) -> usize {
    match args.jobs {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get()),
        jobs => jobs,
    }
}

fn subject(args: &Args) -> Subject {
    if args.cluster { Subject::Cluster } else { Subject::Store }
}

fn binary() -> Result<std::path::PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))
}

fn one(seed: u64, args: &Args) -> Result<ExitCode, String> {
    let faults: Vec<usize> = match &args.faults {
        Some(faults) => {
            let words = faults.split(',').filter(|text| !text.is_empty());
            let numbers: Result<_, _> = words.map(str::parse).collect();
            numbers.map_err(|error| format!("--faults: {error}"))?
        }
        None => (0..subject(args).faults(seed)).collect(),
    };
    if args.log {
        let log = tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG);
        log.with_timer(Simulated).with_ansi(false).with_writer(std::io::stderr).init();
    }
    let before = switch(args.mutant.as_deref())?;
    let (report, told): (Report, Vec<String>) = match subject(args) {
        Subject::Store => {
            let plan = store::plan::Plan::new(seed).only(&faults);
            (store::run::run_with(&plan, before), plan.faults.iter().map(ToString::to_string).collect())
        }
        Subject::Cluster => {
            let plan = cluster::plan::Plan::new(seed).only(&faults);
            (cluster::run::run_with(&plan, before), plan.faults.iter().map(ToString::to_string).collect())
        }
    };
    let code = if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if args.brief {
        let outcome = Outcome::of(&report);
        println!("{}", if args.trace { outcome.encode_with(&report.trace) } else { outcome.encode() });
        return Ok(code);
    }
    println!("seed {seed}");
    for (n, fault) in told.iter().enumerate() {
        println!("  fault {n}: {fault}{}", if report.missed.contains(&n) { ", met nobody" } else { "" });
    }
    if args.trace {
        print!("{}", report.trace);
    }
    let Totals { operations, unknown, simulated_ms, terms, .. } = report.totals;
    println!("{operations} operations ({unknown} unknown) in {simulated_ms} simulated ms, {terms} terms");
    shown(&report.failures).iter().for_each(|failure| println!("FAILED: {failure}"));
    Ok(code)
}

/// The first say most; what follows from them fills pages.
fn shown(failures: &[String]) -> Vec<String> {
    let (first, rest) = failures.split_at(failures.len().min(FAILURES_SHOWN));
    let more = (!rest.is_empty()).then(|| format!("... and {} more", rest.len()));
    first.iter().cloned().chain(more).collect()
}

fn many(args: &Args) -> Result<ExitCode, String> {
    let (jobs, runner) =
        (jobs(args), Runner { binary: binary()?, subject: subject(args), mutant: args.mutant.clone() });
    #[allow(clippy::disallowed_methods, reason = "this measures the simulation from outside")]
    let began = std::time::Instant::now();
    let (mut totals, mut failed) = (Totals::default(), Vec::new());
    runner.seeds(args.from..args.from + args.seeds, jobs, args.twice_every, |outcome| {
        totals.add(&outcome.totals);
        if !outcome.failures.is_empty() {
            println!("seed {} FAILED: {}", outcome.seed, shown(&outcome.failures).join("\n  "));
            failed.push(outcome);
        }
        failed.is_empty() || args.keep_going
    });
    let took = began.elapsed().as_secs_f64();
    let simulated = totals.simulated_ms as f64 / 1000.0;
    println!(
        "{} seeds: {:.2} simulated hours, {} faults, {} of them met somebody, {} operations checked ({} of unknown \
         outcome), {} leaderships, {} snapshots installed, {} changes from before them fetched, {} renewals, {} times a history was \
         gone; all changes known in {}",
        totals.runs,
        simulated / 3600.0,
        totals.faults.planned(),
        totals.faults.felt(),
        totals.operations,
        totals.unknown,
        totals.terms,
        totals.snapshots,
        totals.fetched,
        totals.renewals,
        totals.gone,
        totals.whole
    );
    println!("{took:.1} s, {jobs} at once: {:.0} simulated seconds per core-second", simulated / took / jobs as f64);
    print!("{}", totals.faults.table());
    failed.iter().for_each(|outcome| println!("\n{}", runner.explain(outcome)));
    let hollow = totals.hollow();
    hollow.iter().for_each(|why| println!("FAILED: {why}"));
    Ok(if failed.is_empty() && hollow.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(feature = "mutants")]
fn switch(name: Option<&str>) -> Result<impl FnOnce() + Send + 'static, String> {
    let all = proto::mutants::Mutant::ALL;
    let mutant = match name {
        None => None,
        Some(name) => Some(all.iter().find(|known| known.1 == name).ok_or(format!("no mutant is called {name:?}"))?.0),
    };
    Ok(move || mutant.into_iter().for_each(proto::mutants::switch_on))
}

#[cfg(not(feature = "mutants"))]
fn switch(name: Option<&str>) -> Result<impl FnOnce() + Send + 'static, String> {
    match name {
        None => Ok(|| ()),
        Some(_) => Err("this program was built without the feature `mutants`".into()),
    }
}

/// A table of all known bugs, with the seed that finds each. Without the bug that seed must find nothing.
fn all_mutants(args: &Args) -> Result<ExitCode, String> {
    let _available = switch(Some(proto::mutants::Mutant::ALL[0].1))?;
    let all = proto::mutants::Mutant::ALL;
    if let Some(unknown) = args.except.iter().find(|except| !all.iter().any(|(_, name, _)| name == except)) {
        return Err(format!("--except: no mutant is called {unknown:?}"));
    }
    let wanted = all.iter().filter(|(_, name, _)| !args.except.iter().any(|except| except == name));
    let (mut found_all, mut missed) = (0, 0);
    println!("{:<28} {:>6}  what it is; how it showed", "mutant", "seed");
    for (mutant, name, what) in wanted {
        let subject = if mutant.needs_cluster() { Subject::Cluster } else { Subject::Store };
        let runner = Runner { binary: binary()?, subject, mutant: Some(name.to_string()) };
        let mut found: Option<(u64, String)> = None;
        runner.seeds(args.from..args.from + args.seeds, jobs(args), 0, |outcome| {
            if let Some(why) = outcome.failures.first() {
                let first = found.as_ref().is_none_or(|(seed, _)| outcome.seed < *seed);
                if first {
                    found = Some((outcome.seed, why.chars().take(110).collect::<String>().replace('\n', " ")));
                }
            }
            found.is_none()
        });
        let sound = Runner { mutant: None, ..runner };
        match found {
            Some((seed, _)) if !sound.run(seed, None).failures.is_empty() => {
                return Err(format!("seed {seed} fails also without {name}; see {}", sound.replay(seed, None)));
            }
            Some((seed, why)) => {
                found_all += 1;
                println!("{name:<28} {seed:>6} {what}\n{:37}{why}", "");
            }
            None => {
                missed += 1;
                println!("{name:<28} MISSED {what}");
            }
        }
    }
    println!("{found_all} of {} found", found_all + missed);
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
