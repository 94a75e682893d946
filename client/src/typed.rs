//! Typed calls: one handle per kind and namespace.

use std::marker::PhantomData;

use k8s_openapi::{ClusterResourceScope, Metadata, NamespaceResourceScope, Resource};
use proto::api as wire;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::dispatch::Repeat;
use crate::{Client, Error, Watch};

/// What a kind must be to travel: every top-level k8s-openapi type is.
pub trait Scope: Resource + Serialize + DeserializeOwned + Send + 'static {}
impl<K: Resource + Serialize + DeserializeOwned + Send + 'static> Scope for K {}

/// The calls on one kind. `K` is any k8s-openapi kind that the cluster serves.
pub struct Api<K> {
    client: Client,
    namespace: String,
    is_sole_writer: bool,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Api<K> {
    fn clone(&self) -> Api<K> {
        Api { client: self.client.clone(), namespace: self.namespace.clone(), ..*self }
    }
}

impl Client {
    /// A namespaced kind, in one namespace.
    pub fn namespaced<K: Resource<Scope = NamespaceResourceScope>>(&self, namespace: &str) -> Api<K> {
        Api::new(self, namespace)
    }

    /// A namespaced kind over all namespaces: list and watch only.
    pub fn everywhere<K: Resource<Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::new(self, "")
    }

    /// A cluster-scoped kind.
    pub fn cluster<K: Resource<Scope = ClusterResourceScope>>(&self) -> Api<K> {
        Api::new(self, "")
    }
}

/// Which objects of a kind, and how many at once. Selectors are written as kubectl writes them.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    pub label_selector: String,
    pub field_selector: String,
    /// 0: all.
    pub limit: u32,
    /// From the page before.
    pub continue_token: String,
    /// "": the newest. "0": whatever the replica has. Otherwise: at least this new.
    pub resource_version: String,
    /// As it all stood right after `resource_version`, within the history window.
    pub exact: bool,
}

#[derive(Debug)]
pub struct List<K> {
    pub items: Vec<K>,
    /// Where a watch can go on from.
    pub resource_version: String,
    /// Not empty: there is more.
    pub continue_token: String,
}

/// How a patch is to be read. The bytes are JSON. One whose outcome is unknown is not sent again: what somebody else has
/// written and been acknowledged since would be undone. [`Api::sole_writer`] is for who may do without that.
#[derive(Clone, Debug)]
pub enum Patch {
    /// RFC 7396.
    Merge(Vec<u8>),
    /// Kubernetes' own: lists are merged by their keys.
    Strategic(Vec<u8>),
    /// RFC 6902.
    Json(Vec<u8>),
}

impl Patch {
    /// May a sole writer's be sent again?
    fn repeat(&self) -> Repeat {
        match self {
            Patch::Merge(bytes) | Patch::Strategic(bytes) => Repeat::of_merge(bytes),
            // Its operations done twice need not come to the same.
            Patch::Json(_) => Repeat::Never,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    /// `Foreground`, `Background`, `Orphan`, or "" for the kind's default.
    pub propagation_policy: String,
    /// Only if the object still has this uid.
    pub uid: String,
    pub resource_version: String,
}

impl<K> Api<K> {
    fn new(client: &Client, namespace: &str) -> Api<K> {
        Api { client: client.clone(), namespace: namespace.into(), is_sole_writer: false, kind: PhantomData }
    }

    /// The same calls, of a caller who alone writes what its merge patches name, and waits for one to end before the next.
    /// Such a patch comes to the same when done twice, so it is sent to another replica when one breaks off or falls
    /// silent. One that names a `resourceVersion` is not, nor is a JSON patch.
    pub fn sole_writer(self) -> Api<K> {
        Api { is_sole_writer: true, ..self }
    }
}

impl<K: Scope> Api<K> {
    pub(crate) fn target(&self, name: &str, subresource: &str) -> wire::Target {
        wire::Target {
            group: K::GROUP.into(),
            version: K::VERSION.into(),
            resource: K::URL_PATH_SEGMENT.into(),
            namespace: self.namespace.clone(),
            name: name.into(),
            subresource: subresource.into(),
        }
    }

    /// Linearizable: sees every write that was acknowledged before.
    pub async fn get(&self, name: &str) -> Result<K, Error> {
        let request = wire::GetRequest { target: Some(self.target(name, "")), ..Default::default() };
        decode(self.client.get_object(request).await?)
    }

    /// As the object stood right after this revision, within the history window.
    pub async fn get_at(&self, name: &str, revision: u64) -> Result<K, Error> {
        let (target, resource_version) = (Some(self.target(name, "")), revision.to_string());
        decode(self.client.get_object(wire::GetRequest { target, resource_version, exact: true }).await?)
    }

    /// `None` when there is no such object.
    pub async fn find(&self, name: &str) -> Result<Option<K>, Error> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub async fn list(&self, options: &ListOptions) -> Result<List<K>, Error> {
        let reply = self.client.list_objects(list_request(self.target("", ""), options)).await?;
        Ok(List {
            items: reply.items.into_iter().map(decode).collect::<Result<_, _>>()?,
            resource_version: reply.resource_version,
            continue_token: reply.continue_token,
        })
    }

    pub async fn create(&self, object: &K) -> Result<K, Error> {
        decode(self.client.create_object(self.target("", ""), encode(object)?, Default::default()).await?)
    }

    /// Replaces the object; its `metadata.resourceVersion`, when set, must be the present one.
    pub async fn update(&self, name: &str, object: &K) -> Result<K, Error> {
        decode(self.client.update_object(self.target(name, ""), encode(object)?, Default::default()).await?)
    }

    pub async fn update_status(&self, name: &str, object: &K) -> Result<K, Error> {
        decode(self.client.update_object(self.target(name, "status"), encode(object)?, Default::default()).await?)
    }

    pub async fn patch(&self, name: &str, patch: Patch) -> Result<K, Error> {
        decode(self.patch_target(self.target(name, ""), patch).await?)
    }

    pub async fn patch_status(&self, name: &str, patch: Patch) -> Result<K, Error> {
        decode(self.patch_target(self.target(name, "status"), patch).await?)
    }

    /// Creates the object, or changes what stands there into it: fields it does not name stay. Fields that an
    /// earlier version of it named and this one does not are removed only by `kontiki apply` and `kubectl apply`,
    /// which remember the earlier version in an annotation.
    pub async fn apply(&self, name: &str, object: &K) -> Result<K, Error>
    where
        K: Metadata,
    {
        let json = encode(object)?;
        match self.patch_target(self.target(name, ""), Patch::Strategic(json.clone())).await {
            Err(error) if error.is_not_found() => {
                decode(self.client.create_object(self.target("", ""), json, Default::default()).await?)
            }
            other => decode(other?),
        }
    }

    async fn patch_target(&self, target: wire::Target, patch: Patch) -> Result<wire::Object, Error> {
        let repeat = if self.is_sole_writer { patch.repeat() } else { Repeat::Never };
        self.client.patch_object(target, patch, repeat, Default::default()).await
    }

    /// Done when the cluster has taken the deletion down. Returns the object as it was when it was deleted, with the
    /// `resourceVersion` of that; or, with a `deletionTimestamp`, as it stands while it ends: a Pod's containers, an object's
    /// finalizers.
    pub async fn delete(&self, name: &str, options: &DeleteOptions) -> Result<K, Error> {
        decode(self.client.delete_object(self.target(name, ""), options, false).await?)
    }

    /// Every change from `options.resource_version` on ("", "0": the present objects first, as `Added`). Goes on at another
    /// replica after a failover, without a gap and without repeating, also among the present objects: see [`Watch`].
    pub fn watch(&self, options: ListOptions) -> Watch<K> {
        Watch::new(self.client.clone(), self.target("", ""), options)
    }
}

impl Client {
    pub(crate) async fn get_object(&self, request: wire::GetRequest) -> Result<wire::Object, Error> {
        self.call(Repeat::Read, |mut replica| {
            let request = request.clone();
            async move { replica.get(request).await }
        })
        .await
    }

    pub(crate) async fn history(&self, request: wire::HistoryRequest) -> Result<wire::HistoryReply, Error> {
        self.call(Repeat::Read, |mut replica| {
            let request = request.clone();
            async move { replica.history(request).await }
        })
        .await
    }

    pub(crate) async fn list_objects(&self, request: wire::ListRequest) -> Result<wire::ListReply, Error> {
        self.call(Repeat::Read, |mut replica| {
            let request = request.clone();
            async move { replica.list(request).await }
        })
        .await
    }

    pub(crate) async fn create_object(
        &self,
        target: wire::Target,
        json: Vec<u8>,
        options: wire::WriteOptions,
    ) -> Result<wire::Object, Error> {
        let request = wire::CreateRequest { target: Some(target), json: json.into(), options: Some(options) };
        self.call(Repeat::Never, |mut replica| {
            let request = request.clone();
            async move { replica.create(request).await }
        })
        .await
    }

    pub(crate) async fn update_object(
        &self,
        target: wire::Target,
        json: Vec<u8>,
        options: wire::WriteOptions,
    ) -> Result<wire::Object, Error> {
        let request = wire::UpdateRequest { target: Some(target), json: json.into(), options: Some(options) };
        self.call(Repeat::Never, |mut replica| {
            let request = request.clone();
            async move { replica.update(request).await }
        })
        .await
    }

    pub(crate) async fn patch_object(
        &self,
        target: wire::Target,
        patch: Patch,
        repeat: Repeat,
        options: wire::WriteOptions,
    ) -> Result<wire::Object, Error> {
        let (kind, bytes) = match patch {
            Patch::Merge(bytes) => (wire::PatchType::Merge, bytes),
            Patch::Strategic(bytes) => (wire::PatchType::StrategicMerge, bytes),
            Patch::Json(bytes) => (wire::PatchType::JsonPatch, bytes),
        };
        let request = wire::PatchRequest {
            target: Some(target),
            r#type: kind.into(),
            patch: bytes.into(),
            options: Some(options),
        };
        self.call(repeat, |mut replica| {
            let request = request.clone();
            async move { replica.patch(request).await }
        })
        .await
    }

    pub(crate) async fn delete_object(
        &self,
        target: wire::Target,
        options: &DeleteOptions,
        dry_run: bool,
    ) -> Result<wire::Object, Error> {
        let request = wire::DeleteRequest {
            target: Some(target),
            grace_period_seconds: options.grace_period_seconds,
            propagation_policy: options.propagation_policy.clone(),
            uid: options.uid.clone(),
            resource_version: options.resource_version.clone(),
            dry_run,
        };
        self.call(Repeat::Never, |mut replica| {
            let request = request.clone();
            async move { replica.delete(request).await }
        })
        .await
    }
}

pub(crate) fn list_request(target: wire::Target, options: &ListOptions) -> wire::ListRequest {
    wire::ListRequest {
        target: Some(target),
        label_selector: options.label_selector.clone(),
        field_selector: options.field_selector.clone(),
        limit: options.limit,
        continue_token: options.continue_token.clone(),
        resource_version: options.resource_version.clone(),
        exact: options.exact,
    }
}

fn encode<K: Scope>(object: &K) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(object).map_err(|source| Error::Decode { kind: K::KIND, source })
}

pub(crate) fn decode<K: Scope>(object: wire::Object) -> Result<K, Error> {
    serde_json::from_slice(&object.json).map_err(|source| Error::Decode { kind: K::KIND, source })
}
