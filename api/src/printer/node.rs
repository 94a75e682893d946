//! How Nodes are printed. Pure.

use super::{AGE, Column, NAME, Printed, Row, cell};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";

impl Printed for Node {
    const COLUMNS: &'static [Column] = &[
        NAME,
        Column::text("Status", "Whether it is ready, and whether it takes new Pods."),
        Column::text("Roles", "From its labels node-role.kubernetes.io/<role>."),
        AGE,
        Column::text("Version", "The version of its agent."),
        Column::text("Internal-IP", "Its address inside the cluster.").wide(),
        Column::text("External-IP", "Its address outside the cluster.").wide(),
        Column::text("OS-Image", "Its operating system.").wide(),
        Column::text("Kernel-Version", "Its kernel.").wide(),
        Column::text("Container-Runtime", "What runs its containers, with the version.").wide(),
    ];

    fn row(self, now: Timestamp) -> Row {
        let Node { metadata, spec, status, .. } = self;
        let (spec, status) = (spec.unwrap_or_default(), status.unwrap_or_default());
        let info = status.node_info.clone().unwrap_or_default();
        vec![
            cell::name(&metadata),
            readiness(&status, spec.unschedulable.unwrap_or(false)).into(),
            roles(&metadata),
            cell::age(&metadata, now),
            info.kubelet_version.as_str().into(),
            address(&status, "InternalIP"),
            address(&status, "ExternalIP"),
            cell::or(Some(&info.os_image), "<unknown>"),
            cell::or(Some(&info.kernel_version), "<unknown>"),
            cell::or(Some(&info.container_runtime_version), "<unknown>"),
        ]
        .into()
    }
}

fn readiness(status: &NodeStatus, unschedulable: bool) -> String {
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    let word = match ready {
        Some(condition) if condition.status == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if unschedulable { format!("{word},SchedulingDisabled") } else { word.into() }
}

fn roles(meta: &ObjectMeta) -> Value {
    let labels = meta.labels.iter().flatten();
    let mut roles: Vec<&str> = labels
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => Some(value.as_str()),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    cell::or_none(Some(&roles.join(",")))
}

fn address(status: &NodeStatus, of: &str) -> Value {
    let found = status.addresses.iter().flatten().find(|address| address.type_ == of);
    cell::or_none(found.map(|address| address.address.as_str()))
}
