//! Takes the leader away under a steady write load of the SDK: the longest time without an acknowledged write, each time.
//! Acts.

use std::collections::BTreeMap;
use std::time::Duration;

use client::{Api, Client, Patch};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Lead};
use crate::gaps::{self, Acknowledged};
use crate::stats::Samples;
use crate::{Failure, Outcome};

/// The replicas may be about to settle when they are first asked.
const STEADY_TRIES: u32 = 10;

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// Clients that write without pause, each its own object.
    #[arg(long, default_value_t = 4)]
    writers: usize,
    /// Freeze the leader (SIGSTOP) until writes go on, and some seconds at least, instead of killing it.
    #[arg(long)]
    freeze: bool,
}

pub async fn run(args: Args, cluster: Cluster) -> Outcome {
    let (client, replicas) = (cluster.client()?, cluster.replicas()?);
    cluster.settled(&replicas).await?;
    let before = containers(&client).await?;
    let together = Acknowledged::default();
    let each: Vec<Acknowledged> = (0..args.writers).map(|_| Acknowledged::default()).collect();
    let mut writers = tokio::task::JoinSet::new();
    for (number, own) in each.iter().enumerate() {
        // Each has connections of its own, as separate clients would.
        writers.spawn(write(cluster.client()?, number, [together.clone(), own.clone()]));
    }
    sleep(Duration::from_secs(2)).await;

    let (mut gaps, mut worst) = (Vec::new(), Vec::new());
    for kill in 1..=args.kills {
        let (leader, from) = (steady(&cluster, &replicas).await?.replica, Instant::now());
        let name = format!("replica-{leader}");
        let seen = if args.freeze {
            let _frozen = Frozen::new(&cluster, &name)?;
            look(&together, &each, from).await
        } else {
            cluster.signal(&name, Signal::SIGKILL)?;
            let seen = look(&together, &each, from).await;
            cluster.start(&name)?;
            seen
        };
        println!("{kill:>3}: leader {leader} gone, {}", describe(seen));
        gaps.extend(seen.0);
        worst.extend(seen.1);
    }
    cluster.settled(&replicas).await?;
    writers.abort_all();
    println!("{} writes acknowledged by {} writers", together.count(), args.writers);
    println!("none of the writers: {}", Samples::new(gaps).line());
    let open = args.kills - worst.len();
    println!("the worst of them:   {}", Samples::new(worst).line());
    let after = containers(&client).await?;
    let kept = before.iter().filter(|(id, restarts)| after.get(*id) == Some(restarts)).count();
    println!("containers: {} before, {kept} of them still there with the same id and restart count", before.len());
    if kept < before.len() {
        return Err("containers were touched".into());
    }
    match open {
        0 => Ok(()),
        open => Err(format!("{open} times a writer got no acknowledgement while the leader was gone").into()),
    }
}

/// How long none of the writers got an acknowledgement, and how long the one that waited longest; `None`: the gap did not
/// end while it was looked at.
type Seen = (Option<Duration>, Option<Duration>);

async fn look(together: &Acknowledged, each: &[Acknowledged], from: Instant) -> Seen {
    let alone = futures::future::join_all(each.iter().map(|own| gaps::look(own, from)));
    let (none, alone) = tokio::join!(gaps::look(together, from), alone);
    let worst =
        alone.into_iter().collect::<Option<Vec<_>>>().and_then(|gaps| gaps.into_iter().map(|gap| gap.long).max());
    (none.map(|gap| gap.long), worst)
}

fn describe((none, worst): Seen) -> String {
    let ms = |gap: Duration| format!("{:.1} ms", gap.as_secs_f64() * 1e3);
    let within = gaps::LOOK_MAX;
    match (none, worst) {
        (None, _) => format!("no write acknowledged within {within:?}"),
        (Some(none), None) => {
            format!("{} without an acknowledged write; one writer got none within {within:?}", ms(none))
        }
        (Some(none), Some(worst)) => {
            format!("{} without an acknowledged write, {} for the writer that waited longest", ms(none), ms(worst))
        }
    }
}

/// Who has led for a while, and leads right now.
async fn steady(cluster: &Cluster, replicas: &[Client]) -> Result<Lead, Failure> {
    let mut lead = cluster.settled(replicas).await?;
    for _ in 0..STEADY_TRIES {
        sleep(gaps::CALM).await;
        let now = cluster.settled(replicas).await?;
        if now == lead {
            return Ok(lead);
        }
        lead = now;
    }
    Err("the leader changes without being told to".into())
}

/// A process that was sent SIGSTOP. It goes on when this is dropped, however the looking at it ends.
struct Frozen<'a> {
    cluster: &'a Cluster,
    name: &'a str,
}

impl<'a> Frozen<'a> {
    fn new(cluster: &'a Cluster, name: &'a str) -> Result<Frozen<'a>, Failure> {
        cluster.signal(name, Signal::SIGSTOP)?;
        Ok(Frozen { cluster, name })
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.cluster.signal(self.name, Signal::SIGCONT) {
            eprintln!("bench: {} stays frozen: {error}", self.name);
        }
    }
}

async fn write(client: Client, number: usize, acknowledged: [Acknowledged; 2]) {
    let api: Api<ConfigMap> = client.namespaced("default").sole_writer();
    let name = format!("bench-failover-{number}");
    let metadata = ObjectMeta { name: Some(name.clone()), ..Default::default() };
    let _ = api.create(&ConfigMap { metadata, ..Default::default() }).await;
    for count in 0u64.. {
        let patch = format!(r#"{{"data":{{"count":"{count}"}}}}"#);
        if api.patch(&name, Patch::Merge(patch.into_bytes())).await.is_ok() {
            let now = Instant::now();
            acknowledged.iter().for_each(|list| list.add(now));
        }
    }
}

/// Every container with its restart count.
async fn containers(client: &Client) -> Result<BTreeMap<String, i32>, client::Error> {
    let pods = client.everywhere::<Pod>().list(&Default::default()).await?.items;
    let statuses = pods.into_iter().filter_map(|pod| pod.status?.container_statuses).flatten();
    Ok(statuses.filter_map(|status| Some((status.container_id?, status.restart_count))).collect())
}
