//! An event as an object: the same thing said again is the same object with a higher count. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use sha2::{Digest as _, Sha256};

/// What an event is about and what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Regarding {
    pub object: ObjectReference,
    pub warning: bool,
    pub reason: String,
    pub message: String,
}

/// The component that events of an agent name as their source.
const COMPONENT: &str = "kubelet";
/// The API's own limit.
const MESSAGE_BYTES_MAX: usize = 1024;

pub fn event(regarding: &Regarding, node: &str, now: Timestamp) -> Event {
    let object = regarding.object.clone();
    let mut message = regarding.message.clone();
    while message.len() > MESSAGE_BYTES_MAX {
        message.pop();
    }
    let field = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut hasher = Sha256::new();
    for part in [&field(&object.uid), &field(&object.field_path), &regarding.reason, &message, &node.to_owned()] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest: String = hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    // Events of objects without a namespace stand in the default one.
    let namespace = object.namespace.clone().unwrap_or_else(|| "default".into());
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{digest}", field(&object.name))),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: object,
        type_: Some(if regarding.warning { "Warning" } else { "Normal" }.into()),
        reason: Some(regarding.reason.clone()),
        message: Some(message),
        source: Some(EventSource { component: Some(COMPONENT.into()), host: Some(node.into()) }),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        count: Some(1),
        reporting_component: Some(COMPONENT.into()),
        reporting_instance: Some(node.into()),
        ..Event::default()
    }
}
