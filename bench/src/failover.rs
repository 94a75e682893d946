//! Kills the leader under a steady write load: the longest time without an acknowledged write, for each kill. Acts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{Api, Client, Patch};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::stats::Samples;
use crate::{Outcome, stats};

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// Clients that write without pause, each its own object.
    #[arg(long, default_value_t = 4)]
    writers: usize,
    /// Freeze the leader (SIGSTOP) for three seconds instead of killing it.
    #[arg(long)]
    freeze: bool,
}

/// When each write was acknowledged.
type Acknowledged = Arc<Mutex<Vec<Instant>>>;

pub async fn run(args: Args, cluster: Cluster) -> Outcome {
    let client = cluster.client()?;
    cluster.settled(&client).await?;
    let before = containers(&client).await?;
    let acknowledged = Acknowledged::default();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..args.writers {
        // Each has connections of its own, as separate clients would.
        writers.spawn(write(cluster.client()?, number, acknowledged.clone()));
    }
    sleep(Duration::from_secs(2)).await;

    let mut gaps = Vec::new();
    for kill in 1..=args.kills {
        let leader = cluster.settled(&client).await?;
        sleep(Duration::from_millis(700)).await;
        let name = format!("replica-{leader}");
        let from = Instant::now();
        cluster.signal(&name, if args.freeze { Signal::SIGSTOP } else { Signal::SIGKILL })?;
        sleep(Duration::from_secs(3)).await;
        if args.freeze {
            cluster.signal(&name, Signal::SIGCONT)?;
        } else {
            cluster.start(&name)?;
        }
        let gap = longest_gap(&acknowledged.lock().unwrap(), from);
        println!("{kill:>3}: leader {leader} gone, {:.1} ms without an acknowledged write", gap.as_secs_f64() * 1e3);
        gaps.push(gap);
    }
    cluster.settled(&client).await?;
    writers.abort_all();
    let total = acknowledged.lock().unwrap().len();
    println!("{total} writes acknowledged by {} writers", args.writers);
    println!("gap: {}", stats::Samples::line(&Samples::new(gaps)));
    let after = containers(&client).await?;
    let kept = before.iter().filter(|(id, restarts)| after.get(*id) == Some(restarts)).count();
    println!("containers: {} before, {kept} of them still there with the same id and restart count", before.len());
    if kept < before.len() {
        return Err("containers were touched".into());
    }
    Ok(())
}

async fn write(client: Client, number: usize, acknowledged: Acknowledged) {
    let api: Api<ConfigMap> = client.namespaced("default");
    let name = format!("bench-failover-{number}");
    let metadata = ObjectMeta { name: Some(name.clone()), ..Default::default() };
    let _ = api.create(&ConfigMap { metadata, ..Default::default() }).await;
    for count in 0u64.. {
        let patch = format!(r#"{{"data":{{"count":"{count}"}}}}"#);
        if api.patch(&name, Patch::Merge(patch.into_bytes())).await.is_ok() {
            acknowledged.lock().unwrap().push(Instant::now());
        }
    }
}

/// The longest time between two acknowledgements, from the last one before `from` on.
fn longest_gap(times: &[Instant], from: Instant) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    let first = times.partition_point(|time| *time < from).saturating_sub(1);
    times[first..].windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(Duration::MAX)
}

/// Every container with its restart count.
async fn containers(client: &Client) -> Result<BTreeMap<String, i32>, client::Error> {
    let pods = client.everywhere::<Pod>().list(&Default::default()).await?.items;
    let statuses = pods.into_iter().filter_map(|pod| pod.status?.container_statuses).flatten();
    Ok(statuses.filter_map(|status| Some((status.container_id?, status.restart_count))).collect())
}
