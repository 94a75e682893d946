//! A Deployment that must be whole whenever all is well: where engines run, a host that is gone takes containers along. Acts
//! (asks); [`missing`] decides.

use std::time::Duration;

use client::{Client, Error};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::{Instant, sleep};

const NAMESPACE: &str = "default";
const NAME: &str = "chaos";
/// A node is given up, its Pods are deleted and made elsewhere, and a host that is back starts what it must run.
const WHOLE_MAX: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub async fn create(client: &Client, count: u32) -> Result<(), String> {
    let object = serde_json::json!({
        "metadata": {"name": NAME},
        "spec": {
            "replicas": count,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {"labels": {"app": NAME}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [
                    {"name": "web", "image": "kontiki:dev", "args": ["demo-web"], "imagePullPolicy": "Never"},
                ]},
            },
        },
    });
    let deployment: Deployment = serde_json::from_value(object).map_err(|error| error.to_string())?;
    match client.namespaced(NAMESPACE).create(&deployment).await {
        Err(error) if !error.is_conflict() => Err(format!("the Deployment: {error}")),
        _ => Ok(()),
    }
}

/// Waits until it is whole.
pub async fn whole(client: &Client, count: u32) -> Result<(), String> {
    let deadline = Instant::now() + WHOLE_MAX;
    loop {
        let why = match look(client, count).await {
            Ok(None) => return Ok(()),
            Ok(Some(why)) => why,
            Err(error) => error.to_string(),
        };
        if Instant::now() > deadline {
            return Err(format!("{WHOLE_MAX:?} after all else was well: {why}"));
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn look(client: &Client, count: u32) -> Result<Option<String>, Error> {
    let deployment = client.namespaced::<Deployment>(NAMESPACE).get(NAME).await?;
    let pods = client.namespaced::<Pod>(NAMESPACE).list(&Default::default()).await?;
    Ok(missing(&deployment, &pods.items, count))
}

/// Why it is not whole: as many Pods as there must be, each ready, and none besides.
fn missing(deployment: &Deployment, pods: &[Pod], count: u32) -> Option<String> {
    let available = deployment.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default();
    let ready = |pod: &&Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions
            .is_some_and(|all| all.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"))
    };
    let ready = pods.iter().filter(ready).count();
    let whole = available == count as i32 && ready == count as usize && pods.len() == ready;
    (!whole)
        .then(|| format!("of {count} Pods {available} are available; there are {}, {ready} of them ready", pods.len()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn too_few_and_too_many_are_not_whole() {
        let deployment =
            |available| serde_json::from_value(json!({"status": {"availableReplicas": available}})).unwrap();
        let pod = |ready: &str| {
            let conditions = json!([{"type": "Ready", "status": ready}]);
            serde_json::from_value::<Pod>(json!({"status": {"conditions": conditions}})).unwrap()
        };
        let (well, unwell) = (pod("True"), pod("False"));
        assert_eq!(missing(&deployment(2), &[well.clone(), well.clone()], 2), None);
        assert!(missing(&deployment(1), &[well.clone(), unwell.clone()], 2).is_some());
        assert!(missing(&deployment(2), &[well.clone(), well.clone(), well.clone()], 2).is_some());
        assert!(missing(&deployment(2), &[well.clone(), well, unwell], 2).is_some(), "one that should be gone");
    }
}
