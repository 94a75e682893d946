//! How EndpointSlices are printed. Pure.

use super::{AGE, Column, NAME, Printed, Row, cell};
use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;

impl Printed for EndpointSlice {
    const COLUMNS: &'static [Column] = &[
        NAME,
        Column::text("AddressType", "IPv4, IPv6 or FQDN."),
        Column::text("Ports", "The ports that each endpoint serves."),
        Column::text("Endpoints", "The addresses behind the service."),
        AGE,
    ];

    fn row(self, now: Timestamp) -> Row {
        let EndpointSlice { metadata, address_type, ports, endpoints, .. } = self;
        let ports = ports.unwrap_or_default();
        let ports = ports.iter().map(|port| port.port.map_or_else(|| "*".into(), |port| port.to_string()));
        let endpoints = endpoints.unwrap_or_default();
        let addresses = endpoints.iter().flat_map(|endpoint| endpoint.addresses.iter().cloned());
        vec![
            cell::name(&metadata),
            address_type.into(),
            cell::some_of(ports, "<unset>"),
            cell::some_of(addresses, "<unset>"),
            cell::age(&metadata, now),
        ]
        .into()
    }
}
