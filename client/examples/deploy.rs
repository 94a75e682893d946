//! Creates a Deployment, waits until its Pods are available, scales it, and removes it again.
//!
//! `KUBECONFIG=.kontiki/kubeconfig cargo run -p kontiki-client --example deploy -- kontiki:dev`

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kontiki_client::{Api, Client, Config, DeleteOptions, Error, Event, ListOptions, Patch};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let image = std::env::args().nth(1).unwrap_or_else(|| "kontiki:dev".into());
    let client = Client::connect(Config::from_kubeconfig(None)?)?;
    let deployments: Api<Deployment> = client.namespaced("default");

    // A typed object can be written as JSON, or field by field.
    let web: Deployment = serde_json::from_value(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "sdk-example"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "sdk-example"}},
            "template": {
                "metadata": {"labels": {"app": "sdk-example"}},
                "spec": {"containers": [{"name": "web", "image": image, "args": ["demo-web"]}]},
            },
        },
    }))?;
    deployments.create(&web).await?;
    available(&deployments, "sdk-example", 2).await?;

    let three = json!({"spec": {"replicas": 3}});
    deployments.patch("sdk-example", Patch::Merge(serde_json::to_vec(&three)?)).await?;
    available(&deployments, "sdk-example", 3).await?;

    deployments.delete("sdk-example", &DeleteOptions::default()).await?;
    println!("deleted");
    Ok(())
}

/// Waits for so many available Pods. A failover in the meantime is not seen here.
async fn available(deployments: &Api<Deployment>, name: &str, count: i32) -> Result<(), Box<dyn std::error::Error>> {
    let options = ListOptions { field_selector: format!("metadata.name={name}"), ..ListOptions::default() };
    let mut watch = deployments.watch(options);
    let reached = async {
        loop {
            if let Event::Added(deployment) | Event::Modified(deployment) = watch.next().await? {
                let now = deployment.status.and_then(|status| status.available_replicas).unwrap_or(0);
                println!("{name}: {now} of {count} available");
                if now == count {
                    return Ok::<(), Error>(());
                }
            }
        }
    };
    // A watch waits for ever; the caller knows how long is too long.
    tokio::time::timeout(Duration::from_secs(60), reached).await??;
    Ok(())
}
