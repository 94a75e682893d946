//! What the scheduler knows of one pod, worked out once. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Key;
use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};

use super::resources::{Resources, pod_requests};

/// Scores count a pod that requests nothing as this much, so that such pods are spread as well.
const CPU_MILLI_ASSUMED: i64 = 100;
const MEMORY_BYTES_ASSUMED: i64 = 200 << 20;

#[derive(Clone, Debug)]
pub struct Facts {
    pub key: Key,
    pub pod: Arc<Pod>,
    /// The revision of `pod`.
    pub revision: u64,
    pub requests: Resources,
    /// For scores only: never 0.
    pub cpu_milli_weighed: i64,
    pub memory_bytes_weighed: i64,
    pub host_ports: Vec<HostPort>,
    /// The uid of the controlling owner: the set that should be spread.
    pub set: Option<String>,
    /// It has required anti-affinity.
    pub is_hermit: bool,
}

/// A port of the node that a container takes. An empty address means all of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    pub protocol: String,
    pub port: i32,
    pub address: String,
}

impl HostPort {
    pub fn conflicts_with(&self, other: &HostPort) -> bool {
        self.protocol == other.protocol
            && self.port == other.port
            && (self.address == other.address || self.address.is_empty() || other.address.is_empty())
    }
}

impl Facts {
    pub fn of(key: &Key, pod: Arc<Pod>, revision: u64) -> Facts {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let requests = pod_requests(spec);
        let assumed = |amount: i64, otherwise: i64| if amount == 0 { otherwise } else { amount };
        let anti = spec.affinity.as_ref().and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let shunned = anti.and_then(|anti| anti.required_during_scheduling_ignored_during_execution.as_ref());
        let owners = pod.metadata.owner_references.iter().flatten();
        Facts {
            key: key.clone(),
            revision,
            cpu_milli_weighed: assumed(requests.cpu_milli, CPU_MILLI_ASSUMED),
            memory_bytes_weighed: assumed(requests.memory_bytes, MEMORY_BYTES_ASSUMED),
            requests,
            host_ports: host_ports(spec),
            is_hermit: shunned.is_some_and(|terms| !terms.is_empty()),
            set: owners.filter(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone()).next(),
            pod,
        }
    }

    pub fn spec(&self) -> &PodSpec {
        static NONE: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
        self.pod.spec.as_ref().unwrap_or(&NONE)
    }

    pub fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.pod.metadata.labels.as_ref().unwrap_or(&NONE)
    }

    pub fn namespace(&self) -> &str {
        &self.key.namespace
    }

    pub fn tolerations(&self) -> &[Toleration] {
        self.spec().tolerations.as_deref().unwrap_or_default()
    }

    pub fn is_terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }
}

/// Succeeded and Failed pods hold nothing any more.
pub fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let on_host = spec.host_network == Some(true);
    let sidecars =
        spec.init_containers.iter().flatten().filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let mut ports: Vec<HostPort> = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let number = port.host_port.or(on_host.then_some(port.container_port)).filter(|number| *number > 0)?;
            let address = port.host_ip.as_deref().filter(|address| !matches!(*address, "0.0.0.0" | "::"));
            Some(HostPort {
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
                port: number,
                address: address.unwrap_or_default().into(),
            })
        })
        .collect();
    ports.sort();
    ports.dedup();
    ports
}
