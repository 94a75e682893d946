//! Services: defaults, and what an update keeps. Pure.

use k8s_openapi::api::core::v1::{LoadBalancerStatus, Service, ServicePort, ServiceSpec, ServiceStatus};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::admit::Rules;
use crate::names;
use crate::status::FieldErrors;

pub mod claims;
mod validate;

pub use claims::{Allocation, Claim, allocate, held};

/// The clusterIP of a headless Service.
pub const CLUSTER_IP_NONE: &str = "None";

/// Three hours, as in Kubernetes.
const AFFINITY_TIMEOUT_SECONDS: i32 = 10_800;

impl Rules for Service {
    const NAME: fn(&str) -> Vec<String> = names::dns_1035_label;

    fn keep(&mut self, old: &Service) {
        let (Some(spec), Some(before)) = (&mut self.spec, &old.spec) else { return };
        keep_address(spec, before);
        keep_node_ports(spec, before);
        drop_what_the_type_lacks(spec, before);
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        spec.type_.get_or_insert_with(|| "ClusterIP".into());
        if spec.session_affinity.get_or_insert_with(|| "None".into()) == "ClientIP" {
            let config = spec.session_affinity_config.get_or_insert_default();
            config.client_ip.get_or_insert_default().timeout_seconds.get_or_insert(AFFINITY_TIMEOUT_SECONDS);
        } else {
            spec.session_affinity_config = None;
        }
        for port in spec.ports.iter_mut().flatten() {
            set_port_defaults(port);
        }
        set_traffic_defaults(spec);
        mirror_addresses(spec);
    }

    fn begin(&mut self) {
        self.status =
            Some(ServiceStatus { load_balancer: Some(LoadBalancerStatus::default()), ..ServiceStatus::default() });
    }

    fn swap_status(&mut self, other: &mut Service) {
        std::mem::swap(&mut self.status, &mut other.status);
    }

    fn validate(&self, errors: &mut FieldErrors) {
        validate::validate(self.spec.as_ref().expect("set_defaults makes a spec"), errors);
    }

    fn validate_update(&self, old: &Service, errors: &mut FieldErrors) {
        if let (Some(spec), Some(before)) = (&self.spec, &old.spec) {
            validate::validate_update(spec, before, errors);
        }
    }
}

fn type_of(spec: &ServiceSpec) -> &str {
    spec.type_.as_deref().unwrap_or("ClusterIP")
}

fn is_external(spec: &ServiceSpec) -> bool {
    type_of(spec) == "ExternalName"
}

fn has_node_ports(spec: &ServiceSpec) -> bool {
    matches!(type_of(spec), "NodePort" | "LoadBalancer")
}

fn set_port_defaults(port: &mut ServicePort) {
    port.protocol.get_or_insert_with(|| "TCP".into());
    let is_missing = match &port.target_port {
        None | Some(IntOrString::Int(0)) => true,
        Some(IntOrString::String(name)) => name.is_empty(),
        Some(IntOrString::Int(_)) => false,
    };
    if is_missing {
        port.target_port = Some(IntOrString::Int(port.port));
    }
    port.node_port.take_if(|number| *number == 0);
}

fn set_traffic_defaults(spec: &mut ServiceSpec) {
    if is_external(spec) {
        return;
    }
    spec.internal_traffic_policy.get_or_insert_with(|| "Cluster".into());
    spec.ip_families.take_if(|families| families.is_empty());
    spec.ip_families.get_or_insert_with(|| vec!["IPv4".into()]);
    spec.ip_family_policy.get_or_insert_with(|| "SingleStack".into());
    if has_node_ports(spec) {
        spec.external_traffic_policy.get_or_insert_with(|| "Cluster".into());
    }
    if type_of(spec) == "LoadBalancer" {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
}

/// clusterIP and the first of clusterIPs are one thing; a writer may give either.
fn mirror_addresses(spec: &mut ServiceSpec) {
    spec.cluster_ip.take_if(|ip| ip.is_empty());
    spec.cluster_ips.take_if(|ips| ips.is_empty());
    match (&spec.cluster_ip, &spec.cluster_ips) {
        (Some(ip), None) => spec.cluster_ips = Some(vec![ip.clone()]),
        (None, Some(ips)) => spec.cluster_ip = ips.first().cloned(),
        _ => {}
    }
}

fn keep_address(spec: &mut ServiceSpec, before: &ServiceSpec) {
    if is_external(spec) || is_external(before) {
        return;
    }
    let sent_ip = spec.cluster_ip.as_deref().is_some_and(|ip| !ip.is_empty());
    let sent_ips = spec.cluster_ips.as_ref().is_some_and(|ips| !ips.is_empty());
    if !sent_ip && !sent_ips {
        spec.cluster_ip.clone_from(&before.cluster_ip);
    }
    if !sent_ips && spec.cluster_ip == before.cluster_ip {
        spec.cluster_ips.clone_from(&before.cluster_ips);
    }
}

fn keep_node_ports(spec: &mut ServiceSpec, before: &ServiceSpec) {
    if !has_node_ports(spec) || !has_node_ports(before) {
        return;
    }
    fn identity(port: &ServicePort) -> (&str, i32) {
        (port.protocol.as_deref().unwrap_or("TCP"), port.port)
    }
    let ports = spec.ports.get_or_insert_default();
    let taken: Vec<i32> = ports.iter().filter_map(|port| port.node_port).collect();
    for port in ports.iter_mut().filter(|port| port.node_port.unwrap_or(0) == 0) {
        let old = before.ports.iter().flatten().find(|old| identity(old) == identity(port));
        port.node_port = old.and_then(|old| old.node_port).filter(|number| !taken.contains(number));
    }
}

/// What only the old type of the Service had goes with it, unless the writer gives it anew.
fn drop_what_the_type_lacks(spec: &mut ServiceSpec, before: &ServiceSpec) {
    if is_external(spec) && !is_external(before) {
        spec.cluster_ip.take_if(|ip| Some(&*ip) == before.cluster_ip.as_ref());
        spec.cluster_ips.take_if(|ips| Some(&*ips) == before.cluster_ips.as_ref());
        spec.ip_families.take_if(|families| Some(&*families) == before.ip_families.as_ref());
        spec.ip_family_policy.take_if(|policy| Some(&*policy) == before.ip_family_policy.as_ref());
        spec.internal_traffic_policy.take_if(|policy| Some(&*policy) == before.internal_traffic_policy.as_ref());
    }
    if has_node_ports(before) && !has_node_ports(spec) {
        spec.external_traffic_policy.take_if(|policy| Some(&*policy) == before.external_traffic_policy.as_ref());
        let old: Vec<i32> = before.ports.iter().flatten().filter_map(|port| port.node_port).collect();
        for port in spec.ports.iter_mut().flatten() {
            port.node_port.take_if(|number| old.contains(number));
        }
    }
    if type_of(spec) != "LoadBalancer" {
        spec.allocate_load_balancer_node_ports
            .take_if(|allocates| Some(*allocates) == before.allocate_load_balancer_node_ports);
    }
}
