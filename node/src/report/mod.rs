//! What the agent tells the cluster: statuses of Pods, events, its own Node. The latest status of a Pod wins; at
//! most one write of a Pod is under way; events yield to statuses. Acts.

mod cluster;
mod event;
mod queue;
mod rehearsal;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Event, Node, ObjectReference, Pod, PodStatus};
use serde_json::Value;

pub use cluster::Cluster;
#[cfg(test)]
pub(crate) use cluster::failure;
pub use event::{Regarding, event};
pub use queue::{Reporter, run};
pub use rehearsal::Rehearsal;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("there is no such object")]
    NotFound,
    /// Another object has the name: it exists already, or has another uid than was expected.
    #[error("the object stands otherwise: {0}")]
    Conflict(String),
    /// Trying again the same way will not help.
    #[error("{0}")]
    Refused(String),
    /// No replica answered or could do it, a race was lost, or the outcome is unknown: to be tried again.
    #[error("{0}")]
    Unavailable(String),
}

/// The cluster's write door, as far as an agent goes through it. Every call has a deadline of its own.
#[async_trait]
pub trait Api: Send + Sync + 'static {
    /// Merges into the status of the Pod that has this uid.
    async fn patch_pod_status(&self, namespace: &str, name: &str, patch: Value) -> Result<(), Error>;

    /// Removes the object of a Pod whose containers are gone (grace period 0), if it still has this uid.
    async fn delete_pod(&self, namespace: &str, name: &str, uid: &str) -> Result<(), Error>;

    async fn create_event(&self, event: &Event) -> Result<(), Error>;

    async fn find_event(&self, namespace: &str, name: &str) -> Result<Option<Event>, Error>;

    async fn patch_event(&self, namespace: &str, name: &str, patch: Value) -> Result<(), Error>;

    async fn find_node(&self, name: &str) -> Result<Option<Node>, Error>;

    async fn create_node(&self, node: &Node) -> Result<(), Error>;

    /// Merges into the Node, or into its status.
    async fn patch_node(&self, name: &str, patch: Value, status: bool) -> Result<(), Error>;
}

/// A Pod's status, on its way.
#[derive(Clone, Debug)]
pub struct StatusReport {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub status: Box<PodStatus>,
}

impl StatusReport {
    /// As a strategic merge patch. Conditions are merged by type. Addresses would be merged as well, and those of before
    /// would stay: whichever stand there, they are replaced.
    fn patch(&self) -> Value {
        let mut status = merged_fields(&self.status);
        for name in ["podIPs", "hostIPs"] {
            if let Some(list) = status.get_mut(name).and_then(Value::as_array_mut) {
                list.insert(0, serde_json::json!({"$patch": "replace"}));
            }
        }
        serde_json::json!({"metadata": {"uid": self.uid}, "status": status})
    }
}

/// What of a status is merged into the one that stands there: `null` for what must not stand there any more, and
/// nothing of what is not the agent's to report.
pub(crate) fn merged_fields(status: &PodStatus) -> Value {
    let mut status = serde_json::to_value(status).unwrap_or_default();
    let Some(fields) = status.as_object_mut() else { return status };
    for name in ["reason", "message", "podIP", "podIPs", "initContainerStatuses"] {
        fields.entry(name).or_insert(Value::Null);
    }
    for name in ["qosClass", "resize", "nominatedNodeName"] {
        fields.remove(name);
    }
    // Conditions that have lost their reason must not keep the old one.
    for condition in fields.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(condition) = condition.as_object_mut() {
            for name in ["reason", "message"] {
                condition.entry(name).or_insert(Value::Null);
            }
        }
    }
    status
}

/// How an event names a Pod, or one container of it.
pub fn pod_reference(pod: &Pod, container: Option<&str>, is_init: bool) -> ObjectReference {
    let list = if is_init { "initContainers" } else { "containers" };
    ObjectReference {
        kind: Some("Pod".into()),
        api_version: Some("v1".into()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: None,
        field_path: container.map(|name| format!("spec.{list}{{{name}}}")),
    }
}

/// How an event names this node: by its name, for want of a uid that outlives it.
pub fn node_reference(name: &str) -> ObjectReference {
    ObjectReference {
        kind: Some("Node".into()),
        api_version: Some("v1".into()),
        name: Some(name.into()),
        uid: Some(name.into()),
        ..ObjectReference::default()
    }
}

pub type SharedApi = Arc<dyn Api>;
