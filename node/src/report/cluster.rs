//! The cluster's write door through the SDK. What is patched here is this agent's own, so it may be patched twice. Acts.

use api::status::Status;
use async_trait::async_trait;
use client::{Client, DeleteOptions, Patch};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use serde_json::Value;

use super::{Api, Error};

pub struct Cluster(pub Client);

/// What a replica could not do (507: for want of room on its disk), or had no time for, passes, and so does a race that was lost
/// too often: what was to be written is as true as before.
pub(crate) fn failure(error: client::Error) -> Error {
    let client::Error::Api(status) = &error else { return Error::Unavailable(error.to_string()) };
    match status.code {
        404 => Error::NotFound,
        409 if is_taken(status) => Error::Conflict(error.to_string()),
        409 | 429 | 500..=599 => Error::Unavailable(error.to_string()),
        _ => Error::Refused(error.to_string()),
    }
}

/// Another object has the name. The words are those of the API, which has no reason of its own for a precondition.
fn is_taken(status: &Status) -> bool {
    status.reason == "AlreadyExists" || status.message.contains("UID in precondition")
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
    use api::deletion::{self, Options};
    use api::kinds;
    use api::status::Resource;
    use jiff::Timestamp;

    use super::*;

    const PODS: Resource<'static> = Resource { group: "", plural: "pods" };

    #[test]
    fn what_passes_is_tried_again_and_what_does_not_is_not() {
        let of = |status: Status| failure(client::Error::Api(Box::new(status)));
        assert!(matches!(of(Status::insufficient_storage("full")), Error::Unavailable(_)));
        assert!(matches!(of(Status::internal("a task panicked")), Error::Unavailable(_)));
        assert!(matches!(of(Status::too_many_requests("busy", 1)), Error::Unavailable(_)));
        assert!(matches!(of(Status::forbidden(PODS, "web", "it is another node's")), Error::Refused(_)));
        assert!(matches!(of(Status::not_found(PODS, "web")), Error::NotFound));
        assert!(matches!(of(Status::bad_request("no")), Error::Refused(_)));
        assert!(matches!(failure(client::Error::Unknown("?".into())), Error::Unavailable(_)));
    }

    #[test]
    fn a_lost_race_is_not_taken_for_another_object_of_the_name() {
        let of = |status: Status| failure(client::Error::Api(Box::new(status)));
        assert!(matches!(of(Status::stale(PODS, "web")), Error::Unavailable(_)));
        assert!(matches!(of(Status::already_exists(PODS, "web")), Error::Conflict(_)));
        // As the API itself says it.
        let kind = kinds::find("", "v1", "pods").expect("there are Pods");
        let (stored, now) = (br#"{"metadata":{"name":"web","uid":"new"}}"#, Timestamp::UNIX_EPOCH);
        let options = Options { uid: Some("old".into()), ..Options::default() };
        let refused = deletion::delete(kind, stored, 1, &options, now).expect_err("it has another uid");
        assert!(matches!(of(refused), Error::Conflict(_)));
    }
}
