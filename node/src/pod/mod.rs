//! What a Pod's spec means on this host: environment, mounts, the containers to make. All of it decides, none acts.

mod env;
mod expand;
mod fields;
mod mounts;
mod refs;
mod registry;
mod resources;
mod security;
mod services;
mod spec;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

pub use expand::expand;
pub use fields::{Facts, field, resource};
pub use mounts::{is_in_memory, memory_volumes};
pub use refs::{Refs, pod_of};
pub use registry::credentials as registry_credentials;
pub use resources::{Capacity, Quality, quality};
pub use security::needs_user_check;
pub use spec::{Attempt, PAUSE, app, hash, pause};

use crate::runtime::Owner;

/// What this agent is, as far as a Pod's containers depend on it.
#[derive(Clone, Debug)]
pub struct Host {
    pub owner: Owner,
    pub node_name: String,
    pub ip: IpAddr,
    /// Holds `pods/<uid>/…`. The engine must see it under the same path.
    pub data_dir: PathBuf,
    pub pause_image: String,
    /// The engine's network that Pods share.
    pub pod_network: String,
    /// Empty: Pods resolve names as the host does.
    pub dns_servers: Vec<String>,
    pub cluster_domain: String,
    pub capacity: Capacity,
}

impl Host {
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.data_dir.join("pods").join(uid)
    }

    pub fn volume_dir(&self, uid: &str, volume: &str) -> PathBuf {
        self.pod_dir(uid).join("volumes").join(volume)
    }

    /// The file on the host that a container attempt leaves its last words in.
    pub fn message_path(&self, uid: &str, container: &str, attempt: u32) -> PathBuf {
        self.pod_dir(uid).join("messages").join(format!("{container}.{attempt}"))
    }
}

/// Why a container cannot be made from what is known now. The text is the one Kubernetes uses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

/// May another Pod be given this one's name, once its object is gone? Whoever has chosen a name (a person, a StatefulSet) can
/// choose it again. One that was generated has five characters by chance, or by a ReplicaSet's count (ADR 4). A `generateName`
/// says nothing alone: it may stand beside a name that was chosen, as on a StatefulSet's Pods.
pub fn name_comes_back(pod: &Pod) -> bool {
    let base = pod.metadata.generate_name.as_deref().filter(|base| !base.is_empty());
    !base.is_some_and(|base| api::object::is_generated(name(pod), base))
}

/// A Pod that was bound always has a spec; one without is treated as empty.
pub fn spec_of(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

/// `name_namespace(uid)`, as Kubernetes' messages name a Pod.
pub fn full_name(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

/// An init container that runs beside the others.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

pub fn on_host_network(pod: &Pod) -> bool {
    spec_of(pod).host_network.unwrap_or(false)
}

/// Does this volume live in memory?
pub fn memory_volume_name(uid: &str, volume: &str) -> String {
    format!("kontiki-{uid}-{volume}")
}

/// Paths inside volumes stay inside.
pub fn is_inside(path: &str) -> bool {
    let path = Path::new(path);
    !path.is_absolute() && !path.components().any(|part| matches!(part, std::path::Component::ParentDir))
}
