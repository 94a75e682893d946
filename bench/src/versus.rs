//! Side by side: the same workloads against every system on this machine, round about, in one run. Acts.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;

use crate::gaps::{How, Interrupted};
use crate::load::{Measured, Work};
use crate::system::{Kind, System};
use crate::{Outcome, fanout, gaps, load, quiet, table};

/// Between two rounds, so that what one system still does in the background does not land on the next.
const BREATH: Duration = Duration::from_millis(500);
/// Before the idle members are looked at.
const SETTLE: Duration = Duration::from_secs(5);
/// Interruptions of one system before it is the next one's turn: a machine that grows slower does so for all alike.
const IN_A_ROW: usize = 5;
const READ_BYTES: usize = 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Part {
    Idle,
    Puts,
    Reads,
    Mixed,
    Watch,
    /// What the members hold after all that, and take at rest.
    Rest,
    Failover,
    /// No election that nobody caused, while every core is busy.
    Busy,
}

#[derive(clap::Args)]
pub struct Args {
    /// What to measure; everything by default.
    #[arg(long, value_delimiter = ',', default_value = "idle,puts,reads,mixed,watch,rest,failover,busy")]
    parts: Vec<Part>,
    #[arg(long, value_delimiter = ',', default_value = "etcd,store,kontiki")]
    systems: Vec<Kind>,
    #[arg(long, value_delimiter = ',', default_value = "1,64,256,1000")]
    clients: Vec<usize>,
    /// Sizes of the values that are put.
    #[arg(long, value_delimiter = ',', default_value = "256,1024")]
    bytes: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_value = "100,1000")]
    watchers: Vec<usize>,
    /// Writes a second that every watcher gets.
    #[arg(long, default_value_t = 10)]
    watched_writes: usize,
    /// Of one round of watches: in few writes the slowest one alone would be the 99th percentile.
    #[arg(long, default_value_t = 15.0)]
    watch_seconds: f64,
    /// Of one round of one workload.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Rounds of each workload; the systems alternate.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Interruptions of each sort; the systems alternate.
    #[arg(long, default_value_t = 10)]
    failovers: usize,
    #[arg(long, value_delimiter = ',', default_value = "kill,freeze,stop,transfer,nothing")]
    how: Vec<How>,
    #[arg(long, default_value_t = 30)]
    idle_seconds: u64,
    #[arg(long, default_value_t = 60)]
    busy_seconds: u64,
    /// The binary whose replicas are measured.
    #[arg(long, env = "KONTIKI_BINARY", default_value = "kontiki")]
    kontiki: PathBuf,
    /// Where the systems keep their data while they run, on the disk to be measured; removed afterwards.
    #[arg(long, env = "KONTIKI_BENCH_DATA")]
    data: Option<PathBuf>,
}

pub async fn run(args: Args) -> Outcome {
    let mut builder = tempfile::Builder::new();
    builder.prefix("kontiki-versus.");
    let dir = match &args.data {
        Some(data) => builder.tempdir_in(data)?,
        None => builder.tempdir()?,
    };
    let mut systems = Vec::new();
    for kind in &args.systems {
        systems.push(System::start(*kind, &dir.path().join(kind.name()), &args.kontiki).await?);
    }
    for part in &args.parts {
        match part {
            Part::Idle => idle(&args, &systems, "Idle, before any load").await,
            Part::Puts => puts(&args, &mut systems).await?,
            Part::Reads => reads(&args, &mut systems).await?,
            Part::Mixed => mixed(&args, &mut systems).await?,
            Part::Watch => watch(&args, &mut systems).await?,
            Part::Rest => idle(&args, &systems, "At rest again, after all of it").await,
            Part::Failover => failover(&args, &mut systems).await?,
            Part::Busy => {
                println!("\n### Every core busy for {} s\n", args.busy_seconds);
                println!("{}", table::unrest(&quiet::busy(&mut systems, args.busy_seconds).await?));
            }
        }
    }
    Ok(())
}

async fn idle(args: &Args, systems: &[System], title: &str) {
    sleep(SETTLE).await;
    println!("\n### {title}\n\n{}", table::idle(&quiet::idle(systems, args.idle_seconds).await));
}

/// All rounds of one workload, the systems in turn.
async fn workload(args: &Args, systems: &mut [System], work: Work, clients: usize) -> Outcome {
    let mut all: Vec<(Kind, Measured)> = systems.iter().map(|system| (system.kind, Measured::default())).collect();
    for _ in 0..args.rounds {
        for (system, (_, sum)) in systems.iter_mut().zip(&mut all) {
            sum.add(load::run(system, work, clients, args.seconds).await?);
            sleep(BREATH).await;
        }
    }
    println!("{}", table::rows(&work.name(), clients, &all));
    Ok(())
}

async fn fill(systems: &[System], bytes: usize) -> Outcome {
    for system in systems {
        load::fill(system, bytes).await?;
    }
    Ok(())
}

async fn puts(args: &Args, systems: &mut [System]) -> Outcome {
    println!("\n### Puts\n\n{}", table::head("put"));
    fill(systems, READ_BYTES).await?;
    for bytes in &args.bytes {
        for clients in &args.clients {
            workload(args, systems, Work::Put { bytes: *bytes }, *clients).await?;
        }
    }
    Ok(())
}

async fn reads(args: &Args, systems: &mut [System]) -> Outcome {
    println!("\n### Reads of 1 KiB\n\n{}", table::head("read"));
    fill(systems, READ_BYTES).await?;
    for linearizable in [true, false] {
        for clients in &args.clients {
            workload(args, systems, Work::Read { linearizable }, *clients).await?;
        }
    }
    Ok(())
}

async fn mixed(args: &Args, systems: &mut [System]) -> Outcome {
    println!("\n### Mixed\n\n{}", table::head("calls"));
    fill(systems, READ_BYTES).await?;
    for clients in args.clients.iter().filter(|clients| **clients > 1) {
        workload(args, systems, Work::Mixed { bytes: READ_BYTES }, *clients).await?;
    }
    Ok(())
}

async fn watch(args: &Args, systems: &mut [System]) -> Outcome {
    let title = format!("deliveries of {} writes a second", args.watched_writes);
    println!("\n### Watches: from the call of the write to the watcher\n\n{}", table::head(&title));
    for watchers in &args.watchers {
        let mut all: Vec<(Kind, Measured)> = systems.iter().map(|system| (system.kind, Measured::default())).collect();
        for _ in 0..args.rounds {
            for (system, (_, sum)) in systems.iter_mut().zip(&mut all) {
                sum.add(fanout::run(system, *watchers, args.watched_writes, args.watch_seconds).await?);
                sleep(BREATH).await;
            }
        }
        println!("{}", table::rows("watch", *watchers, &all));
    }
    Ok(())
}

async fn failover(args: &Args, systems: &mut [System]) -> Outcome {
    println!("\n### Without an acknowledged write, as eight writers see it\n\n{}", table::GAPS);
    for how in &args.how {
        let mut all: Vec<(Kind, Interrupted)> =
            systems.iter().map(|system| (system.kind, Interrupted::default())).collect();
        let outcome = interrupt(systems, *how, args.failovers, &mut all).await;
        // Also what was seen before something went wrong.
        println!("{}", table::gaps(how.name(), &all));
        outcome?;
    }
    Ok(())
}

/// All interruptions of one sort, the systems in turn.
async fn interrupt(systems: &mut [System], how: How, count: usize, all: &mut [(Kind, Interrupted)]) -> Outcome {
    for round in rounds(count) {
        for (system, (_, sum)) in systems.iter_mut().zip(&mut *all) {
            let seen = gaps::run(system, how, round).await;
            sum.add(seen.map_err(|error| format!("{}, {}: {error}", system.kind.name(), how.name()))?);
            sleep(BREATH).await;
        }
    }
    Ok(())
}

/// How many each round has.
fn rounds(count: usize) -> impl Iterator<Item = usize> {
    (0..count).step_by(IN_A_ROW).map(move |done| IN_A_ROW.min(count - done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_come_to_the_count() {
        assert_eq!(rounds(2 * IN_A_ROW + 1).collect::<Vec<_>>(), [IN_A_ROW, IN_A_ROW, 1]);
        assert_eq!(rounds(IN_A_ROW).collect::<Vec<_>>(), [IN_A_ROW]);
        assert_eq!(rounds(0).count(), 0);
    }
}
