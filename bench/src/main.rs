//! Measures from the outside, as clients see it. Each subcommand prints its tables. Acts.
//!
//! - `cluster`, and the verbs over it: `failover`, `create`, `rollout`, `footprint`: a running cluster with its agents;
//! - `versus`, over `system`, `member`, `caller`: etcd, the store alone and whole replicas side by side;
//! - its workloads: `load`, `fanout`, `gaps`, `quiet`; what they cost: `meter`, `syncs`, `stats`, `table`;
//! - `door`, `incoming`: the process of the store alone.

mod caller;
mod cluster;
mod create;
mod door;
mod failover;
mod fanout;
mod footprint;
mod gaps;
mod incoming;
mod line;
mod load;
mod member;
mod meter;
mod quiet;
mod rollout;
mod stats;
mod syncs;
mod system;
mod table;
mod versus;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Command {
    /// The directory of the cluster to measure, as `kontiki init` made it.
    #[arg(long, env = "KONTIKI_DIR", default_value = ".kontiki")]
    dir: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Kill the leader again and again under a steady write load: how long is nothing acknowledged?
    Failover(failover::Args),
    /// Create Pods of 2 KB through REST: how many a second?
    Create(create::Args),
    /// Apply a Deployment: how long until all its Pods run?
    Rollout(rollout::Args),
    /// Memory and processor time of every process while nothing happens.
    Footprint(footprint::Args),
    /// The same workloads against three etcd members, three of the store alone and three replicas, round about.
    Versus(Box<versus::Args>),
    /// One member of the store alone; `versus` starts three.
    #[command(hide = true)]
    Door(door::Args),
}

pub type Failure = Box<dyn std::error::Error>;
pub type Outcome = Result<(), Failure>;

/// As in `kontiki` itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    proto::tls::install_provider();
    let command = Command::parse();
    let runtime = match &command.what {
        What::Door(_) => raft::runtime::replica(),
        // Whatever the driver takes for itself is missing to those it measures.
        _ => tokio::runtime::Builder::new_current_thread().enable_all().build(),
    };
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(command)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Outcome {
    let cluster = cluster::Cluster::at(command.dir);
    match command.what {
        What::Create(args) => create::run(args, cluster).await,
        What::Rollout(args) => rollout::run(args, cluster).await,
        What::Footprint(args) => footprint::run(args, cluster).await,
        What::Door(args) => door::run(args).await,
        // What was started, or frozen, ends with the future.
        What::Versus(args) => unless_interrupted(versus::run(*args)).await,
        What::Failover(args) => unless_interrupted(failover::run(args, cluster)).await,
    }
}

async fn unless_interrupted(run: impl Future<Output = Outcome>) -> Outcome {
    tokio::select! {
        outcome = run => outcome,
        () = interrupted() => Err("interrupted".into()),
    }
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
