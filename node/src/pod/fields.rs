//! The downward API: a Pod's own fields and resources as text. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Pod, ResourceFieldSelector};

use super::resources::{limit, request};
use super::{ConfigError, Host, spec_of};

/// What only the node knows of a Pod.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub host: &'a Host,
    /// Known once its network stands.
    pub pod_ip: Option<IpAddr>,
}

/// The value of a `fieldRef`.
pub fn field(pod: &Pod, facts: &Facts<'_>, path: &str) -> Result<String, ConfigError> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    if let Some((map, key)) = subscript(path) {
        let entries = match map {
            "metadata.labels" => &pod.metadata.labels,
            "metadata.annotations" => &pod.metadata.annotations,
            _ => return Err(unsupported(path)),
        };
        return Ok(entries.as_ref().and_then(|entries| entries.get(key)).cloned().unwrap_or_default());
    }
    let pod_ip = || facts.pod_ip.map(|ip| ip.to_string()).unwrap_or_default();
    Ok(match path {
        "metadata.name" => text(&pod.metadata.name),
        "metadata.namespace" => text(&pod.metadata.namespace),
        "metadata.uid" => text(&pod.metadata.uid),
        "metadata.labels" => lines(&pod.metadata.labels),
        "metadata.annotations" => lines(&pod.metadata.annotations),
        "spec.nodeName" => facts.host.node_name.clone(),
        "spec.serviceAccountName" => text(&spec_of(pod).service_account_name),
        "status.podIP" | "status.podIPs" => pod_ip(),
        "status.hostIP" | "status.hostIPs" => facts.host.ip.to_string(),
        _ => return Err(unsupported(path)),
    })
}

fn unsupported(path: &str) -> ConfigError {
    ConfigError(format!("unsupported fieldPath: {path}"))
}

/// `metadata.labels['app']` is (`metadata.labels`, `app`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// One `key="value"` a line, as the files of a downward API volume have it.
fn lines(map: &Option<BTreeMap<String, String>>) -> String {
    let entries = map.iter().flatten().map(|(key, value)| format!("{key}={value:?}"));
    entries.collect::<Vec<_>>().join("\n")
}

/// The value of a `resourceFieldRef`: a whole number of its divisor, rounded up. What has no limit has the node's.
pub fn resource(
    pod: &Pod,
    facts: &Facts<'_>,
    own_container: Option<&str>,
    selector: &ResourceFieldSelector,
) -> Result<String, ConfigError> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty()).or(own_container);
    let spec = spec_of(pod);
    let container = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .find(|container| Some(container.name.as_str()) == named)
        .ok_or_else(|| ConfigError(format!("container {} not found", named.unwrap_or_default())))?;
    let capacity = &facts.host.capacity;
    let node_has = |name: &str| match name {
        "cpu" => Quantity::from_milli(capacity.cpu_milli as i64),
        "memory" => Quantity::from_bytes(capacity.memory_bytes as i64),
        _ => Quantity::from_bytes(capacity.storage_bytes as i64),
    };
    let unsupported = || ConfigError(format!("unsupported container resource: {}", selector.resource));
    let (kind, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let value = match (kind, name) {
        ("limits", "cpu" | "memory" | "ephemeral-storage") => limit(container, name).unwrap_or_else(|| node_has(name)),
        ("requests", "cpu" | "memory" | "ephemeral-storage") => request(container, name).unwrap_or(Quantity::ZERO),
        _ => return Err(unsupported()),
    };
    let divisor = selector.divisor.as_ref().and_then(|written| written.0.parse::<Quantity>().ok());
    let divisor = divisor.filter(|divisor| !divisor.is_zero()).unwrap_or(Quantity::from_whole(1));
    let number = match name {
        "cpu" => {
            (value.milli() as i128).div_euclid(divisor.milli().max(1) as i128)
                + i128::from((value.milli() as i128).rem_euclid(divisor.milli().max(1) as i128) > 0)
        }
        _ => {
            let divisor = divisor.whole().max(1) as i128;
            (value.whole() as i128 + divisor - 1) / divisor
        }
    };
    Ok(number.to_string())
}
