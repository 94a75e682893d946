//! Runs episodes of faults on the hosts that `deploy/hosts.sh` has set up: used by `deploy/chaos-real.sh`. Acts.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use kontiki_chaos_tests::real::hosts::{Hosts, Network};
use kontiki_chaos_tests::real::run::{Options, Report, Run};
use proto::seam::Random;

#[derive(Parser)]
#[command(name = "chaos-real", about = "Tries the promises on real replicas: kills, freezes, cuts off, damages disks")]
struct Args {
    /// No episode begins after so many seconds
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    /// What goes wrong is drawn from it [default: any]
    #[arg(long)]
    seed: Option<u64>,
    /// Only these episodes, by number, separated by commas
    #[arg(long, value_delimiter = ',')]
    episodes: Option<Vec<u64>>,
    /// How many hosts with replicas there are
    #[arg(long, default_value_t = 3)]
    hosts: u64,
    /// The host whose replica has a small disk
    #[arg(long)]
    small_disk: Option<u64>,
    /// So many Pods must run whenever all is well (needs engines on the hosts)
    #[arg(long, default_value_t = 0)]
    pods: u32,
    /// `deploy/hosts.sh`
    #[arg(long)]
    script: PathBuf,
    /// Where it has its files
    #[arg(long, env = "KONTIKI_HOSTS_DIR")]
    dir: PathBuf,
    #[arg(long, env = "KONTIKI_HOSTS_NET", default_value_t = 77)]
    net: u8,
    /// The hosts have no networks of their own: all replicas are on loopback, from KONTIKI_HOSTS_PORT on
    #[arg(long)]
    loopback: bool,
    #[arg(long, env = "KONTIKI_HOSTS_PORT", default_value_t = 9443)]
    port: u16,
    /// Where the history of a failure goes
    #[arg(long)]
    keep: PathBuf,
}

const ON_LOOPBACK: &str = "All replicas on loopback: no link is cut, no host cut off, no file system filled.";

fn main() -> ExitCode {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(|| Random::from_os().below(1_000_000));
    let (pods, loopback) = (args.pods, args.loopback);
    println!("seed {seed}");
    if loopback {
        println!("{ON_LOOPBACK}");
    }
    proto::tls::install_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ran = runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(run(args, seed)));
    match ran {
        Ok(report) => {
            print(&report, seed, pods);
            if loopback {
                println!("{ON_LOOPBACK}");
            }
            if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

async fn run(args: Args, seed: u64) -> Result<Report, String> {
    let config =
        client::Config::from_kubeconfig(Some(&args.dir.join("kubeconfig"))).map_err(|error| error.to_string())?;
    std::fs::create_dir_all(&args.keep).map_err(|error| format!("{}: {error}", args.keep.display()))?;
    let network = if args.loopback { Network::Loopback(args.port) } else { Network::Apart(args.net) };
    let Args { script, dir, hosts: count, small_disk, .. } = args;
    let hosts = Hosts { script, dir, network, count, small_disk };
    let within = Duration::from_secs(args.seconds);
    let mut run =
        Run::new(hosts, Options { seed, within, pods: args.pods, only: args.episodes, config, keep: args.keep })?;
    run.play().await;
    Ok(run.report)
}

fn print(report: &Report, seed: u64, pods: u32) {
    let faults: Vec<String> = report.faults.iter().map(|(kind, times)| format!("{times} {kind}")).collect();
    println!("\n{} episodes, {} faults: {}", report.episodes, report.faults.values().sum::<u64>(), faults.join(", "));
    println!(
        "{} operations checked ({} of unknown outcome), {} changes seen by watchers",
        report.operations, report.unknown, report.events
    );
    println!(
        "longest gap in writes {:.2} s ({}); longest until all was well {:.1} s; {} replicas ended for want of room",
        report.gap.0.as_secs_f64(),
        report.gap.1,
        report.settled.as_secs_f64(),
        report.restarts
    );
    println!("{} bits turned over, {} of them noticed and named by their replica", report.flipped, report.noticed);
    println!("{}", report.told);
    println!("one state on all replicas: {}", if report.state.is_empty() { "not reached" } else { &report.state });
    if pods > 0 {
        let replaced = report.pods.len().saturating_sub(pods as usize);
        println!("{replaced} Pods took the place of others in a Deployment of {pods}");
    }
    print!("{}{}", report.growth, report.leaks);
    report.failures.iter().for_each(|failure| println!("FAILED: {failure}"));
    if !report.failures.is_empty() {
        println!("the same faults again:  deploy/chaos-real.sh --seed {seed}");
    }
}
