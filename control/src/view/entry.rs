//! One stored object as controllers see it: typed where they look into it. Decides nothing.

use std::sync::Arc;

use api::Key;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Endpoints, Event, Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::de::DeserializeOwned;

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Arc<Key>,
    pub revision: u64,
    /// Without managedFields, which no plan looks at: those are in the object.
    pub meta: Arc<ObjectMeta>,
    pub object: Object,
    /// Of [`Object::Other`] only: the rest is encoded anew when needed.
    stored: Option<Arc<[u8]>>,
}

/// The kinds that controllers look into; of the others they see the metadata.
#[derive(Clone, Debug)]
pub enum Object {
    Pod(Arc<Pod>),
    ReplicaSet(Arc<ReplicaSet>),
    Deployment(Arc<Deployment>),
    Service(Arc<Service>),
    Endpoints(Arc<Endpoints>),
    EndpointSlice(Arc<EndpointSlice>),
    Node(Arc<Node>),
    Namespace(Arc<Namespace>),
    Event(Arc<Event>),
    Other,
}

#[derive(Clone, Debug)]
pub struct Change {
    pub key: Key,
    pub before: Option<Entry>,
    pub after: Option<Entry>,
}

impl Change {
    /// The object before and after, whichever there is.
    pub fn sides(&self) -> impl Iterator<Item = &Entry> {
        self.before.iter().chain(&self.after)
    }

    /// Whether the change is of this kind.
    pub fn is_of(&self, group: &str, resource: &str) -> bool {
        self.key.group == group && self.key.resource == resource
    }
}

/// How a kind is parsed: its metadata and the object, or nothing if the bytes are not of that kind.
macro_rules! typed {
    ($variant:ident, $value:expr) => {
        parse::<$variant>($value).map(|object| (slim(&object.metadata), Object::$variant(Arc::new(object))))
    };
}

impl Entry {
    pub(super) fn parse(key: Arc<Key>, revision: u64, value: &[u8]) -> Entry {
        let typed = match key.kind() {
            ("", "pods") => typed!(Pod, value),
            ("apps", "replicasets") => typed!(ReplicaSet, value),
            ("apps", "deployments") => typed!(Deployment, value),
            ("", "services") => typed!(Service, value),
            ("", "endpoints") => typed!(Endpoints, value),
            ("discovery.k8s.io", "endpointslices") => typed!(EndpointSlice, value),
            ("", "nodes") => typed!(Node, value),
            ("", "namespaces") => typed!(Namespace, value),
            ("", "events") => typed!(Event, value),
            _ => None,
        };
        match typed {
            Some((meta, object)) => Entry { key, revision, meta, object, stored: None },
            None => {
                let meta = Arc::new(metadata(&key, value));
                Entry { key, revision, meta, object: Object::Other, stored: Some(value.into()) }
            }
        }
    }

    /// The object as the store holds it.
    pub fn encode(&self) -> Vec<u8> {
        match &self.object {
            Object::Pod(object) => api::object::encode(&**object),
            Object::ReplicaSet(object) => api::object::encode(&**object),
            Object::Deployment(object) => api::object::encode(&**object),
            Object::Service(object) => api::object::encode(&**object),
            Object::Endpoints(object) => api::object::encode(&**object),
            Object::EndpointSlice(object) => api::object::encode(&**object),
            Object::Node(object) => api::object::encode(&**object),
            Object::Namespace(object) => api::object::encode(&**object),
            Object::Event(object) => api::object::encode(&**object),
            Object::Other => self.stored.as_deref().unwrap_or_default().to_vec(),
        }
    }

    pub fn uid(&self) -> &str {
        self.meta.uid.as_deref().unwrap_or_default()
    }

    pub fn owners(&self) -> &[OwnerReference] {
        self.meta.owner_references.as_deref().unwrap_or_default()
    }

    /// The owner that manages this object; there is at most one.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owners().iter().find(|owner| owner.controller == Some(true))
    }

    pub fn is_controlled_by(&self, uid: &str) -> bool {
        self.controller().is_some_and(|owner| owner.uid == uid)
    }

    pub fn is_terminating(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    pub fn created_at(&self) -> Timestamp {
        self.meta.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    }

    pub fn finalizers(&self) -> &[String] {
        self.meta.finalizers.as_deref().unwrap_or_default()
    }

    pub fn pod(&self) -> Option<&Arc<Pod>> {
        if let Object::Pod(object) = &self.object { Some(object) } else { None }
    }

    pub fn replica_set(&self) -> Option<&Arc<ReplicaSet>> {
        if let Object::ReplicaSet(object) = &self.object { Some(object) } else { None }
    }

    pub fn deployment(&self) -> Option<&Arc<Deployment>> {
        if let Object::Deployment(object) = &self.object { Some(object) } else { None }
    }

    pub fn service(&self) -> Option<&Arc<Service>> {
        if let Object::Service(object) = &self.object { Some(object) } else { None }
    }

    pub fn endpoints(&self) -> Option<&Arc<Endpoints>> {
        if let Object::Endpoints(object) = &self.object { Some(object) } else { None }
    }

    pub fn endpoint_slice(&self) -> Option<&Arc<EndpointSlice>> {
        if let Object::EndpointSlice(object) = &self.object { Some(object) } else { None }
    }

    pub fn node(&self) -> Option<&Arc<Node>> {
        if let Object::Node(object) = &self.object { Some(object) } else { None }
    }

    pub fn namespace(&self) -> Option<&Arc<Namespace>> {
        if let Object::Namespace(object) = &self.object { Some(object) } else { None }
    }

    pub fn event(&self) -> Option<&Arc<Event>> {
        if let Object::Event(object) = &self.object { Some(object) } else { None }
    }

    /// Where a pod is bound; `None` for unbound pods and other kinds.
    pub fn bound_to(&self) -> Option<&str> {
        let spec = self.pod()?.spec.as_ref()?;
        spec.node_name.as_deref().filter(|name| !name.is_empty())
    }
}

fn parse<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).ok()
}

/// What can be read of the metadata; at least the name that the key gives.
fn metadata(key: &Key, value: &[u8]) -> ObjectMeta {
    api::object::object_meta(value).map(|meta| ObjectMeta { managed_fields: None, ..meta }).unwrap_or_else(|_| {
        ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            ..ObjectMeta::default()
        }
    })
}

fn slim(meta: &ObjectMeta) -> Arc<ObjectMeta> {
    let mut slim = ObjectMeta { managed_fields: None, ..ObjectMeta::default() };
    slim.annotations.clone_from(&meta.annotations);
    slim.creation_timestamp.clone_from(&meta.creation_timestamp);
    slim.deletion_grace_period_seconds = meta.deletion_grace_period_seconds;
    slim.deletion_timestamp.clone_from(&meta.deletion_timestamp);
    slim.finalizers.clone_from(&meta.finalizers);
    slim.generate_name.clone_from(&meta.generate_name);
    slim.generation = meta.generation;
    slim.labels.clone_from(&meta.labels);
    slim.name.clone_from(&meta.name);
    slim.namespace.clone_from(&meta.namespace);
    slim.owner_references.clone_from(&meta.owner_references);
    slim.uid.clone_from(&meta.uid);
    Arc::new(slim)
}
