//! Pods of 2 KB, created through REST by many clients at once, spread over the replicas. Acts.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSpec};
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use tokio::time::Instant;

use crate::Outcome;
use crate::cluster::Cluster;
use crate::stats::Samples;

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// All clients together.
    #[arg(long, default_value_t = 20_000)]
    pods: usize,
}

pub async fn run(args: Args, cluster: Cluster) -> Outcome {
    let round = std::process::id();
    let each = args.pods / args.clients;
    let start = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..args.clients {
        let api: Api<Pod> = Api::default_namespaced(cluster.kube(Some(number % 3)).await?);
        clients.spawn(async move {
            let mut took = Vec::with_capacity(each);
            for count in 0..each {
                let pod = pod(&format!("bench-{round}-{number}-{count}"));
                let sent = Instant::now();
                api.create(&PostParams::default(), &pod).await.map_err(|error| error.to_string())?;
                took.push(sent.elapsed());
            }
            Ok::<_, String>(took)
        });
    }
    let mut took: Vec<Duration> = Vec::new();
    while let Some(finished) = clients.join_next().await {
        took.extend(finished??);
    }
    let wall = start.elapsed().as_secs_f64();
    let size = serde_json::to_vec(&pod("bench-00000-00-00000"))?.len();
    println!(
        "{} Pods of {size} bytes by {} clients: {:.0} a second",
        took.len(),
        args.clients,
        took.len() as f64 / wall
    );
    println!("latency: {}", Samples::new(took).line());
    let api: Api<Pod> = Api::default_namespaced(cluster.kube(Some(0)).await?);
    let all = ListParams::default().labels("bench=create");
    api.delete_collection(&DeleteParams { grace_period_seconds: Some(0), ..Default::default() }, &all).await?;
    Ok(())
}

/// No scheduler of that name runs, so the Pods stay where they are.
fn pod(name: &str) -> Pod {
    let env = (0..24).map(|number| EnvVar {
        name: format!("SETTING_{number:02}"),
        value: Some(format!("value-{number:02}-{}", "x".repeat(36))),
        ..Default::default()
    });
    let container = Container {
        name: "main".into(),
        image: Some("kontiki:dev".into()),
        env: Some(env.collect()),
        ..Default::default()
    };
    Pod {
        metadata: ObjectMeta {
            name: Some(name.into()),
            labels: Some([("bench".to_owned(), "create".to_owned())].into()),
            ..Default::default()
        },
        spec: Some(PodSpec {
            scheduler_name: Some("nobody".into()),
            containers: vec![container],
            ..Default::default()
        }),
        status: None,
    }
}
