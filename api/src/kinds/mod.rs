//! The kinds that are served: one table, one row per kind. Pure.
//!
//! Adding a kind takes a row here, a file beside this one that implements [`admit::Rules`] for its type, and one
//! beside `printer` with its columns.

use std::borrow::Cow;

use k8s_openapi::ListableResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::printer::{Printed, Printer};
use crate::status::Status;

pub mod admit;
mod config_map;
mod decode;
mod deployment;
mod endpoint_slice;
mod endpoints;
mod event;
mod lease;
pub mod namespace;
mod node;
pub mod pod;
mod replica_set;
pub mod scale;
mod secret;
pub mod service;
mod service_account;
mod template;

pub use admit::{Admitted, Effect, Operation, Request};
pub use decode::decode;

/// One row: what the handlers need to know of a kind, and nothing that they could derive.
pub struct Kind {
    /// "" is the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub list_kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    pub subresources: &'static [Subresource],
    pub verbs: &'static [&'static str],
    /// The name of its schema: `io.k8s.api.core.v1.Pod`.
    pub schema_name: fn() -> Cow<'static, str>,
    /// The JSON schema of its objects; what it refers to is left in the generator.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// What `kubectl get` shows of it.
    pub printer: Printer,
    admit: fn(&'static Kind, &Request) -> Result<Admitted, Status>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    Status,
    Scale,
    Log,
    Exec,
    Attach,
    PortForward,
    Binding,
    Eviction,
    /// Of Namespaces: replaces the finalizers in the spec.
    Finalize,
}

impl Subresource {
    /// As it stands in the path.
    pub fn name(self) -> &'static str {
        match self {
            Subresource::Status => "status",
            Subresource::Scale => "scale",
            Subresource::Log => "log",
            Subresource::Exec => "exec",
            Subresource::Attach => "attach",
            Subresource::PortForward => "portforward",
            Subresource::Binding => "binding",
            Subresource::Eviction => "eviction",
            Subresource::Finalize => "finalize",
        }
    }

    /// The kind that its requests and answers carry, and that kind's group and version. `None`: the parent's.
    pub fn of_kind(self) -> Option<(&'static str, &'static str, &'static str)> {
        match self {
            Subresource::Status | Subresource::Log | Subresource::Finalize => None,
            Subresource::Scale => Some(("autoscaling", "v1", "Scale")),
            Subresource::Exec => Some(("", "v1", "PodExecOptions")),
            Subresource::Attach => Some(("", "v1", "PodAttachOptions")),
            Subresource::PortForward => Some(("", "v1", "PodPortForwardOptions")),
            Subresource::Binding => Some(("", "v1", "Binding")),
            Subresource::Eviction => Some(("policy", "v1", "Eviction")),
        }
    }

    pub fn verbs(self) -> &'static [&'static str] {
        match self {
            Subresource::Status | Subresource::Scale => &["get", "patch", "update"],
            Subresource::Log => &["get"],
            Subresource::Exec | Subresource::Attach | Subresource::PortForward => &["create", "get"],
            Subresource::Binding | Subresource::Eviction => &["create"],
            Subresource::Finalize => &["update"],
        }
    }
}

const ALL_VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

impl Kind {
    const fn of<T: admit::Rules + Printed + ListableResource + JsonSchema>(
        singular: &'static str,
        namespaced: bool,
    ) -> Kind {
        Kind {
            group: T::GROUP,
            version: T::VERSION,
            kind: T::KIND,
            list_kind: T::LIST_KIND,
            plural: T::URL_PATH_SEGMENT,
            singular,
            short_names: &[],
            categories: &[],
            namespaced,
            subresources: &[],
            verbs: ALL_VERBS,
            schema_name: T::schema_name,
            schema: T::json_schema,
            printer: Printer::of::<T>(),
            admit: admit::admit::<T>,
        }
    }

    const fn short(self, short_names: &'static [&'static str]) -> Kind {
        Kind { short_names, ..self }
    }

    /// Shown by `kubectl get all`.
    const fn in_all(self) -> Kind {
        Kind { categories: &["all"], ..self }
    }

    const fn with(self, subresources: &'static [Subresource]) -> Kind {
        Kind { subresources, ..self }
    }

    /// `apps/v1`, or `v1` in the core group.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.into(),
            group => format!("{group}/{}", self.version),
        }
    }

    pub fn has(&self, subresource: Subresource) -> bool {
        self.subresources.contains(&subresource)
    }

    pub fn key(&self, namespace: &str, name: &str) -> crate::Key {
        crate::Key::new(self.group, self.plural, namespace, name)
    }

    /// Takes what a client sent in: decodes it, sets what is missing, keeps what only the system may change,
    /// and checks the rest. What comes out may be stored as it is.
    pub fn admit(&'static self, request: &Request) -> Result<Admitted, Status> {
        (self.admit)(self, request)
    }
}

use k8s_openapi::api::{apps, coordination, core, discovery};

use Subresource::*;

/// In the order of discovery.
pub static KINDS: &[Kind] = &[
    Kind::of::<core::v1::ConfigMap>("configmap", true).short(&["cm"]),
    Kind::of::<core::v1::Endpoints>("endpoints", true).short(&["ep"]),
    Kind::of::<core::v1::Event>("event", true).short(&["ev"]),
    Kind::of::<core::v1::Namespace>("namespace", false).short(&["ns"]).with(&[Status, Finalize]),
    Kind::of::<core::v1::Node>("node", false).short(&["no"]).with(&[Status]),
    Kind::of::<core::v1::Pod>("pod", true).short(&["po"]).in_all().with(&[
        Status,
        Log,
        Exec,
        Attach,
        PortForward,
        Binding,
        Eviction,
    ]),
    Kind::of::<core::v1::Secret>("secret", true),
    Kind::of::<core::v1::Service>("service", true).short(&["svc"]).in_all().with(&[Status]),
    Kind::of::<core::v1::ServiceAccount>("serviceaccount", true).short(&["sa"]),
    Kind::of::<apps::v1::Deployment>("deployment", true).short(&["deploy"]).in_all().with(&[Status, Scale]),
    Kind::of::<apps::v1::ReplicaSet>("replicaset", true).short(&["rs"]).in_all().with(&[Status, Scale]),
    Kind::of::<coordination::v1::Lease>("lease", true),
    Kind::of::<discovery::v1::EndpointSlice>("endpointslice", true),
];

/// By the parts of a path: ("apps", "v1", "deployments").
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.plural == plural && kind.group == group && kind.version == version)
}

/// By what stands in an object: ("apps", "v1", "Deployment").
pub fn find_kind(group: &str, version: &str, name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.kind == name && kind.group == group && kind.version == version)
}

/// By the parts of a key, which have no version.
pub fn find_resource(group: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.plural == plural && kind.group == group)
}

/// By what a person types: plural, singular, short name or kind, in any case, optionally with `.group`.
pub fn find_spoken(word: &str) -> Option<&'static Kind> {
    let word = word.to_ascii_lowercase();
    let (name, group) = word.split_once('.').map_or((word.as_str(), None), |(name, group)| (name, Some(group)));
    KINDS.iter().find(|kind| {
        let names = [kind.plural, kind.singular];
        (names.contains(&name) || kind.short_names.contains(&name)) && group.is_none_or(|group| group == kind.group)
    })
}

/// Splits an apiVersion: "apps/v1" into group and version.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

#[cfg(test)]
mod tests;
