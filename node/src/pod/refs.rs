//! The objects that Pods refer to, read from what the leader sent. Pure.

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use serde::de::DeserializeOwned;

use crate::session::Work;

/// Reads on demand: most Pods refer to few of them, and the bytes are kept once.
#[derive(Clone, Copy)]
pub struct Refs<'a>(pub &'a Work);

impl Refs<'_> {
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<ConfigMap> {
        self.read("configmaps", namespace, name)
    }

    pub fn secret(&self, namespace: &str, name: &str) -> Option<Secret> {
        self.read("secrets", namespace, name)
    }

    pub fn services(&self) -> impl Iterator<Item = Service> {
        self.0.of("services").filter_map(|(_, json)| serde_json::from_slice(json).ok())
    }

    fn read<T: DeserializeOwned>(&self, plural: &str, namespace: &str, name: &str) -> Option<T> {
        serde_json::from_slice(self.0.get(plural, namespace, name)?).ok()
    }
}

/// A Pod as it was sent; `None` when these bytes are none (it is then left alone).
pub fn pod_of(json: &[u8]) -> Option<Pod> {
    serde_json::from_slice(json).ok()
}
