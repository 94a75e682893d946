//! The environment variables that tell a container of the Services around it. Pure.

use k8s_openapi::api::core::v1::Service;

/// Of one Service; none for a headless one.
pub fn variables(service: &Service) -> Vec<(String, String)> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let ip = spec.cluster_ip.as_deref().unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    if ip.is_empty() || ip == "None" || ports.is_empty() {
        return Vec::new();
    }
    let prefix = word(service.metadata.name.as_deref().unwrap_or_default());
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let mut list = vec![
        (format!("{prefix}_SERVICE_HOST"), ip.to_owned()),
        (format!("{prefix}_SERVICE_PORT"), ports[0].port.to_string()),
    ];
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            list.push((format!("{prefix}_SERVICE_PORT_{}", word(name)), port.port.to_string()));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{host}:{}", protocol.to_lowercase(), port.port);
        if index == 0 {
            list.push((format!("{prefix}_PORT"), url.clone()));
        }
        let stem = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        list.push((stem.clone(), url));
        list.push((format!("{stem}_PROTO"), protocol.to_lowercase()));
        list.push((format!("{stem}_PORT"), port.port.to_string()));
        list.push((format!("{stem}_ADDR"), ip.to_owned()));
    }
    list
}

fn word(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}
