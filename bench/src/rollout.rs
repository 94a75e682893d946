//! A Deployment from nothing: the time from `apply` until every Pod of it runs. Acts.

use std::time::Duration;

use client::{DeleteOptions, ListOptions};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::{Instant, sleep};

use crate::Outcome;
use crate::cluster::Cluster;
use crate::stats::Samples;

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 30)]
    replicas: u32,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

const DEADLINE: Duration = Duration::from_secs(120);

pub async fn run(args: Args, cluster: Cluster) -> Outcome {
    let client = cluster.client()?;
    let deployments = client.namespaced::<Deployment>("default");
    let pods = client.namespaced::<Pod>("default");
    let mine = ListOptions { label_selector: "bench=rollout".into(), ..Default::default() };
    let mut took = Vec::new();
    for round in 1..=args.rounds {
        let start = Instant::now();
        deployments.create(&deployment(args.replicas)?).await?;
        loop {
            let running = pods.list(&mine).await?.items.iter().filter(|pod| phase(pod) == "Running").count();
            if running == args.replicas as usize {
                break;
            }
            if start.elapsed() > DEADLINE {
                return Err(format!("{running} of {} Pods run after {DEADLINE:?}", args.replicas).into());
            }
            sleep(Duration::from_millis(25)).await;
        }
        println!("{round:>3}: {} Pods running after {:.2} s", args.replicas, start.elapsed().as_secs_f64());
        took.push(start.elapsed());
        deployments.delete("bench-rollout", &DeleteOptions::default()).await?;
        while !pods.list(&mine).await?.items.is_empty() {
            if start.elapsed() > DEADLINE * 2 {
                return Err("the Pods do not go away".into());
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
    println!("all running: {}", Samples::new(took).line());
    Ok(())
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn deployment(replicas: u32) -> Result<Deployment, serde_json::Error> {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "bench-rollout"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"bench": "rollout"}},
            "template": {
                "metadata": {"labels": {"bench": "rollout"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": "kontiki:dev", "args": ["pause"]}]},
            },
        },
    }))
}
