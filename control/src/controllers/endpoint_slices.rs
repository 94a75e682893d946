//! Keeps the EndpointSlices of each Service, at most a hundred endpoints in each. Pure, decides.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use api::Key;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::backends::{self, Backend, Port};
use crate::plan::cut_to_fit;
use crate::view::{Change, Entry};
use crate::{Controller, Plan, View, Write};

pub const ENDPOINTS_MAX: usize = 100;
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: (&str, &str) = ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io");
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Its keys are those of the Services. The garbage collector removes the slices of a Service that is gone.
pub struct EndpointSlices {
    /// Where the replicas serve the API: what stands behind the Service `kubernetes`.
    pub replicas: Vec<SocketAddr>,
}

impl Controller for EndpointSlices {
    fn name(&self) -> &'static str {
        "endpoint-slices"
    }

    fn affected(&self, change: &Change, view: &View) -> Vec<Key> {
        let key = &change.key;
        match key.kind() {
            ("", "services") => vec![key.clone()],
            ("", "pods") => backends::services_of(change, view),
            ("discovery.k8s.io", "endpointslices") => {
                let names: BTreeSet<&str> = change.sides().filter_map(service_of).collect();
                names.iter().map(|name| Key::new("", "services", &key.namespace, name)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn plan(&self, view: &View, key: &Key) -> Plan {
        let Some(service) = view.get(key).and_then(|entry| entry.service()) else { return Plan::default() };
        let wanted = match backends::selector(service) {
            Some(_) => wanted(service, &backends::backends(service, key, view)),
            None if backends::is_api(key) && !self.replicas.is_empty() => self.replica_groups(),
            None => return Plan::default(),
        };
        let existing = existing(view, key);
        let mut writes = reconcile(key, service, wanted, &existing);
        let more = cut_to_fit(&mut writes);
        let reason = format!("{} of {} slices differ", writes.len(), existing.len());
        Plan { writes, recheck_at: more.then_some(view.now), reason, ..Plan::default() }
    }
}

/// What makes endpoints fit into one slice: IPv4 or IPv6, and the same ports.
type Group = (&'static str, Vec<Port>);
type Groups = BTreeMap<Group, Vec<Endpoint>>;

impl EndpointSlices {
    fn replica_groups(&self) -> Groups {
        let mut groups = Groups::new();
        for replica in &self.replicas {
            let port = Port {
                name: "https".into(),
                number: replica.port().into(),
                protocol: "TCP".into(),
                app_protocol: None,
            };
            let family = if replica.is_ipv4() { "IPv4" } else { "IPv6" };
            let endpoint = Endpoint {
                addresses: vec![replica.ip().to_string()],
                conditions: Some(EndpointConditions { ready: Some(true), ..EndpointConditions::default() }),
                ..Endpoint::default()
            };
            groups.entry((family, vec![port])).or_default().push(endpoint);
        }
        groups
    }
}

fn wanted(service: &Service, backends: &[Backend]) -> Groups {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let mut groups = Groups::new();
    for backend in backends {
        groups.entry((family(&backend.address), backend.ports.clone())).or_default().push(endpoint(name, backend));
    }
    // A Service without any backend is told so by an empty slice rather than by none.
    if groups.is_empty() {
        groups.insert(("IPv4", Vec::new()), Vec::new());
    }
    groups
}

fn family(address: &str) -> &'static str {
    if address.contains(':') { "IPv6" } else { "IPv4" }
}

fn endpoint(service_name: &str, backend: &Backend) -> Endpoint {
    Endpoint {
        addresses: vec![backend.address.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(backend.ready),
            serving: Some(backend.serving),
            terminating: Some(backend.terminating),
        }),
        hostname: backends::hostname(service_name, &backend.pod),
        node_name: backend.pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        target_ref: Some(backends::target(&backend.pod)),
        ..Endpoint::default()
    }
}

fn service_of(entry: &Entry) -> Option<&str> {
    entry.meta.labels.as_ref()?.get(SERVICE_NAME).map(String::as_str)
}

/// Our slices of a Service, by name. Those that somebody else manages are none of our business.
fn existing<'a>(view: &'a View, service: &Key) -> BTreeMap<String, (&'a Entry, &'a EndpointSlice)> {
    view.of_kind_in("discovery.k8s.io", "endpointslices", &service.namespace)
        .filter(|entry| service_of(entry) == Some(&service.name))
        .filter(|entry| {
            let label = entry.meta.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY.0));
            label.map(String::as_str) == Some(MANAGED_BY.1)
        })
        .filter_map(|entry| Some((entry.key.name.clone(), (entry, &**entry.endpoint_slice()?))))
        .collect()
}

/// An endpoint stays in the slice where it is, so that a change of one pod is a change of one slice.
fn reconcile(
    service_key: &Key,
    service: &Service,
    wanted: Groups,
    existing: &BTreeMap<String, (&Entry, &EndpointSlice)>,
) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut kept: BTreeSet<&str> = BTreeSet::new();
    for (group, endpoints) in wanted {
        let ports = slice_ports(&group.1);
        let mut slices: Vec<(&str, Vec<Endpoint>)> = existing
            .iter()
            .filter(|(_, (_, slice))| {
                slice.address_type == group.0 && slice.ports.as_deref().unwrap_or_default() == ports
            })
            .map(|(name, _)| (name.as_str(), Vec::new()))
            .collect();
        let placeholder = endpoints.is_empty();
        // One that stands is emptied: a new one may be refused while disks are short of room, and with it the deletes.
        if placeholder && slices.is_empty() {
            let empties = existing.iter().find(|(_, (_, slice))| slice.address_type == group.0);
            slices.extend(empties.map(|(name, _)| (name.as_str(), Vec::new())));
        }
        let mut rest = settle(endpoints, &mut slices, existing).into_iter();
        for (_, slice) in &mut slices {
            let room = ENDPOINTS_MAX - slice.len();
            slice.extend(rest.by_ref().take(room));
        }
        let rest: Vec<Endpoint> = rest.collect();
        let chunks: Vec<&[Endpoint]> =
            if placeholder && slices.is_empty() { vec![&[]] } else { rest.chunks(ENDPOINTS_MAX).collect() };
        for (index, (name, endpoints)) in slices.into_iter().enumerate() {
            if endpoints.is_empty() && !(placeholder && index == 0) {
                continue;
            }
            kept.insert(name);
            let (entry, before) = existing[name];
            let slice = slice(service_key, service, &group, endpoints, before.metadata.clone());
            if slice != *before {
                let key = slice_key(service_key, name);
                writes.push(Write::Update { key, object: api::object::encode(&slice), at: entry.revision });
            }
        }
        let mut names = (0..).map(|index| slice_name(service_key, service, &group, index));
        for chunk in chunks {
            let Some(name) = names.find(|name| !existing.contains_key(name)) else { break };
            let metadata = ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(service_key.namespace.clone()),
                ..ObjectMeta::default()
            };
            let slice = slice(service_key, service, &group, chunk.to_vec(), metadata);
            writes.push(Write::Create { key: slice_key(service_key, &name), object: api::object::encode(&slice) });
        }
    }
    for (name, (entry, _)) in existing.iter().filter(|(name, _)| !kept.contains(name.as_str())) {
        writes.push(Write::Delete { key: slice_key(service_key, name), at: entry.revision });
    }
    writes
}

/// Puts each endpoint into the slice that has its address and pod already; answers those that none has.
fn settle(
    endpoints: Vec<Endpoint>,
    slices: &mut [(&str, Vec<Endpoint>)],
    existing: &BTreeMap<String, (&Entry, &EndpointSlice)>,
) -> Vec<Endpoint> {
    let mut homes: BTreeMap<String, usize> = BTreeMap::new();
    for (index, (name, _)) in slices.iter().enumerate() {
        for endpoint in existing[*name].1.endpoints.iter().flatten() {
            homes.entry(identity(endpoint)).or_insert(index);
        }
    }
    let mut homeless = Vec::new();
    for endpoint in endpoints {
        match homes.get(&identity(&endpoint)) {
            Some(index) if slices[*index].1.len() < ENDPOINTS_MAX => slices[*index].1.push(endpoint),
            _ => homeless.push(endpoint),
        }
    }
    homeless
}

fn identity(endpoint: &Endpoint) -> String {
    let target = endpoint.target_ref.as_ref().and_then(|target| target.uid.as_deref()).unwrap_or_default();
    format!("{} {target}", endpoint.addresses.join(","))
}

fn slice(
    service_key: &Key,
    service: &Service,
    (family, ports): &Group,
    mut endpoints: Vec<Endpoint>,
    mut metadata: ObjectMeta,
) -> EndpointSlice {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.into(), service_key.name.clone());
    labels.insert(MANAGED_BY.0.into(), MANAGED_BY.1.into());
    if backends::is_headless(service) {
        labels.insert(HEADLESS.into(), String::new());
    }
    metadata.labels = Some(labels);
    metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Service".into(),
        name: service_key.name.clone(),
        uid: service.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }]);
    endpoints.sort_by_key(identity);
    EndpointSlice {
        address_type: (*family).into(),
        endpoints: Some(endpoints),
        ports: Some(slice_ports(ports)),
        metadata,
    }
}

fn slice_ports(ports: &[Port]) -> Vec<EndpointPort> {
    let port = |port: &Port| EndpointPort {
        name: Some(port.name.clone()),
        port: Some(port.number),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    };
    ports.iter().map(port).collect()
}

fn slice_key(service: &Key, name: &str) -> Key {
    Key::new("discovery.k8s.io", "endpointslices", &service.namespace, name)
}

/// Derived from the Service's uid, the group and a number, so that planning twice names the same slice.
fn slice_name(key: &Key, service: &Service, group: &Group, index: u32) -> String {
    let uid = service.metadata.uid.as_deref().unwrap_or_default();
    let hash = format!("{uid} {group:?} {index}")
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{}-{}", key.name, api::object::suffix(hash, 7))
}
