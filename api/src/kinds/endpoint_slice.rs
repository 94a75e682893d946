//! EndpointSlices: defaults and validation. Pure.

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use super::admit::Rules;
use super::endpoints::{PROTOCOLS, validate_ip};
use super::pod::{one_of, validate_port};
use super::template::validate_immutable;
use crate::names;
use crate::status::{FieldErrors, Path};

/// As in Kubernetes.
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 100;

impl Rules for EndpointSlice {
    fn set_defaults(&mut self) {
        for port in self.ports.iter_mut().flatten() {
            port.name.get_or_insert_default();
            port.protocol.get_or_insert_with(|| "TCP".into());
        }
    }

    fn is_respecified(&self, old: &EndpointSlice) -> Option<bool> {
        Some(self.endpoints != old.endpoints || self.ports != old.ports || self.address_type != old.address_type)
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let root = Path::Root;
        let kinds = ["FQDN", "IPv4", "IPv6"];
        match self.address_type.as_str() {
            "" => errors.required(&root.field("addressType"), ""),
            other if !kinds.contains(&other) => errors.not_supported(&root.field("addressType"), other, &kinds),
            _ => {}
        }
        let list = root.field("endpoints");
        let endpoints = self.endpoints.as_deref().unwrap_or_default();
        if endpoints.len() > ENDPOINTS_MAX {
            errors.too_many(&list, endpoints.len(), ENDPOINTS_MAX);
        }
        for (at, endpoint) in endpoints.iter().enumerate() {
            validate_endpoint(endpoint, &self.address_type, &list.index(at), errors);
        }
        let list = root.field("ports");
        let ports = self.ports.as_deref().unwrap_or_default();
        if ports.len() > PORTS_MAX {
            errors.too_many(&list, ports.len(), PORTS_MAX);
        }
        for (at, port) in ports.iter().enumerate() {
            let path = list.index(at);
            let name = port.name.as_deref().unwrap_or_default();
            if !name.is_empty() {
                errors.invalid_each(&path.field("name"), name, names::dns_label(name));
            }
            if ports[..at].iter().any(|other| other.name == port.name) {
                errors.duplicate(&path.field("name"), name);
            }
            if let Some(number) = port.port {
                validate_port(number, &path.field("port"), errors);
            }
            one_of(&port.protocol, &PROTOCOLS, &path.field("protocol"), errors);
        }
    }

    fn validate_update(&self, old: &EndpointSlice, errors: &mut FieldErrors) {
        validate_immutable(&self.address_type, &old.address_type, &Path::Root.field("addressType"), errors);
    }
}

fn validate_endpoint(endpoint: &Endpoint, address_type: &str, path: &Path, errors: &mut FieldErrors) {
    let list = path.field("addresses");
    match endpoint.addresses.len() {
        0 => errors.required(&list, "must contain at least 1 address"),
        count if count > ADDRESSES_MAX => errors.too_many(&list, count, ADDRESSES_MAX),
        _ => {}
    }
    for (at, address) in endpoint.addresses.iter().enumerate() {
        let path = list.index(at);
        match address_type {
            "FQDN" => errors.invalid_each(&path, address, names::dns_subdomain(address)),
            "IPv4" if address.parse::<std::net::Ipv4Addr>().is_err() => {
                errors.invalid(&path, address.as_str(), "must be a valid IPv4 address");
            }
            "IPv6" if address.parse::<std::net::Ipv6Addr>().is_err() => {
                errors.invalid(&path, address.as_str(), "must be a valid IPv6 address");
            }
            _ => validate_ip(address, &path, errors),
        }
    }
    if let Some(hostname) = endpoint.hostname.as_deref().filter(|hostname| !hostname.is_empty()) {
        errors.invalid_each(&path.field("hostname"), hostname, names::dns_label(hostname));
    }
}
