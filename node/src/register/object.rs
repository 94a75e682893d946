//! Decides what stands in the Node object, and what of it must be written. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::quantity::Quantity;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::{Value, json};

use super::Facts;
use crate::pod::Capacity;
use crate::runtime::Info;

/// What a client is told of the agent's version: the Kubernetes version whose ways it has, and whose it is.
const VERSION: &str = "v1.33.0-kontiki";
/// Below these the host is short; the kubelet's own hard thresholds.
const MEMORY_BYTES_MIN: u64 = 100 << 20;
const DISK_PERCENT_MIN: u64 = 10;
const INODES_PERCENT_MIN: u8 = 5;
const PIDS_PERCENT_MIN: u8 = 5;

/// What does not change while the agent runs.
#[derive(Clone, Debug)]
pub struct Identity {
    pub name: String,
    pub hostname: String,
    pub ip: IpAddr,
    pub labels: Vec<(String, String)>,
    pub capacity: Capacity,
    pub info: Info,
}

/// Patches that bring the standing object to the wanted one; `None` where they agree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    pub meta: Option<Value>,
    pub status: Option<Value>,
}

pub fn node(identity: &Identity, facts: &Facts, now: Timestamp) -> Node {
    let capacity = &identity.capacity;
    let amounts: BTreeMap<String, Written> = [
        ("cpu", Quantity::from_milli(capacity.cpu_milli as i64)),
        ("memory", Quantity::from_bytes(capacity.memory_bytes as i64)),
        ("ephemeral-storage", Quantity::from_bytes(capacity.storage_bytes as i64)),
        ("pods", Quantity::from_whole(i64::from(capacity.pods))),
    ]
    .into_iter()
    .map(|(name, amount)| (name.to_owned(), Written(amount.to_string())))
    .collect();
    let address = |kind: &str, address: String| NodeAddress { type_: kind.into(), address };
    let info = &identity.info;
    Node {
        metadata: ObjectMeta {
            name: Some(identity.name.clone()),
            labels: Some(labels(identity)),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec::default()),
        status: Some(NodeStatus {
            addresses: Some(vec![
                address("InternalIP", identity.ip.to_string()),
                address("Hostname", identity.hostname.clone()),
            ]),
            allocatable: Some(amounts.clone()),
            capacity: Some(amounts),
            conditions: Some(conditions(facts, now)),
            node_info: Some(NodeSystemInfo {
                architecture: info.architecture.clone(),
                boot_id: facts.boot_id.clone(),
                container_runtime_version: info.version.clone(),
                kernel_version: info.kernel.clone(),
                kube_proxy_version: VERSION.into(),
                kubelet_version: VERSION.into(),
                machine_id: facts.machine_id.clone(),
                operating_system: "linux".into(),
                os_image: info.os_image.clone(),
                system_uuid: facts.system_uuid.clone(),
                ..NodeSystemInfo::default()
            }),
            ..NodeStatus::default()
        }),
    }
}

fn labels(identity: &Identity) -> BTreeMap<String, String> {
    let own = [
        ("kubernetes.io/hostname", identity.hostname.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", identity.info.architecture.as_str()),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", identity.info.architecture.as_str()),
    ];
    let own = own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    own.chain(identity.labels.iter().cloned()).collect()
}

/// All but Ready, which the leader writes from what it hears.
fn conditions(facts: &Facts, now: Timestamp) -> Vec<NodeCondition> {
    let disk_percent = facts.disk_available_bytes.saturating_mul(100).checked_div(facts.disk_bytes).unwrap_or(100);
    let short = [
        (
            "MemoryPressure",
            facts.memory_available_bytes < MEMORY_BYTES_MIN,
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        ),
        (
            "DiskPressure",
            disk_percent < DISK_PERCENT_MIN || facts.inodes_available_percent < INODES_PERCENT_MIN,
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ),
        (
            "PIDPressure",
            facts.pids_available_percent < PIDS_PERCENT_MIN,
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        ),
    ];
    let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let condition = |(kind, holds, fine, bad): (&str, bool, (&str, &str), (&str, &str))| {
        let (reason, message) = if holds { bad } else { fine };
        NodeCondition {
            type_: kind.into(),
            status: if holds { "True" } else { "False" }.into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_heartbeat_time: Some(now.clone()),
            last_transition_time: Some(now.clone()),
        }
    };
    short.into_iter().map(condition).collect()
}

pub fn change(standing: &Node, wanted: &Node) -> Change {
    let empty = BTreeMap::new();
    let labels = standing.metadata.labels.as_ref().unwrap_or(&empty);
    let missing: BTreeMap<&String, &String> =
        wanted.metadata.labels.iter().flatten().filter(|(key, value)| labels.get(*key) != Some(*value)).collect();
    let meta = (!missing.is_empty()).then(|| json!({"metadata": {"labels": missing}}));

    let none = NodeStatus::default();
    let (old, new) = (standing.status.as_ref().unwrap_or(&none), wanted.status.as_ref().unwrap_or(&none));
    let mut status = serde_json::Map::new();
    if old.addresses != new.addresses {
        let mut list = vec![json!({"$patch": "replace"})];
        list.extend(new.addresses.iter().flatten().map(|address| json!(address)));
        status.insert("addresses".into(), Value::Array(list));
    }
    if !same_amounts(&old.capacity, &new.capacity) {
        status.insert("capacity".into(), json!(new.capacity));
    }
    if !same_amounts(&old.allocatable, &new.allocatable) {
        status.insert("allocatable".into(), json!(new.allocatable));
    }
    if old.node_info != new.node_info {
        status.insert("nodeInfo".into(), json!(new.node_info));
    }
    let conditions: Vec<&NodeCondition> = new.conditions.iter().flatten().filter(|fresh| !stands(old, fresh)).collect();
    if !conditions.is_empty() {
        status.insert("conditions".into(), json!(conditions));
    }
    Change { meta, status: (!status.is_empty()).then(|| json!({"status": status})) }
}

/// Times alone are no change: an idle node writes nothing.
fn stands(status: &NodeStatus, fresh: &NodeCondition) -> bool {
    let mut all = status.conditions.iter().flatten();
    all.any(|old| old.type_ == fresh.type_ && old.status == fresh.status && old.reason == fresh.reason)
}

type Amounts = Option<BTreeMap<String, Written>>;

/// Equal in value, however they are written.
fn same_amounts(old: &Amounts, new: &Amounts) -> bool {
    let parse = |amounts: &Amounts| -> BTreeMap<String, Option<Quantity>> {
        amounts.iter().flatten().map(|(name, amount)| (name.clone(), amount.0.parse().ok())).collect()
    };
    parse(old) == parse(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            name: "n1".into(),
            hostname: "n1".into(),
            ip: "127.0.0.1".parse().unwrap(),
            labels: vec![("zone".into(), "a".into())],
            capacity: Capacity { cpu_milli: 2000, memory_bytes: 1 << 30, storage_bytes: 1 << 40, pods: 110 },
            info: Info { architecture: "amd64".into(), ..Info::default() },
        }
    }

    fn facts() -> Facts {
        Facts {
            memory_available_bytes: 1 << 30,
            disk_bytes: 100,
            disk_available_bytes: 50,
            inodes_available_percent: 50,
            pids_available_percent: 90,
            ..Facts::default()
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_stands_is_not_written_again() {
        let standing = node(&identity(), &facts(), at(10));
        assert_eq!(change(&standing, &node(&identity(), &facts(), at(20))), Change::default());
    }

    #[test]
    fn a_shortage_is_written_and_nothing_else() {
        let standing = node(&identity(), &facts(), at(10));
        let short = Facts { memory_available_bytes: 1, ..facts() };
        let change = change(&standing, &node(&identity(), &short, at(20)));
        assert_eq!(change.meta, None);
        let status = change.status.unwrap();
        assert_eq!(status["status"].as_object().unwrap().len(), 1);
        assert_eq!(status["status"]["conditions"][0]["type"], "MemoryPressure");
        assert_eq!(status["status"]["conditions"][0]["status"], "True");
    }

    #[test]
    fn labels_of_others_stay() {
        let mut standing = node(&identity(), &facts(), at(10));
        let labels = standing.metadata.labels.as_mut().unwrap();
        labels.insert("someone".into(), "else".into());
        labels.insert("zone".into(), "b".into());
        let change = change(&standing, &node(&identity(), &facts(), at(20)));
        assert_eq!(change.meta.unwrap(), json!({"metadata": {"labels": {"zone": "a"}}}));
    }
}
