//! Validation of probes and of lifecycle hooks. Pure.

use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::container::validate_port;
use super::spec::one_of;
use crate::names;
use crate::status::{FieldErrors, Path};

pub(super) fn validate_all(container: &Container, path: &Path, errors: &mut FieldErrors) {
    for (field, probe, is_readiness) in [
        ("livenessProbe", &container.liveness_probe, false),
        ("readinessProbe", &container.readiness_probe, true),
        ("startupProbe", &container.startup_probe, false),
    ] {
        if let Some(probe) = probe {
            validate_probe(probe, is_readiness, &path.field(field), errors);
        }
    }
    if let Some(lifecycle) = &container.lifecycle {
        let path = path.field("lifecycle");
        for (field, hook) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
            if let Some(hook) = hook {
                validate_hook(hook, &path.field(field), errors);
            }
        }
    }
}

fn validate_probe(probe: &Probe, is_readiness: bool, path: &Path, errors: &mut FieldErrors) {
    let set = [probe.exec.is_some(), probe.http_get.is_some(), probe.tcp_socket.is_some(), probe.grpc.is_some()];
    exactly_one(set.iter().filter(|set| **set).count(), path, errors);
    handler(&probe.exec, &probe.http_get, path, errors);
    if let Some(tcp) = &probe.tcp_socket {
        validate_port_reference(&tcp.port, &path.field("tcpSocket").field("port"), errors);
    }
    if let Some(grpc) = &probe.grpc {
        validate_port(grpc.port, &path.field("grpc").field("port"), errors);
    }
    for (field, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        if let Some(value) = value.filter(|value| *value < 0) {
            errors.invalid(&path.field(field), value, "must be greater than or equal to 0");
        }
    }
    if !is_readiness && let Some(count) = probe.success_threshold.filter(|count| *count != 1) {
        errors.invalid(&path.field("successThreshold"), count, "must be 1");
    }
    if let Some(seconds) = probe.termination_grace_period_seconds {
        let path = path.field("terminationGracePeriodSeconds");
        if is_readiness {
            errors.invalid(&path, seconds, "must not be set for readinessProbes");
        } else if seconds <= 0 {
            errors.invalid(&path, seconds, "must be greater than 0");
        }
    }
}

fn validate_hook(hook: &LifecycleHandler, path: &Path, errors: &mut FieldErrors) {
    let set = [hook.exec.is_some(), hook.http_get.is_some(), hook.tcp_socket.is_some(), hook.sleep.is_some()];
    exactly_one(set.iter().filter(|set| **set).count(), path, errors);
    handler(&hook.exec, &hook.http_get, path, errors);
    if let Some(tcp) = &hook.tcp_socket {
        validate_port_reference(&tcp.port, &path.field("tcpSocket").field("port"), errors);
    }
    if let Some(sleep) = hook.sleep.as_ref().filter(|sleep| sleep.seconds < 0) {
        errors.invalid(&path.field("sleep").field("seconds"), sleep.seconds, "must be greater than or equal to 0");
    }
}

fn exactly_one(count: usize, path: &Path, errors: &mut FieldErrors) {
    match count {
        0 => errors.required(path, "must specify a handler type"),
        1 => {}
        _ => errors.forbidden(path, "may not specify more than 1 handler type"),
    }
}

fn handler(exec: &Option<ExecAction>, http: &Option<HTTPGetAction>, path: &Path, errors: &mut FieldErrors) {
    if let Some(exec) = exec
        && exec.command.as_ref().is_none_or(Vec::is_empty)
    {
        errors.required(&path.field("exec").field("command"), "");
    }
    if let Some(http) = http {
        let path = path.field("httpGet");
        validate_port_reference(&http.port, &path.field("port"), errors);
        one_of(&http.scheme, &["HTTP", "HTTPS"], &path.field("scheme"), errors);
        for (at, header) in http.http_headers.iter().flatten().enumerate() {
            let is_token = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if header.name.is_empty() || !header.name.bytes().all(is_token) {
                let detail = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
                errors.invalid(&path.field("httpHeaders").index(at).field("name"), header.name.as_str(), detail);
            }
        }
    }
}

/// A port by number or by the name that the container gives it.
fn validate_port_reference(port: &IntOrString, path: &Path, errors: &mut FieldErrors) {
    match port {
        IntOrString::Int(number) => validate_port(*number, path, errors),
        IntOrString::String(name) => errors.invalid_each(path, name, names::port_name(name)),
    }
}
