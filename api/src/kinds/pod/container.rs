//! Validation of containers: names, images, ports, mounts. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec, VolumeMount};

use super::spec::{one_of, validate_id};
use super::{env, probe, resources};
use crate::names;
use crate::status::{FieldErrors, Path};

/// `volumes` are the names that mounts may refer to.
pub(super) fn validate_all(spec: &PodSpec, volumes: &BTreeSet<&str>, path: &Path, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    let mut host_ports = BTreeSet::new();
    let on_host_network = spec.host_network == Some(true);
    let init = path.field("initContainers");
    for (at, container) in spec.init_containers.iter().flatten().enumerate() {
        let path = init.index(at);
        validate(container, volumes, on_host_network, &path, errors);
        validate_init(container, &path, errors);
        unique_name(container, &mut seen, &path, errors);
    }
    let list = path.field("containers");
    if spec.containers.is_empty() {
        errors.required(&list, "");
    }
    for (at, container) in spec.containers.iter().enumerate() {
        let path = list.index(at);
        validate(container, volumes, on_host_network, &path, errors);
        unique_name(container, &mut seen, &path, errors);
        unique_host_ports(container, &mut host_ports, &path, errors);
        one_of(&container.restart_policy, &["Always", "OnFailure", "Never"], &path.field("restartPolicy"), errors);
    }
}

fn unique_name<'a>(container: &'a Container, seen: &mut BTreeSet<&'a str>, path: &Path, errors: &mut FieldErrors) {
    if !container.name.is_empty() && !seen.insert(&container.name) {
        errors.duplicate(&path.field("name"), container.name.as_str());
    }
}

fn unique_host_ports(container: &Container, seen: &mut BTreeSet<String>, path: &Path, errors: &mut FieldErrors) {
    let list = path.field("ports");
    for (at, port) in container.ports.iter().flatten().enumerate() {
        let Some(number) = port.host_port.filter(|number| *number != 0) else { continue };
        let (protocol, ip) = (port.protocol.as_deref().unwrap_or("TCP"), port.host_ip.as_deref().unwrap_or(""));
        let taken = format!("{protocol}/{ip}/{number}");
        if seen.contains(&taken) {
            errors.duplicate(&list.index(at).field("hostPort"), taken.as_str());
        }
        seen.insert(taken);
    }
}

fn validate(
    container: &Container,
    volumes: &BTreeSet<&str>,
    on_host_network: bool,
    path: &Path,
    errors: &mut FieldErrors,
) {
    match container.name.as_str() {
        "" => errors.required(&path.field("name"), ""),
        name => errors.invalid_each(&path.field("name"), name, names::dns_label(name)),
    }
    match container.image.as_deref().unwrap_or_default() {
        // Often the line is there, but indented as a neighbour of the list instead of as part of its entry.
        "" => errors.required(&path.field("image"), "every container needs an image, indented like its name"),
        image if image.trim() != image => {
            errors.invalid(&path.field("image"), image, "must not have leading or trailing whitespace");
        }
        _ => {}
    }
    let policies = ["Always", "Never", "IfNotPresent"];
    one_of(&container.image_pull_policy, &policies, &path.field("imagePullPolicy"), errors);
    let policies = ["File", "FallbackToLogsOnError"];
    one_of(&container.termination_message_policy, &policies, &path.field("terminationMessagePolicy"), errors);
    validate_ports(container.ports.as_deref().unwrap_or_default(), on_host_network, &path.field("ports"), errors);
    env::validate(container, path, errors);
    validate_mounts(
        container.volume_mounts.as_deref().unwrap_or_default(),
        volumes,
        &path.field("volumeMounts"),
        errors,
    );
    if let Some(requirements) = &container.resources {
        resources::validate(requirements, &path.field("resources"), errors);
    }
    probe::validate_all(container, path, errors);
    validate_security(container, path, errors);
}

fn validate_init(container: &Container, path: &Path, errors: &mut FieldErrors) {
    one_of(&container.restart_policy, &["Always"], &path.field("restartPolicy"), errors);
    if container.restart_policy.is_some() {
        return;
    }
    for (field, is_set) in [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ] {
        if is_set {
            errors.forbidden(&path.field(field), "may not be set for init containers without restartPolicy=Always");
        }
    }
}

fn validate_ports(ports: &[ContainerPort], on_host_network: bool, path: &Path, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (at, port) in ports.iter().enumerate() {
        let path = path.index(at);
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let faults = names::port_name(name);
            if faults.is_empty() && !seen.insert(name) {
                errors.duplicate(&path.field("name"), name);
            }
            errors.invalid_each(&path.field("name"), name, faults);
        }
        match port.container_port {
            0 => errors.required(&path.field("containerPort"), ""),
            number => validate_port(number, &path.field("containerPort"), errors),
        }
        if let Some(host_port) = port.host_port.filter(|number| *number != 0) {
            validate_port(host_port, &path.field("hostPort"), errors);
            if on_host_network && host_port != port.container_port {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.invalid(&path.field("hostPort"), host_port, detail);
            }
        }
        if let Some(ip) = port.host_ip.as_deref().filter(|ip| !ip.is_empty())
            && let Some(fault) = names::ip_address(ip)
        {
            errors.invalid(&path.field("hostIP"), ip, fault);
        }
        one_of(&port.protocol, &["SCTP", "TCP", "UDP"], &path.field("protocol"), errors);
    }
}

pub(in crate::kinds) fn validate_port(number: i32, path: &Path, errors: &mut FieldErrors) {
    if let Some(fault) = names::port_number(number) {
        errors.invalid(path, number, fault);
    }
}

fn validate_mounts(mounts: &[VolumeMount], volumes: &BTreeSet<&str>, path: &Path, errors: &mut FieldErrors) {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, mount) in mounts.iter().enumerate() {
        let path = path.index(at);
        match mount.name.as_str() {
            "" => errors.required(&path.field("name"), ""),
            name if !volumes.contains(name) => errors.not_found(&path.field("name"), name),
            _ => {}
        }
        match mount.mount_path.as_str() {
            "" => errors.required(&path.field("mountPath"), ""),
            place if places.insert(place, at).is_some() => {
                errors.invalid(&path.field("mountPath"), place, "must be unique");
            }
            _ => {}
        }
        if mount.sub_path.is_some() && mount.sub_path_expr.is_some() {
            let value = mount.sub_path_expr.as_deref();
            errors.invalid(&path.field("subPathExpr"), value, "subPathExpr and subPath are mutually exclusive");
        }
        for (field, sub) in [("subPath", &mount.sub_path), ("subPathExpr", &mount.sub_path_expr)] {
            if let Some(sub) = sub {
                inside(sub, &path.field(field), errors);
            }
        }
        let known = ["None", "HostToContainer", "Bidirectional"];
        one_of(&mount.mount_propagation, &known, &path.field("mountPropagation"), errors);
    }
}

/// A path that stays below the place it is taken from.
pub(super) fn inside(value: &str, path: &Path, errors: &mut FieldErrors) {
    if value.starts_with('/') {
        errors.invalid(path, value, "must be a relative path");
    }
    if value.split('/').any(|part| part == "..") {
        errors.invalid(path, value, "must not contain '..'");
    }
}

fn validate_security(container: &Container, path: &Path, errors: &mut FieldErrors) {
    let Some(context) = &container.security_context else { return };
    let path = path.field("securityContext");
    validate_id(context.run_as_user, &path.field("runAsUser"), errors);
    validate_id(context.run_as_group, &path.field("runAsGroup"), errors);
    if context.privileged == Some(true) && context.allow_privilege_escalation == Some(false) {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.invalid(&path, serde_json::to_value(context).unwrap_or_default(), detail);
    }
}
