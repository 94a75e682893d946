//! Who relieves a node, over the SDK: it gets no more Pods, those that it has are deleted with their grace, and once none is left and
//! its machine is switched off, so is its object. He goes by what there is, whatever has become of his earlier steps. Acts.

use std::time::Duration;

use client::{Api, Client, DeleteOptions, Error, ListOptions, Patch};
use k8s_openapi::api::core::v1::{Node, Pod};

use super::seen::{Relief, Shared};
use super::setting;
use super::user::NAMESPACE;

const LOOK: Duration = Duration::from_millis(400);
const CORDON: &str = r#"{"spec":{"unschedulable":true}}"#;
/// So often in a row it must have no Pod: one may have been assigned to it just before.
const EMPTY_LOOKS: u32 = 3;

pub async fn relieve(client: Client, shared: Shared) {
    let Some((from_ms, host)) = shared.plan.relieved() else { return };
    let (name, mut empty) = (setting::names()[host].clone(), 0);
    tokio::time::sleep(Duration::from_millis(from_ms)).await;
    while shared.lock().relief != Relief::Deleted {
        tokio::time::sleep(LOOK).await;
        if let Err(error) = go_on(&client, &shared, &name, &mut empty).await {
            shared.note(format_args!("{name} cannot be relieved yet: {error}"));
        }
    }
}

/// The next step.
async fn go_on(client: &Client, shared: &Shared, name: &str, empty: &mut u32) -> Result<(), Error> {
    let nodes: Api<Node> = client.cluster();
    let relief = shared.lock().relief;
    let Some(node) = nodes.find(name).await? else {
        if relief == Relief::SwitchedOff {
            shared.note(format_args!("{name} is no more"));
            shared.lock().relief = Relief::Deleted;
        }
        return Ok(());
    };
    if relief == Relief::SwitchedOff {
        return nodes.delete(name, &DeleteOptions::default()).await.map(drop);
    }
    if node.spec.is_none_or(|spec| spec.unschedulable != Some(true)) {
        return nodes.patch(name, Patch::Merge(CORDON.into())).await.map(drop);
    }
    let pods: Api<Pod> = client.namespaced(NAMESPACE);
    let mut left = pods.list(&ListOptions::default()).await?.items;
    left.retain(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref() == Some(name)));
    *empty = if left.is_empty() { *empty + 1 } else { 0 };
    if *empty >= EMPTY_LOOKS && relief == Relief::Serves {
        shared.note(format_args!("{name} is drained"));
        shared.lock().relief = Relief::Drained;
    }
    for pod in left.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let options = DeleteOptions { uid, ..DeleteOptions::default() };
        pods.delete(pod.metadata.name.as_deref().unwrap_or_default(), &options).await?;
    }
    Ok(())
}
