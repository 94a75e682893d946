//! Validation of Services. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{CLUSTER_IP_NONE, has_node_ports, is_external, type_of};
use crate::kinds::endpoints::{PROTOCOLS, validate_ip};
use crate::kinds::pod::{one_of, validate_port};
use crate::meta;
use crate::names;
use crate::status::{FieldErrors, Path};

pub(super) fn validate(spec: &ServiceSpec, errors: &mut FieldErrors) {
    let path = Path::Root.field("spec");
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    one_of(&spec.type_, &types, &path.field("type"), errors);
    one_of(&spec.session_affinity, &["ClientIP", "None"], &path.field("sessionAffinity"), errors);
    one_of(&spec.internal_traffic_policy, &["Cluster", "Local"], &path.field("internalTrafficPolicy"), errors);
    validate_external_policy(spec, &path, errors);
    if let Some(selector) = &spec.selector {
        meta::validate_labels(selector, &path.field("selector"), errors);
    }
    let client = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    if let Some(seconds) = client.and_then(|client| client.timeout_seconds).filter(|s| !(1..=86_400).contains(s)) {
        let path = path.field("sessionAffinityConfig");
        let path = path.field("clientIP");
        errors.invalid(&path.field("timeoutSeconds"), seconds, "must be greater than 0 and less than 86400");
    }
    validate_ports(spec, &path.field("ports"), errors);
    validate_addresses(spec, &path, errors);
    if is_external(spec) {
        validate_external_name(spec, &path, errors);
    }
}

fn validate_external_policy(spec: &ServiceSpec, path: &Path, errors: &mut FieldErrors) {
    let path = path.field("externalTrafficPolicy");
    let Some(policy) = spec.external_traffic_policy.as_deref().filter(|policy| !policy.is_empty()) else { return };
    let external_ips = spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty());
    if !has_node_ports(spec) && !external_ips {
        errors.invalid(&path, policy, "may only be set for externally-accessible services");
    } else {
        one_of(&spec.external_traffic_policy, &["Cluster", "Local"], &path, errors);
    }
}

fn validate_ports(spec: &ServiceSpec, path: &Path, errors: &mut FieldErrors) {
    let ports = spec.ports.as_deref().unwrap_or_default();
    let is_headless = spec.cluster_ip.as_deref() == Some(CLUSTER_IP_NONE);
    if ports.is_empty() && !is_headless && !is_external(spec) {
        errors.required(path, "");
    }
    let mut seen = BTreeSet::new();
    let mut node_ports = BTreeSet::new();
    let mut port_names = BTreeSet::new();
    for (at, port) in ports.iter().enumerate() {
        let path = path.index(at);
        match port.name.as_deref().unwrap_or_default() {
            "" if ports.len() > 1 => errors.required(&path.field("name"), ""),
            "" => {}
            name => {
                errors.invalid_each(&path.field("name"), name, names::dns_label(name));
                if !port_names.insert(name) {
                    errors.duplicate(&path.field("name"), name);
                }
            }
        }
        validate_one_port(port, spec, &path, errors);
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        if !seen.insert((protocol, port.port)) {
            errors.duplicate(&path, format!("{protocol}/{}", port.port));
        }
        if let Some(number) = port.node_port
            && !node_ports.insert((protocol, number))
        {
            errors.duplicate(&path.field("nodePort"), number);
        }
    }
}

fn validate_one_port(port: &ServicePort, spec: &ServiceSpec, path: &Path, errors: &mut FieldErrors) {
    validate_port(port.port, &path.field("port"), errors);
    one_of(&port.protocol, &PROTOCOLS, &path.field("protocol"), errors);
    match &port.target_port {
        Some(IntOrString::Int(number)) => validate_port(*number, &path.field("targetPort"), errors),
        Some(IntOrString::String(name)) => {
            errors.invalid_each(&path.field("targetPort"), name, names::port_name(name));
        }
        None => {}
    }
    if port.node_port.is_some() && !has_node_ports(spec) {
        let detail = format!("may not be used when `type` is '{}'", type_of(spec));
        errors.forbidden(&path.field("nodePort"), detail);
    }
}

fn validate_addresses(spec: &ServiceSpec, path: &Path, errors: &mut FieldErrors) {
    let list = path.field("clusterIPs");
    let ips = spec.cluster_ips.as_deref().unwrap_or_default();
    match ips {
        [] => {}
        [..] if is_external(spec) => errors.forbidden(&list, "may not be set when `type` is 'ExternalName'"),
        [ip] if ip == CLUSTER_IP_NONE && has_node_ports(spec) => {
            let detail = format!("may not be set to 'None' for {} services", type_of(spec));
            errors.invalid(&list.index(0), ip.as_str(), detail);
        }
        [ip] if ip == CLUSTER_IP_NONE => {}
        [ip] => {
            if ip.parse::<std::net::Ipv4Addr>().is_err() {
                errors.invalid(&list.index(0), ip.as_str(), "must be a valid IPv4 address");
            }
        }
        [..] => errors.invalid(&list, ips, "may only hold one address: this cluster is single-stack"),
    }
    if !is_external(spec) && spec.cluster_ip.as_ref() != ips.first() {
        let detail = "must match the first value in clusterIPs";
        errors.invalid(&path.field("clusterIP"), spec.cluster_ip.as_deref(), detail);
    }
    let families = path.field("ipFamilies");
    for (at, family) in spec.ip_families.iter().flatten().enumerate().filter(|(_, family)| *family != "IPv4") {
        errors.invalid(&families.index(at), family.as_str(), "not configured on this cluster");
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    let at = path.field("ipFamilyPolicy");
    one_of(&spec.ip_family_policy, &policies, &at, errors);
    if spec.ip_family_policy.as_deref() == Some("RequireDualStack") {
        errors.invalid(&at, "RequireDualStack", "this cluster is not configured for dual-stack services");
    }
    let list = path.field("externalIPs");
    for (at, ip) in spec.external_ips.iter().flatten().enumerate() {
        validate_ip(ip, &list.index(at), errors);
    }
}

fn validate_external_name(spec: &ServiceSpec, path: &Path, errors: &mut FieldErrors) {
    let path = path.field("externalName");
    match spec.external_name.as_deref().unwrap_or_default() {
        "" => errors.required(&path, ""),
        name => {
            let bare = name.strip_suffix('.').unwrap_or(name);
            errors.invalid_each(&path, name, names::dns_subdomain(bare));
        }
    }
}

pub(super) fn validate_update(spec: &ServiceSpec, before: &ServiceSpec, errors: &mut FieldErrors) {
    let had = before.cluster_ip.as_deref().is_some_and(|ip| !ip.is_empty());
    if had && !is_external(spec) && !is_external(before) && spec.cluster_ip != before.cluster_ip {
        let ips = spec.cluster_ips.as_deref().unwrap_or_default();
        let path = Path::Root.field("spec");
        errors.invalid(&path.field("clusterIPs").index(0), ips, "may not change once set");
    }
}
