//! How Endpoints are printed. Pure.

use super::{AGE, Column, NAME, Printed, Row, cell};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EndpointSubset, Endpoints};

impl Printed for Endpoints {
    const COLUMNS: &'static [Column] = &[NAME, Column::text("Endpoints", "The addresses that are ready."), AGE];

    fn row(self, now: Timestamp) -> Row {
        let Endpoints { metadata, subsets, .. } = self;
        let subsets = subsets.unwrap_or_default();
        let addresses = cell::some_of(subsets.iter().flat_map(addresses), cell::NONE);
        vec![cell::name(&metadata), addresses, cell::age(&metadata, now)].into()
    }
}

/// Every address with every port, or the bare addresses where there are no ports.
fn addresses(subset: &EndpointSubset) -> Vec<String> {
    let addresses = || subset.addresses.iter().flatten().map(|address| address.ip.as_str());
    match subset.ports.as_deref().unwrap_or_default() {
        [] => addresses().map(String::from).collect(),
        ports => ports.iter().flat_map(|port| addresses().map(|ip| joined(ip, port.port))).collect(),
    }
}

fn joined(ip: &str, port: i32) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}
