//! The cluster's write door through the SDK. What is patched here is this agent's own, so it may be patched twice. Acts.

use async_trait::async_trait;
use client::{Client, DeleteOptions, Patch};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use serde_json::Value;

use super::{Api, Error};

pub struct Cluster(pub Client);

fn failure(error: client::Error) -> Error {
    match error.code() {
        Some(404) => Error::NotFound,
        Some(409) => Error::Conflict(error.to_string()),
        // No room on the replicas' disks: that passes, and what was to be written is as true as before.
        Some(507) => Error::Unavailable(error.to_string()),
        Some(_) => Error::Refused(error.to_string()),
        None => Error::Unavailable(error.to_string()),
    }
}

fn bytes(patch: &Value) -> Vec<u8> {
    patch.to_string().into_bytes()
}

#[async_trait]
impl Api for Cluster {
    async fn patch_pod_status(&self, namespace: &str, name: &str, patch: Value) -> Result<(), Error> {
        let pods = self.0.namespaced::<Pod>(namespace).sole_writer();
        pods.patch_status(name, Patch::Strategic(bytes(&patch))).await.map(|_| ()).map_err(failure)
    }

    async fn delete_pod(&self, namespace: &str, name: &str, uid: &str) -> Result<(), Error> {
        let options = DeleteOptions { grace_period_seconds: Some(0), uid: uid.to_owned(), ..Default::default() };
        self.0.namespaced::<Pod>(namespace).delete(name, &options).await.map(|_| ()).map_err(failure)
    }

    async fn create_event(&self, event: &Event) -> Result<(), Error> {
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        self.0.namespaced::<Event>(namespace).create(event).await.map(|_| ()).map_err(failure)
    }

    async fn find_event(&self, namespace: &str, name: &str) -> Result<Option<Event>, Error> {
        self.0.namespaced::<Event>(namespace).find(name).await.map_err(failure)
    }

    async fn patch_event(&self, namespace: &str, name: &str, patch: Value) -> Result<(), Error> {
        let events = self.0.namespaced::<Event>(namespace).sole_writer();
        events.patch(name, Patch::Merge(bytes(&patch))).await.map(|_| ()).map_err(failure)
    }

    async fn find_node(&self, name: &str) -> Result<Option<Node>, Error> {
        self.0.cluster::<Node>().find(name).await.map_err(failure)
    }

    async fn create_node(&self, node: &Node) -> Result<(), Error> {
        self.0.cluster::<Node>().create(node).await.map(|_| ()).map_err(failure)
    }

    async fn patch_node(&self, name: &str, patch: Value, status: bool) -> Result<(), Error> {
        let nodes = self.0.cluster::<Node>().sole_writer();
        let patch = Patch::Strategic(bytes(&patch));
        let answer = if status { nodes.patch_status(name, patch).await } else { nodes.patch(name, patch).await };
        answer.map(|_| ()).map_err(failure)
    }
}

#[cfg(test)]
mod tests {
    use api::status::Status;

    use super::*;

    #[test]
    fn what_passes_is_tried_again_and_what_does_not_is_not() {
        let of = |status: Status| failure(client::Error::Api(Box::new(status)));
        assert!(matches!(of(Status::insufficient_storage("full")), Error::Unavailable(_)));
        assert!(matches!(of(Status::bad_request("no")), Error::Refused(_)));
        assert!(matches!(failure(client::Error::Unknown("?".into())), Error::Unavailable(_)));
    }
}
