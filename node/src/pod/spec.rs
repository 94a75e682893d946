//! The containers to make for a Pod: its pause container and its own ones. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod};
use sha2::{Digest as _, Sha256};

use super::fields::Facts;
use super::mounts::{memory_mount, memory_volumes, path_text, source};
use super::security::{security, sysctls};
use super::{ConfigError, Host, Refs, env, expand, name, namespace, on_host_network, resources, spec_of, uid};
use crate::runtime::{
    ContainerId, ContainerSpec, HostPort, Ipc, Labels, Limits, Mount, MountSource, Network, Pid, Role, Security,
};

const HOSTNAME_LENGTH_MAX: usize = 63;
const MESSAGE_PATH: &str = "/dev/termination-log";
/// The name that the pause container goes by among a Pod's containers: no container may be called so.
pub const PAUSE: &str = "POD";

/// Changes when the container must be made anew. Of its definition only the image can change while its Pod lives; all
/// else is left out, so that no default which a newer version adds ends a container.
pub fn hash(container: &Container) -> String {
    let image = container.image.as_deref().unwrap_or_default();
    Sha256::digest(image).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The container that holds a Pod's network and IPC.
pub fn pause(pod: &Pod, host: &Host, attempt: u32) -> ContainerSpec {
    let spec = spec_of(pod);
    let on_host = on_host_network(pod);
    let dns = dns(pod, host);
    ContainerSpec {
        name: container_name(pod, PAUSE, attempt),
        image: host.pause_image.clone(),
        labels: labels(pod, host, PAUSE, Role::Pause, attempt),
        command: Vec::new(),
        args: vec!["pause".into()],
        env: Vec::new(),
        working_dir: None,
        // Memory volumes live as long as some running container has them: this one always runs.
        mounts: memory_volumes(pod)
            .map(|volume| memory_mount(pod, volume, format!("/volumes/{}", volume.name)))
            .collect(),
        network: if on_host { Network::Host } else { Network::Pod(host.pod_network.clone()) },
        ipc: if spec.host_ipc == Some(true) { Ipc::Host } else { Ipc::Shareable },
        pid: if spec.host_pid == Some(true) { Pid::Host } else { Pid::Own },
        hostname: (!on_host).then(|| hostname(pod)),
        extra_hosts: if on_host { Vec::new() } else { extra_hosts(pod) },
        dns_servers: dns.0,
        dns_searches: dns.1,
        dns_options: dns.2,
        ports: if on_host { Vec::new() } else { host_ports(pod) },
        limits: Limits { cpu_shares: 2, ..Limits::default() },
        security: pause_security(pod),
        tty: false,
        stdin: false,
        stdin_once: false,
        keeps_logs: false,
    }
}

/// A pause container needs no rights at all. It gets a filter of system calls only where others may see its process:
/// making the filter is a good part of what a start costs.
fn pause_security(pod: &Pod) -> Security {
    let spec = spec_of(pod);
    let is_seen = spec.host_pid == Some(true) || spec.share_process_namespace == Some(true);
    Security {
        read_only_root: true,
        no_new_privileges: true,
        capabilities_drop: vec!["ALL".into()],
        sysctls: sysctls(pod),
        options: if is_seen { Vec::new() } else { vec!["seccomp=unconfined".into()] },
        ..Security::default()
    }
}

/// What one attempt of a container of a Pod is made from.
pub struct Attempt<'a> {
    pub role: Role,
    pub number: u32,
    pub failures: u32,
    pub sandbox: &'a ContainerId,
    pub pod_ip: Option<IpAddr>,
}

pub fn app(
    pod: &Pod,
    container: &Container,
    host: &Host,
    refs: &Refs<'_>,
    attempt: &Attempt<'_>,
) -> Result<ContainerSpec, ConfigError> {
    let spec = spec_of(pod);
    let facts = Facts { host, pod_ip: attempt.pod_ip };
    let vars = env::resolve(pod, container, refs, &facts)?;
    let lookup = |wanted: &str| vars.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    let expand_all = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| expand(text, lookup)).collect()
    };
    let mut labels = labels(pod, host, &container.name, attempt.role, attempt.number);
    labels.hash = hash(container);
    labels.sandbox = attempt.sandbox.0.clone();
    labels.failures = attempt.failures;
    let mut mounts = Vec::new();
    for wanted in container.volume_mounts.iter().flatten() {
        let sub_path = match (&wanted.sub_path, &wanted.sub_path_expr) {
            (Some(path), _) if !path.is_empty() => path.clone(),
            (_, Some(expression)) => expand(expression, lookup),
            _ => String::new(),
        };
        mounts.push(Mount {
            source: source(pod, host, &wanted.name, &sub_path)?,
            target: wanted.mount_path.clone(),
            read_only: wanted.read_only.unwrap_or(false),
            propagation: wanted.mount_propagation.clone(),
        });
    }
    mounts.push(Mount {
        source: MountSource::Path(path_text(&host.message_path(uid(pod), &container.name, attempt.number))),
        target: container
            .termination_message_path
            .clone()
            .filter(|path| !path.is_empty())
            .unwrap_or(MESSAGE_PATH.into()),
        read_only: false,
        propagation: None,
    });
    Ok(ContainerSpec {
        name: container_name(pod, &container.name, attempt.number),
        image: container.image.clone().unwrap_or_default(),
        labels,
        command: expand_all(&container.command),
        args: expand_all(&container.args),
        working_dir: container.working_dir.clone().filter(|dir| !dir.is_empty()),
        mounts,
        network: if on_host_network(pod) { Network::Host } else { Network::Container(attempt.sandbox.clone()) },
        ipc: if spec.host_ipc == Some(true) { Ipc::Host } else { Ipc::Container(attempt.sandbox.clone()) },
        pid: match (spec.host_pid, spec.share_process_namespace) {
            (Some(true), _) => Pid::Host,
            (_, Some(true)) => Pid::Container(attempt.sandbox.clone()),
            _ => Pid::Own,
        },
        hostname: None,
        extra_hosts: Vec::new(),
        dns_servers: Vec::new(),
        dns_searches: Vec::new(),
        dns_options: Vec::new(),
        ports: Vec::new(),
        limits: resources::limits(pod, container, &host.capacity),
        security: security(pod, container)?,
        tty: container.tty.unwrap_or(false),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        keeps_logs: true,
        env: vars.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
    })
}

fn container_name(pod: &Pod, container: &str, attempt: u32) -> String {
    format!("kontiki_{container}_{}_{}_{}_{attempt}", name(pod), namespace(pod), uid(pod))
}

fn labels(pod: &Pod, host: &Host, container: &str, role: Role, attempt: u32) -> Labels {
    Labels {
        cluster: host.owner.cluster.clone(),
        node: host.owner.node.clone(),
        pod_uid: uid(pod).to_owned(),
        pod_namespace: namespace(pod).to_owned(),
        pod_name: name(pod).to_owned(),
        container: container.to_owned(),
        role,
        attempt,
        hash: String::new(),
        sandbox: String::new(),
        failures: 0,
    }
}

fn hostname(pod: &Pod) -> String {
    let wanted = spec_of(pod).hostname.as_deref().filter(|wanted| !wanted.is_empty()).unwrap_or(name(pod));
    let cut: String = wanted.chars().take(HOSTNAME_LENGTH_MAX).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

fn extra_hosts(pod: &Pod) -> Vec<String> {
    let aliases = spec_of(pod).host_aliases.iter().flatten();
    aliases
        .flat_map(|alias| alias.hostnames.iter().flatten().map(move |hostname| format!("{hostname}:{}", alias.ip)))
        .collect()
}

/// Servers, searches and options.
fn dns(pod: &Pod, host: &Host) -> (Vec<String>, Vec<String>, Vec<String>) {
    let spec = spec_of(pod);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let by_cluster = match policy {
        "ClusterFirst" => !on_host_network(pod),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let (mut servers, mut searches, mut options) = (Vec::new(), Vec::new(), Vec::new());
    if by_cluster && !host.dns_servers.is_empty() {
        let domain = &host.cluster_domain;
        servers = host.dns_servers.clone();
        searches = vec![format!("{}.svc.{domain}", namespace(pod)), format!("svc.{domain}"), domain.clone()];
        options = vec!["ndots:5".into()];
    }
    if let Some(config) = &spec.dns_config {
        servers.extend(config.nameservers.iter().flatten().cloned());
        searches.extend(config.searches.iter().flatten().cloned());
        options.extend(config.options.iter().flatten().map(|option| match &option.value {
            Some(value) => format!("{}:{value}", option.name.as_deref().unwrap_or_default()),
            None => option.name.clone().unwrap_or_default(),
        }));
    }
    (servers, searches, options)
}

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let ports = spec_of(pod).containers.iter().flat_map(|container| container.ports.iter().flatten());
    let wanted = ports.filter_map(|port| {
        Some(HostPort {
            container_port: u16::try_from(port.container_port).ok()?,
            protocol: port.protocol.as_deref().unwrap_or("TCP").to_lowercase(),
            host_ip: port.host_ip.as_deref().and_then(|ip| ip.parse().ok()),
            host_port: u16::try_from(port.host_port?).ok().filter(|port| *port > 0)?,
        })
    });
    wanted.collect()
}
