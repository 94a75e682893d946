//! Validation of a Pod's spec as a whole. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PodSpec;

use super::{container, scheduling, volume};
use crate::names;
use crate::status::{FieldErrors, Path};

/// For Pods and for templates of Pods; defaults must have been set.
pub(in crate::kinds) fn validate_spec(spec: &PodSpec, path: &Path, errors: &mut FieldErrors) {
    let volumes = volume::validate_all(spec.volumes.as_deref().unwrap_or_default(), &path.field("volumes"), errors);
    container::validate_all(spec, &volumes, path, errors);
    validate_enums(spec, path, errors);
    validate_numbers(spec, path, errors);
    validate_names(spec, path, errors);
    scheduling::validate(spec, path, errors);
    validate_namespaces_of_the_host(spec, path, errors);
    validate_security(spec, path, errors);
}

fn validate_enums(spec: &PodSpec, path: &Path, errors: &mut FieldErrors) {
    one_of(&spec.restart_policy, &["Always", "OnFailure", "Never"], &path.field("restartPolicy"), errors);
    let dns = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(&spec.dns_policy, &dns, &path.field("dnsPolicy"), errors);
    let preemption = ["PreemptLowerPriority", "Never"];
    one_of(&spec.preemption_policy, &preemption, &path.field("preemptionPolicy"), errors);
    let config = path.field("dnsConfig");
    let servers = spec.dns_config.as_ref().and_then(|config| config.nameservers.as_deref()).unwrap_or_default();
    if spec.dns_policy.as_deref() == Some("None") && servers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.required(&config.field("nameservers"), detail);
    }
    for (at, server) in servers.iter().enumerate() {
        if let Some(fault) = names::ip_address(server) {
            errors.invalid(&config.field("nameservers").index(at), server.as_str(), fault);
        }
    }
}

/// An enumeration's value, if one is given.
pub(in crate::kinds) fn one_of(value: &Option<String>, known: &[&str], path: &Path, errors: &mut FieldErrors) {
    if let Some(value) = value.as_deref().filter(|value| !known.contains(value)) {
        errors.not_supported(path, value, known);
    }
}

fn validate_numbers(spec: &PodSpec, path: &Path, errors: &mut FieldErrors) {
    if let Some(seconds) = spec.termination_grace_period_seconds.filter(|seconds| *seconds < 0) {
        let path = path.field("terminationGracePeriodSeconds");
        errors.invalid(&path, seconds, "must be greater than or equal to 0");
    }
    if let Some(seconds) = spec.active_deadline_seconds.filter(|seconds| !(1..=i32::MAX as i64).contains(seconds)) {
        let path = path.field("activeDeadlineSeconds");
        errors.invalid(&path, seconds, "must be between 1 and 2147483647, inclusive");
    }
    for (name, text) in spec.overhead.iter().flatten() {
        super::resources::quantity(text, &path.field("overhead").key(name), errors);
    }
}

fn validate_names(spec: &PodSpec, path: &Path, errors: &mut FieldErrors) {
    let subdomain: fn(&str) -> Vec<String> = names::dns_subdomain;
    for (field, value, rule) in [
        ("nodeName", &spec.node_name, subdomain),
        ("serviceAccountName", &spec.service_account_name, subdomain),
        ("runtimeClassName", &spec.runtime_class_name, subdomain),
        ("priorityClassName", &spec.priority_class_name, subdomain),
        ("schedulerName", &spec.scheduler_name, names::qualified_name),
        ("hostname", &spec.hostname, names::dns_label),
        ("subdomain", &spec.subdomain, names::dns_label),
    ] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            errors.invalid_each(&path.field(field), value, rule(value));
        }
    }
    for (at, secret) in spec.image_pull_secrets.iter().flatten().enumerate() {
        if secret.name.is_empty() {
            errors.required(&path.field("imagePullSecrets").index(at).field("name"), "");
        }
    }
    for (at, alias) in spec.host_aliases.iter().flatten().enumerate() {
        let list = path.field("hostAliases");
        let path = list.index(at);
        if let Some(fault) = names::ip_address(&alias.ip) {
            errors.invalid(&path.field("ip"), alias.ip.as_str(), fault);
        }
        for hostname in alias.hostnames.iter().flatten() {
            errors.invalid_each(&path.field("hostnames"), hostname, names::dns_subdomain(hostname));
        }
    }
    let mut gates = BTreeSet::new();
    for (at, gate) in spec.scheduling_gates.iter().flatten().enumerate() {
        let list = path.field("schedulingGates");
        let path = list.index(at);
        errors.invalid_each(&path, &gate.name, names::qualified_name(&gate.name));
        if !gates.insert(&gate.name) {
            errors.duplicate(&path, gate.name.as_str());
        }
    }
}

fn validate_namespaces_of_the_host(spec: &PodSpec, path: &Path, errors: &mut FieldErrors) {
    if spec.host_pid == Some(true) && spec.share_process_namespace == Some(true) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&path.field("shareProcessNamespace"), true, detail);
    }
}

fn validate_security(spec: &PodSpec, path: &Path, errors: &mut FieldErrors) {
    let Some(context) = &spec.security_context else { return };
    let path = path.field("securityContext");
    for (field, id) in
        [("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group), ("fsGroup", context.fs_group)]
    {
        validate_id(id, &path.field(field), errors);
    }
    for (at, id) in context.supplemental_groups.iter().flatten().enumerate() {
        validate_id(Some(*id), &path.field("supplementalGroups").index(at), errors);
    }
    for (at, sysctl) in context.sysctls.iter().flatten().enumerate() {
        if sysctl.name.is_empty() {
            errors.required(&path.field("sysctls").index(at).field("name"), "");
        }
    }
}

/// A user's or group's number.
pub(super) fn validate_id(id: Option<i64>, path: &Path, errors: &mut FieldErrors) {
    if let Some(id) = id.filter(|id| !(0..=i32::MAX as i64).contains(id)) {
        errors.invalid(path, id, "must be between 0 and 2147483647, inclusive");
    }
}
