//! Addresses and node ports of Services: which are wanted, which may be had. Decides; the caller puts and deletes
//! the claims in the same command as the Service.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::Service;

use super::CLUSTER_IP_NONE;
use crate::key::{CLAIMS, Key};
use crate::object;
use crate::status::{FieldErrors, Path, Status};

/// A name that only one Service may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    ServiceIp(Ipv4Addr),
    NodePort(u16),
}

impl Claim {
    /// `claims/service-ip/-/10.96.0.10`: put with `Absent`, valued with the Service's uid.
    pub fn key(self) -> Key {
        match self {
            Claim::ServiceIp(ip) => Key::new(CLAIMS, "service-ip", "-", &ip.to_string()),
            Claim::NodePort(port) => Key::new(CLAIMS, "node-port", "-", &port.to_string()),
        }
    }
}

/// Service addresses: 10.96.0.0/16 without its first and last.
const NETWORK: u32 = u32::from_be_bytes([10, 96, 0, 0]);
const HOSTS: u32 = (1 << 16) - 2;
const NODE_PORT_FIRST: u16 = 30000;
const NODE_PORT_LAST: u16 = 32767;

/// The Service that is to be stored, and what changes hands with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    pub object: Vec<u8>,
    pub take: Vec<Claim>,
    pub release: Vec<Claim>,
}

/// What a stored Service holds: released when it is removed. Bytes that are no Service hold nothing.
pub fn held(stored: &[u8]) -> Vec<Claim> {
    serde_json::from_slice(stored).map(|service| claims(&service)).unwrap_or_default()
}

/// Fills in the address and the node ports that an admitted Service lacks. `is_taken` says whether a claim exists
/// already; two that race for one are told apart by the claim's precondition, and the loser asks again with
/// another `random`.
pub fn allocate(
    admitted: &[u8],
    old: Option<&[u8]>,
    is_taken: &dyn Fn(Claim) -> bool,
    random: u64,
) -> Result<Allocation, Status> {
    let mut service: Service = serde_json::from_slice(admitted).map_err(Status::internal)?;
    let before = old.map(held).unwrap_or_default();
    let is_free = |claim: Claim| before.contains(&claim) || !is_taken(claim);
    check_asked(&service, &is_free)?;
    let name = service.metadata.name.clone().unwrap_or_default();
    if wants_ip(&service) {
        let ip = pick_ip(random, &is_free).ok_or_else(|| exhausted(&name, "clusterIPs", "IP addresses"))?;
        let spec = service.spec.get_or_insert_default();
        spec.cluster_ip = Some(ip.to_string());
        spec.cluster_ips = Some(vec![ip.to_string()]);
    }
    fill_ports(&mut service, &is_free, random, &name)?;
    let after = claims(&service);
    Ok(Allocation {
        object: object::encode(&service),
        take: after.iter().copied().filter(|claim| !before.contains(claim)).collect(),
        release: before.iter().copied().filter(|claim| !after.contains(claim)).collect(),
    })
}

fn type_of(service: &Service) -> &str {
    service.spec.as_ref().and_then(|spec| spec.type_.as_deref()).unwrap_or("ClusterIP")
}

fn wants_ip(service: &Service) -> bool {
    let ip = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
    type_of(service) != "ExternalName" && ip.is_none_or(str::is_empty)
}

pub(super) fn wants_node_ports(service: &Service) -> bool {
    match type_of(service) {
        "NodePort" => true,
        "LoadBalancer" => service.spec.as_ref().and_then(|spec| spec.allocate_load_balancer_node_ports).unwrap_or(true),
        _ => false,
    }
}

fn claims(service: &Service) -> Vec<Claim> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let ip = spec.cluster_ip.as_deref().filter(|ip| *ip != CLUSTER_IP_NONE).and_then(|ip| ip.parse().ok());
    let ports = spec.ports.iter().flatten().filter_map(|port| u16::try_from(port.node_port?).ok());
    let ports = ports.filter(|port| *port != 0).map(Claim::NodePort);
    let mut all: Vec<Claim> = ip.map(Claim::ServiceIp).into_iter().chain(ports).collect();
    // One port may serve TCP and UDP alike.
    all.sort();
    all.dedup();
    all
}

fn check_asked(service: &Service, is_free: &dyn Fn(Claim) -> bool) -> Result<(), Status> {
    let mut errors = FieldErrors::default();
    let spec = Path::Root.field("spec");
    for claim in claims(service) {
        match claim {
            Claim::ServiceIp(ip) => {
                let path = spec.field("clusterIPs");
                if !(NETWORK + 1..=NETWORK + HOSTS).contains(&u32::from(ip)) {
                    let why = "the provided IP is not in the valid range. The range of valid IPs is 10.96.0.0/16";
                    errors.invalid(&path, vec![ip.to_string()], format!("failed to allocate IP {ip}: {why}"));
                } else if !is_free(claim) {
                    let detail = format!("failed to allocate IP {ip}: provided IP is already allocated");
                    errors.invalid(&path, vec![ip.to_string()], detail);
                }
            }
            Claim::NodePort(port) => {
                let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
                let at = ports.enumerate().find(|(_, found)| found.node_port == Some(port.into()));
                let list = spec.field("ports");
                let entry = list.index(at.map_or(0, |(at, _)| at));
                let path = entry.field("nodePort");
                if !(NODE_PORT_FIRST..=NODE_PORT_LAST).contains(&port) {
                    let detail = format!(
                        "provided port is not in the valid range. The range of valid ports is {NODE_PORT_FIRST}-{NODE_PORT_LAST}"
                    );
                    errors.invalid(&path, port, detail);
                } else if !is_free(claim) {
                    errors.invalid(&path, port, "provided port is already allocated");
                }
            }
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("", "Service", service.metadata.name.as_deref().unwrap_or_default(), errors))
}

fn pick_ip(random: u64, is_free: &dyn Fn(Claim) -> bool) -> Option<Ipv4Addr> {
    let start = (random % HOSTS as u64) as u32;
    let mut candidates = (0..HOSTS).map(|step| Ipv4Addr::from(NETWORK + 1 + (start + step) % HOSTS));
    candidates.find(|ip| *ip != KUBERNETES_IP && is_free(Claim::ServiceIp(*ip)))
}

/// Of the Service `kubernetes` in `default`: given to nobody who does not ask for it by name.
pub const KUBERNETES_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

fn fill_ports(service: &mut Service, is_free: &dyn Fn(Claim) -> bool, random: u64, name: &str) -> Result<(), Status> {
    if !wants_node_ports(service) {
        return Ok(());
    }
    let count = NODE_PORT_LAST - NODE_PORT_FIRST + 1;
    let start = ((random >> 32) % count as u64) as u16;
    let mut used: Vec<i32> = Vec::new();
    let ports = service.spec.get_or_insert_default().ports.get_or_insert_default();
    used.extend(ports.iter().filter_map(|port| port.node_port));
    for port in ports.iter_mut().filter(|port| port.node_port.unwrap_or(0) == 0) {
        let mut candidates = (0..count).map(|step| NODE_PORT_FIRST + (start + step) % count);
        let free = candidates.find(|port| !used.contains(&i32::from(*port)) && is_free(Claim::NodePort(*port)));
        let free = free.ok_or_else(|| exhausted(name, "ports", "node ports"))?;
        used.push(free.into());
        port.node_port = Some(free.into());
    }
    Ok(())
}

fn exhausted(name: &str, field: &str, what: &str) -> Status {
    let mut errors = FieldErrors::default();
    errors.forbidden(&Path::Root.field("spec").field(field), format!("all {what} are allocated"));
    Status::invalid("", "Service", name, errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: &str) -> Vec<u8> {
        format!(r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"a"}},"spec":{{{spec}}}}}"#).into()
    }

    #[test]
    fn every_address_is_given_once_and_then_no_more() {
        let mut taken = std::collections::BTreeSet::new();
        for random in 0..HOSTS as u64 - 1 {
            let ip = pick_ip(random * 7, &|claim| !taken.contains(&claim)).unwrap();
            assert!(ip != KUBERNETES_IP && (NETWORK + 1..=NETWORK + HOSTS).contains(&u32::from(ip)));
            assert!(taken.insert(Claim::ServiceIp(ip)));
        }
        let status = allocate(&service(""), None, &|claim| taken.contains(&claim), 5).unwrap_err();
        assert_eq!(
            status.message,
            r#"Service "a" is invalid: spec.clusterIPs: Forbidden: all IP addresses are allocated"#
        );
    }

    #[test]
    fn the_first_address_is_for_who_asks_for_it() {
        let asked = service(r#""clusterIP":"10.96.0.1""#);
        assert_eq!(allocate(&asked, None, &|_| false, 0).unwrap().take, [Claim::ServiceIp(KUBERNETES_IP)]);
    }

    #[test]
    fn two_ports_of_one_service_get_two_numbers() {
        let asked = service(r#""type":"NodePort","ports":[{"port":1},{"port":2},{"port":3,"nodePort":30001}]"#);
        let allocation = allocate(&asked, None, &|_| false, 0).unwrap();
        let ports: Vec<Claim> = [30000, 30001, 30002].map(Claim::NodePort).into();
        assert_eq!(allocation.take[1..], ports);
    }

    #[test]
    fn a_number_that_was_asked_for_is_had_or_refused() {
        let asked = service(r#""type":"NodePort","ports":[{"port":3,"nodePort":30001}]"#);
        let taken = |claim| claim == Claim::NodePort(30001);
        let status = allocate(&asked, None, &taken, 0).unwrap_err();
        assert!(
            status.message.contains("spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated")
        );
        // Its own claim stands in nobody's way.
        assert_eq!(allocate(&asked, Some(&asked), &taken, 0).unwrap().take.len(), 1);
    }
}
