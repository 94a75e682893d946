//! Prints every change of the Pods of a namespace until interrupted. Stop the leader meanwhile: it goes on.
//!
//! `KUBECONFIG=.kontiki/kubeconfig cargo run -p kontiki-client --example watch -- default`

use k8s_openapi::api::core::v1::Pod;
use kontiki_client::{Client, Config, Error, Event, ListOptions};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let namespace = std::env::args().nth(1).unwrap_or_else(|| "default".into());
    let client = Client::connect(Config::from_kubeconfig(None)?)?;
    let pods = client.namespaced::<Pod>(&namespace);

    let mut watch = pods.watch(ListOptions::default());
    loop {
        match watch.next().await {
            Ok(Event::Added(pod)) => println!("+ {}", line(&pod)),
            Ok(Event::Modified(pod)) => println!("~ {}", line(&pod)),
            Ok(Event::Deleted(pod)) => println!("- {}", line(&pod)),
            // The history no longer reaches back to where this watch stands: look at everything anew.
            Err(error) if error.code() == Some(410) => watch = pods.watch(ListOptions::default()),
            Err(error) => return Err(error),
        }
    }
}

fn line(pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("no node yet");
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    format!("{name}  {phase}  {node}")
}
