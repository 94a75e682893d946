//! Keeps the Endpoints of each Service: addresses and ports of the pods that its selector matches. Pure, decides.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use api::Key;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::backends::{self, Backend, Port};
use crate::view::Change;
use crate::{Controller, Plan, View, Write};

/// Kubernetes' limit; what is beyond stands in the slices only.
const ADDRESSES_MAX: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Its keys are those of the Services.
pub struct ServiceEndpoints {
    /// Where the replicas serve the API: what stands behind the Service `kubernetes`.
    pub replicas: Vec<SocketAddr>,
}

impl Controller for ServiceEndpoints {
    fn name(&self) -> &'static str {
        "endpoints"
    }

    fn affected(&self, change: &Change, view: &View) -> Vec<Key> {
        let key = &change.key;
        match key.kind() {
            ("", "services" | "endpoints") => vec![Key::new("", "services", &key.namespace, &key.name)],
            ("", "pods") => backends::services_of(change, view),
            _ => Vec::new(),
        }
    }

    fn plan(&self, view: &View, key: &Key) -> Plan {
        let Some(service) = view.get(key).and_then(|entry| entry.service()) else {
            return left_over(view, key);
        };
        let subsets = match backends::selector(service) {
            Some(_) => subsets(service, backends::backends(service, key, view)),
            None if backends::is_api(key) && !self.replicas.is_empty() => self.replica_subsets(),
            None => return Plan::default(),
        };
        write(view, key, service, subsets)
    }
}

impl ServiceEndpoints {
    /// One subset for each port number, since a subset's addresses all have the same ports.
    fn replica_subsets(&self) -> Subsets {
        let mut ports: BTreeMap<u16, Vec<EndpointAddress>> = BTreeMap::new();
        for replica in &self.replicas {
            let address = EndpointAddress { ip: replica.ip().to_string(), ..EndpointAddress::default() };
            ports.entry(replica.port()).or_default().push(address);
        }
        let subset = |(number, mut addresses): (u16, Vec<EndpointAddress>)| {
            addresses.sort_by(|one, other| one.ip.cmp(&other.ip));
            addresses.dedup();
            let port = EndpointPort {
                name: Some("https".into()),
                port: i32::from(number),
                protocol: Some("TCP".into()),
                ..EndpointPort::default()
            };
            EndpointSubset { addresses: Some(addresses), not_ready_addresses: None, ports: Some(vec![port]) }
        };
        Subsets { subsets: ports.into_iter().map(subset).collect(), cut: false }
    }
}

struct Subsets {
    subsets: Vec<EndpointSubset>,
    cut: bool,
}

/// Pods with the same port numbers make one subset.
fn subsets(service: &Service, backends: Vec<Backend>) -> Subsets {
    let unready_too = service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let has_ports =
        service.spec.as_ref().is_some_and(|spec| spec.ports.as_ref().is_some_and(|ports| !ports.is_empty()));
    let mut shown: Vec<Backend> = backends
        .into_iter()
        .filter(|backend| !backend.terminating || unready_too)
        .filter(|backend| !(has_ports && backend.ports.is_empty()))
        .collect();
    shown.sort_by_key(|backend| !backend.ready);
    let cut = shown.len() > ADDRESSES_MAX;
    shown.truncate(ADDRESSES_MAX);
    let mut groups: BTreeMap<Vec<Port>, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    for backend in shown {
        let (ready, not_ready) = groups.entry(backend.ports.clone()).or_default();
        if backend.ready { ready } else { not_ready }.push(address(name, &backend));
    }
    let subsets = groups.into_iter().map(|(ports, (ready, not_ready))| EndpointSubset {
        addresses: Some(ready).filter(|addresses| !addresses.is_empty()),
        not_ready_addresses: Some(not_ready).filter(|addresses| !addresses.is_empty()),
        ports: Some(ports.iter().map(endpoint_port).collect::<Vec<_>>()).filter(|ports| !ports.is_empty()),
    });
    Subsets { subsets: subsets.collect(), cut }
}

fn address(service_name: &str, backend: &Backend) -> EndpointAddress {
    EndpointAddress {
        ip: backend.address.clone(),
        hostname: backends::hostname(service_name, &backend.pod),
        node_name: backend.pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        target_ref: Some(backends::target(&backend.pod)),
    }
}

fn endpoint_port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()).filter(|name| !name.is_empty()),
        port: port.number,
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}

/// Nothing when it stands there already.
fn write(view: &View, service_key: &Key, service: &Service, wanted: Subsets) -> Plan {
    let key = endpoints_key(service_key);
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.0.into(), MANAGED_BY.1.into());
    if backends::is_headless(service) {
        labels.insert(HEADLESS.into(), String::new());
    }
    let subsets = Some(wanted.subsets).filter(|subsets| !subsets.is_empty());
    let reason = format!("{} subsets", subsets.as_ref().map_or(0, Vec::len));
    let write = match view.get(&key) {
        Some(entry) => {
            let Some(existing) = entry.endpoints() else { return Plan::default() };
            let mut endpoints = Endpoints::clone(existing);
            endpoints.metadata.labels = Some(labels);
            mark_cut(&mut endpoints.metadata, wanted.cut);
            endpoints.subsets = subsets;
            if endpoints == **existing {
                return Plan::default();
            }
            Write::Update { object: api::object::encode(&endpoints), key, at: entry.revision }
        }
        None => {
            let mut metadata = ObjectMeta {
                name: Some(key.name.clone()),
                namespace: Some(key.namespace.clone()),
                labels: Some(labels),
                ..ObjectMeta::default()
            };
            mark_cut(&mut metadata, wanted.cut);
            Write::Create { object: api::object::encode(&Endpoints { metadata, subsets }), key }
        }
    };
    Plan { writes: vec![write], reason, ..Plan::default() }
}

fn mark_cut(metadata: &mut ObjectMeta, cut: bool) {
    if cut {
        metadata.annotations.get_or_insert_default().insert(OVER_CAPACITY.into(), "truncated".into());
    } else if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(OVER_CAPACITY);
        if annotations.is_empty() {
            metadata.annotations = None;
        }
    }
}

/// The Service is gone: its Endpoints go, unless somebody else made them.
fn left_over(view: &View, service_key: &Key) -> Plan {
    let key = endpoints_key(service_key);
    let Some(entry) = view.get(&key) else { return Plan::default() };
    let ours = entry.meta.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY.0));
    if ours.map(String::as_str) != Some(MANAGED_BY.1) {
        return Plan::default();
    }
    let reason = "the Service is gone".into();
    Plan { writes: vec![Write::Delete { key, at: entry.revision }], reason, ..Plan::default() }
}

fn endpoints_key(service: &Key) -> Key {
    Key::new("", "endpoints", &service.namespace, &service.name)
}
