//! The pods behind a Service, as both kinds of endpoints describe them. Pure, decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Key;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::scheduler::facts::is_finished;
use crate::view::{Change, View};

/// One pod with an address, that the Service's selector matches.
#[derive(Clone, Debug)]
pub struct Backend {
    pub pod: Arc<Pod>,
    pub address: String,
    /// Takes new connections: serving and not terminating, or the Service does not care.
    pub ready: bool,
    /// The pod's own readiness.
    pub serving: bool,
    pub terminating: bool,
    /// What the Service's ports are on this pod. A named port that the pod lacks is left out.
    pub ports: Vec<Port>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    pub name: String,
    pub number: i32,
    pub protocol: String,
    pub app_protocol: Option<String>,
}

/// Sorted by address, then by the pod's key.
pub fn backends(service: &Service, key: &Key, view: &View) -> Vec<Backend> {
    let Some(selector) = selector(service) else { return Vec::new() };
    let unready_too = service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
    let pods = view.pods_in(&key.namespace).filter_map(|entry| entry.pod());
    let mut found: Vec<Backend> =
        pods.filter(|pod| matches(selector, pod)).filter_map(|pod| backend(service, pod, unready_too)).collect();
    // Stable: pods that claim the same address stay in the order of their names.
    found.sort_by(|one, other| one.address.cmp(&other.address));
    found
}

/// `None`: somebody else says what is behind the Service, or it is only a name.
pub fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    let spec = service.spec.as_ref()?;
    let is_alias = spec.type_.as_deref() == Some("ExternalName");
    spec.selector.as_ref().filter(|selector| !selector.is_empty() && !is_alias)
}

/// The Services that a change of a pod concerns: by its labels before and after.
pub fn services_of(change: &Change, view: &View) -> Vec<Key> {
    let pods: Vec<&Arc<Pod>> = change.sides().filter_map(|entry| entry.pod()).collect();
    let selects =
        |service: &Service| selector(service).is_some_and(|selector| pods.iter().any(|pod| matches(selector, pod)));
    view.services_in(&change.key.namespace)
        .filter(|entry| entry.service().is_some_and(|service| selects(service)))
        .map(|entry| Key::clone(&entry.key))
        .collect()
}

pub fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// The API's own Service, behind which stand the replicas.
pub fn is_api(key: &Key) -> bool {
    key.namespace == "default" && key.name == "kubernetes"
}

pub fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The name under which DNS knows a pod of a headless Service.
pub fn hostname(service_name: &str, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let named = spec.subdomain.as_deref() == Some(service_name);
    spec.hostname.clone().filter(|hostname| named && !hostname.is_empty())
}

/// The name of the port, as a Service without a name for its only port has it.
pub fn port(service_port: &ServicePort, number: i32) -> Port {
    Port {
        name: service_port.name.clone().unwrap_or_default(),
        number,
        protocol: protocol(service_port).into(),
        app_protocol: service_port.app_protocol.clone(),
    }
}

fn matches(selector: &BTreeMap<String, String>, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

fn backend(service: &Service, pod: &Arc<Pod>, unready_too: bool) -> Option<Backend> {
    let status = pod.status.as_ref()?;
    let address = status.pod_ip.clone().filter(|address| !address.is_empty())?;
    if is_finished(pod) {
        return None;
    }
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let mut conditions = status.conditions.iter().flatten();
    let serving = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
    Some(Backend {
        address,
        serving,
        terminating,
        ready: unready_too || serving && !terminating,
        ports: ports(service, pod),
        pod: pod.clone(),
    })
}

fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let wanted = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let mut ports: Vec<Port> = wanted.filter_map(|wanted| Some(port(wanted, target_port(wanted, pod)?))).collect();
    ports.sort();
    ports
}

fn target_port(wanted: &ServicePort, pod: &Pod) -> Option<i32> {
    match &wanted.target_port {
        None | Some(IntOrString::Int(0)) => Some(wanted.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => named_port(pod, name, protocol(wanted)),
    }
}

fn named_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars =
        spec.init_containers.iter().flatten().filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter(|port| port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol)
        .map(|port| port.container_port)
        .next()
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}
