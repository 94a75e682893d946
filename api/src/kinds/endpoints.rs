//! Endpoints: defaults and validation; and what they share with EndpointSlices. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{EndpointSubset, Endpoints};

use super::admit::Rules;
use super::pod::validate_port;
use crate::names;
use crate::status::{FieldErrors, Path};

pub(super) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

impl Rules for Endpoints {
    fn set_defaults(&mut self) {
        for port in self.subsets.iter_mut().flatten().filter_map(|subset| subset.ports.as_mut()).flatten() {
            port.protocol.get_or_insert_with(|| "TCP".into());
        }
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let list = Path::Root.field("subsets");
        for (at, subset) in self.subsets.iter().flatten().enumerate() {
            validate_subset(subset, &list.index(at), errors);
        }
    }
}

fn validate_subset(subset: &EndpointSubset, path: &Path, errors: &mut FieldErrors) {
    let ready = subset.addresses.as_deref().unwrap_or_default();
    let not_ready = subset.not_ready_addresses.as_deref().unwrap_or_default();
    if ready.is_empty() && not_ready.is_empty() {
        errors.required(path, "must specify `addresses` or `notReadyAddresses`");
    }
    for (field, addresses) in [("addresses", ready), ("notReadyAddresses", not_ready)] {
        let list = path.field(field);
        for (at, address) in addresses.iter().enumerate() {
            let path = list.index(at);
            validate_ip(&address.ip, &path.field("ip"), errors);
            if let Some(hostname) = address.hostname.as_deref().filter(|hostname| !hostname.is_empty()) {
                errors.invalid_each(&path.field("hostname"), hostname, names::dns_label(hostname));
            }
        }
    }
    let list = path.field("ports");
    let ports = subset.ports.as_deref().unwrap_or_default();
    for (at, port) in ports.iter().enumerate() {
        let path = list.index(at);
        match port.name.as_deref().unwrap_or_default() {
            "" if ports.len() > 1 => errors.required(&path.field("name"), ""),
            "" => {}
            name => errors.invalid_each(&path.field("name"), name, names::dns_label(name)),
        }
        validate_port(port.port, &path.field("port"), errors);
        super::pod::one_of(&port.protocol, &PROTOCOLS, &path.field("protocol"), errors);
    }
}

/// An address that a Service may send traffic to: nobody's own loopback, nothing local to a link.
pub(super) fn validate_ip(text: &str, path: &Path, errors: &mut FieldErrors) {
    let Ok(ip) = text.parse::<IpAddr>() else {
        return errors.invalid(path, text, names::ip_address(text).unwrap_or_default());
    };
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if ip.is_unspecified() {
        errors.invalid(path, text, format!("may not be unspecified ({text})"));
    } else if ip.is_loopback() {
        errors.invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    } else if is_link_local {
        errors.invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
}
