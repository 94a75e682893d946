//! Memory and processor time of every process of the cluster while nothing happens. Acts.

use std::time::Duration;

use tokio::time::sleep;

use crate::Outcome;
use crate::cluster::Cluster;

#[derive(clap::Args)]
pub struct Args {
    /// How long to look.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// The kernel counts processor time in this unit on every Linux we build for.
const TICKS_PER_SECOND: f64 = 100.0;

pub async fn run(args: Args, cluster: Cluster) -> Outcome {
    let names = cluster.processes()?;
    let pids: Vec<i32> = names.iter().map(|name| cluster.pid(name)).collect::<Result<_, _>>()?;
    let client = cluster.client()?;
    let index = applied(&client).await?;
    let before: Vec<u64> = pids.iter().map(|pid| ticks(*pid)).collect::<Result<_, _>>()?;
    sleep(Duration::from_secs(args.seconds)).await;
    println!("{:<12} {:>10} {:>10}", "process", "resident", "of a core");
    for ((name, pid), before) in names.iter().zip(&pids).zip(before) {
        let used = (ticks(*pid)? - before) as f64 / TICKS_PER_SECOND / args.seconds as f64;
        println!("{name:<12} {:>6.1} MiB {:>8.2} %", resident_mib(*pid)?, used * 100.0);
    }
    println!("entries written meanwhile: {}", applied(&client).await? - index);
    Ok(())
}

async fn applied(client: &client::Client) -> Result<u64, client::Error> {
    let status = client.status().await?;
    Ok(status.replicas.iter().map(|replica| replica.applied_index).max().unwrap_or_default())
}

fn ticks(pid: i32) -> Result<u64, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit(')').next().ok_or("no such format")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

fn resident_mib(pid: i32) -> Result<f64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no VmRSS")?.parse::<f64>()? / 1024.0)
}
