//! How Services are printed. Pure.

use super::{AGE, Column, NAME, Printed, Row, cell};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Service, ServiceSpec, ServiceStatus};

impl Printed for Service {
    const COLUMNS: &'static [Column] = &[
        NAME,
        Column::text("Type", "ClusterIP, NodePort, LoadBalancer or ExternalName."),
        Column::text("Cluster-IP", "The virtual IP inside the cluster."),
        Column::text("External-IP", "Where it is reached from outside."),
        Column::text("Port(s)", "Its ports; after a colon, the port on every node."),
        AGE,
        Column::text("Selector", "Which Pods stand behind it.").wide(),
    ];

    fn row(self, now: Timestamp) -> Row {
        let Service { metadata, spec, status, .. } = self;
        let (spec, status) = (spec.unwrap_or_default(), status.unwrap_or_default());
        let first_ip = spec.cluster_ips.as_ref().and_then(|ips| ips.first()).or(spec.cluster_ip.as_ref());
        vec![
            cell::name(&metadata),
            spec.type_.clone().unwrap_or_else(|| "ClusterIP".into()).into(),
            cell::or_none(first_ip.map(String::as_str)),
            cell::or_none(Some(&external(&spec, &status))),
            cell::or_none(Some(&ports(&spec))),
            cell::age(&metadata, now),
            cell::labels(spec.selector.as_ref()),
        ]
        .into()
    }
}

fn external(spec: &ServiceSpec, status: &ServiceStatus) -> String {
    let given = spec.external_ips.iter().flatten().cloned();
    match spec.type_.as_deref() {
        Some("ExternalName") => spec.external_name.clone().unwrap_or_default(),
        Some("LoadBalancer") => {
            let ingress = status.load_balancer.iter().flat_map(|balancer| balancer.ingress.iter().flatten());
            let balanced = ingress.filter_map(|ingress| ingress.ip.clone().or_else(|| ingress.hostname.clone()));
            let all: Vec<String> = balanced.chain(given).collect();
            if all.is_empty() { "<pending>".into() } else { all.join(",") }
        }
        _ => given.collect::<Vec<_>>().join(","),
    }
}

/// `80/TCP`, with a node port `80:30080/TCP`.
fn ports(spec: &ServiceSpec) -> String {
    let ports = spec.ports.iter().flatten().map(|port| {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        match port.node_port.unwrap_or(0) {
            0 => format!("{}/{protocol}", port.port),
            node_port => format!("{}:{node_port}/{protocol}", port.port),
        }
    });
    ports.collect::<Vec<_>>().join(",")
}
