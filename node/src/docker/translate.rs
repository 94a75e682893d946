//! A container of ours in the engine's words. Decides nothing, asks nobody. Pure.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount as EngineMount, MountBindOptions,
    MountBindOptionsPropagationEnum, MountType, MountVolumeOptions, MountVolumeOptionsDriverConfig, PortBinding,
};

use crate::runtime::{ContainerSpec, Ipc, Mount, MountSource, Network, Pid};

/// The CFS period: the kernel's default.
const CPU_PERIOD_US: i64 = 100_000;
/// Per container; the engine keeps so many files of so many bytes and drops the oldest.
const LOG_BYTES_MAX: &str = "10m";
const LOG_FILES_MAX: &str = "3";

pub fn body(spec: &ContainerSpec) -> ContainerCreateBody {
    ContainerCreateBody {
        hostname: spec.hostname.clone(),
        user: spec.security.user.clone(),
        tty: Some(spec.tty),
        open_stdin: Some(spec.stdin),
        stdin_once: Some(spec.stdin_once),
        env: some(&spec.env),
        entrypoint: some(&spec.command),
        // A command without arguments must not inherit the image's.
        cmd: if spec.command.is_empty() { some(&spec.args) } else { Some(spec.args.clone()) },
        image: Some(spec.image.clone()),
        working_dir: spec.working_dir.clone(),
        labels: Some(spec.labels.to_map().into_iter().collect()),
        exposed_ports: some(&spec.ports.iter().map(port_name).collect::<Vec<_>>()),
        host_config: Some(host_config(spec)),
        ..Default::default()
    }
}

fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    if list.is_empty() { None } else { Some(list.to_vec()) }
}

fn host_config(spec: &ContainerSpec) -> HostConfig {
    let limits = &spec.limits;
    let security = &spec.security;
    let mut options = security.options.clone();
    if security.no_new_privileges {
        options.push("no-new-privileges".into());
    }
    let positive = |number: u64| (number > 0).then_some(number as i64);
    HostConfig {
        cpu_shares: positive(limits.cpu_shares),
        cpu_period: (limits.cpu_milli_max > 0).then_some(CPU_PERIOD_US),
        cpu_quota: (limits.cpu_milli_max > 0).then(|| (limits.cpu_milli_max as i64 * CPU_PERIOD_US / 1000).max(1000)),
        memory: positive(limits.memory_bytes_max),
        // The same as memory: no swap, so that a limit means what it says.
        memory_swap: positive(limits.memory_bytes_max),
        oom_score_adj: (limits.oom_score_adj > 0).then_some(limits.oom_score_adj as i64),
        log_config: Some(log_config(spec.keeps_logs)),
        network_mode: Some(match &spec.network {
            Network::Host => "host".into(),
            Network::Pod(name) => name.clone(),
            Network::Container(id) => format!("container:{id}"),
        }),
        ipc_mode: Some(match &spec.ipc {
            Ipc::Host => "host".into(),
            Ipc::Shareable => "shareable".into(),
            Ipc::Container(id) => format!("container:{id}"),
        }),
        pid_mode: match &spec.pid {
            Pid::Own => None,
            Pid::Host => Some("host".into()),
            Pid::Container(id) => Some(format!("container:{id}")),
        },
        port_bindings: port_bindings(spec),
        mounts: some(&spec.mounts.iter().map(mount).collect::<Vec<_>>()),
        extra_hosts: some(&spec.extra_hosts),
        dns: some(&spec.dns_servers),
        dns_search: some(&spec.dns_searches),
        dns_options: some(&spec.dns_options),
        group_add: some(&security.groups),
        privileged: security.privileged.then_some(true),
        readonly_rootfs: security.read_only_root.then_some(true),
        cap_add: some(&security.capabilities_add),
        cap_drop: some(&security.capabilities_drop),
        security_opt: some(&options),
        sysctls: (!security.sysctls.is_empty()).then(|| security.sysctls.clone().into_iter().collect()),
        ..Default::default()
    }
}

fn log_config(keeps_logs: bool) -> HostConfigLogConfig {
    if !keeps_logs {
        return HostConfigLogConfig { typ: Some("none".into()), config: None };
    }
    let limits = [("max-size", LOG_BYTES_MAX), ("max-file", LOG_FILES_MAX)];
    HostConfigLogConfig {
        typ: Some("json-file".into()),
        config: Some(limits.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
    }
}

fn port_name(port: &crate::runtime::HostPort) -> String {
    format!("{}/{}", port.container_port, port.protocol)
}

fn port_bindings(spec: &ContainerSpec) -> Option<HashMap<String, Option<Vec<PortBinding>>>> {
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in &spec.ports {
        let binding =
            PortBinding { host_ip: port.host_ip.map(|ip| ip.to_string()), host_port: Some(port.host_port.to_string()) };
        bindings.entry(port_name(port)).or_default().get_or_insert_with(Vec::new).push(binding);
    }
    (!bindings.is_empty()).then_some(bindings)
}

fn mount(mount: &Mount) -> EngineMount {
    let base = EngineMount {
        target: Some(mount.target.clone()),
        read_only: mount.read_only.then_some(true),
        ..Default::default()
    };
    match &mount.source {
        MountSource::Path(path) => EngineMount {
            typ: Some(MountType::BIND),
            source: Some(path.clone()),
            bind_options: propagation(mount.propagation.as_deref())
                .map(|propagation| MountBindOptions { propagation: Some(propagation), ..Default::default() }),
            ..base
        },
        MountSource::Memory { name, size_bytes } => {
            let size = size_bytes.map(|bytes| format!("size={bytes}")).unwrap_or_default();
            let options = [("type", "tmpfs".to_owned()), ("device", "tmpfs".to_owned()), ("o", size)];
            EngineMount {
                typ: Some(MountType::VOLUME),
                source: Some(name.clone()),
                volume_options: Some(MountVolumeOptions {
                    no_copy: Some(true),
                    driver_config: Some(MountVolumeOptionsDriverConfig {
                        name: Some("local".into()),
                        options: Some(
                            options
                                .into_iter()
                                .filter(|(_, value)| !value.is_empty())
                                .map(|(key, value)| (key.to_owned(), value))
                                .collect(),
                        ),
                    }),
                    ..Default::default()
                }),
                ..base
            }
        }
    }
}

fn propagation(word: Option<&str>) -> Option<MountBindOptionsPropagationEnum> {
    match word? {
        "HostToContainer" => Some(MountBindOptionsPropagationEnum::RSLAVE),
        "Bidirectional" => Some(MountBindOptionsPropagationEnum::RSHARED),
        _ => None,
    }
}
