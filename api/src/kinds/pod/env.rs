//! Validation of a container's environment. Pure.

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVarSource, ObjectFieldSelector, ResourceFieldSelector};

use super::resources;
use crate::names;
use crate::status::{FieldErrors, Path};

pub(super) fn validate(container: &Container, path: &Path, errors: &mut FieldErrors) {
    let list = path.field("env");
    for (at, var) in container.env.iter().flatten().enumerate() {
        let path = list.index(at);
        match var.name.as_str() {
            "" => errors.required(&path.field("name"), ""),
            name => errors.invalid_each(&path.field("name"), name, names::env_name(name)),
        }
        if let Some(source) = &var.value_from {
            let path = path.field("valueFrom");
            if var.value.as_deref().is_some_and(|value| !value.is_empty()) {
                errors.invalid(&path, "", "may not be specified when `value` is not empty");
            }
            validate_source(source, &path, errors);
        }
    }
    let list = path.field("envFrom");
    for (at, source) in container.env_from.iter().flatten().enumerate() {
        validate_from(source, &list.index(at), errors);
    }
}

fn validate_source(source: &EnvVarSource, path: &Path, errors: &mut FieldErrors) {
    let EnvVarSource { config_map_key_ref, field_ref, file_key_ref, resource_field_ref, secret_key_ref } = source;
    let count = config_map_key_ref.is_some() as u8
        + field_ref.is_some() as u8
        + file_key_ref.is_some() as u8
        + resource_field_ref.is_some() as u8
        + secret_key_ref.is_some() as u8;
    match count {
        0 => errors.invalid(
            path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        ),
        1 => {}
        _ => errors.invalid(path, "", "may not have more than one field specified at a time"),
    }
    if let Some(field) = field_ref {
        validate_field(field, ENV_FIELDS, &path.field("fieldRef"), errors);
    }
    if let Some(resource) = resource_field_ref {
        validate_resource_field(resource, &path.field("resourceFieldRef"), errors);
    }
    if let Some(key) = config_map_key_ref {
        validate_key(&key.name, &key.key, &path.field("configMapKeyRef"), errors);
    }
    if let Some(key) = secret_key_ref {
        validate_key(&key.name, &key.key, &path.field("secretKeyRef"), errors);
    }
    if let Some(key) = file_key_ref {
        validate_key(&key.volume_name, &key.key, &path.field("fileKeyRef"), errors);
    }
}

fn validate_key(name: &str, key: &str, path: &Path, errors: &mut FieldErrors) {
    if name.is_empty() {
        errors.required(&path.field("name"), "");
    }
    match key {
        "" => errors.required(&path.field("key"), ""),
        key => errors.invalid_each(&path.field("key"), key, names::config_key(key)),
    }
}

/// What the environment may show of the Pod, besides single labels and annotations.
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// What files may show of the Pod.
pub(super) const FILE_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

pub(super) fn validate_field(field: &ObjectFieldSelector, known: &[&str], path: &Path, errors: &mut FieldErrors) {
    let path = path.field("fieldPath");
    let text = field.field_path.as_str();
    if text.is_empty() {
        return errors.required(&path, "");
    }
    // metadata.labels['app']
    let keyed = ["metadata.labels['", "metadata.annotations['"].iter().find_map(|start| text.strip_prefix(start));
    match keyed.and_then(|rest| rest.strip_suffix("']")) {
        Some(key) => errors.invalid_each(&path, key, names::qualified_name(&key.to_lowercase())),
        None if !known.contains(&text) => errors.not_supported(&path, text, known),
        None => {}
    }
}

pub(super) fn validate_resource_field(field: &ResourceFieldSelector, path: &Path, errors: &mut FieldErrors) {
    let known = [
        "limits.cpu",
        "limits.ephemeral-storage",
        "limits.memory",
        "requests.cpu",
        "requests.ephemeral-storage",
        "requests.memory",
    ];
    match field.resource.as_str() {
        "" => errors.required(&path.field("resource"), ""),
        resource if !known.contains(&resource) => errors.not_supported(&path.field("resource"), resource, &known),
        _ => {}
    }
    if let Some(divisor) = &field.divisor {
        resources::quantity(divisor, &path.field("divisor"), errors);
    }
}

fn validate_from(source: &EnvFromSource, path: &Path, errors: &mut FieldErrors) {
    if let Some(prefix) = source.prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
        errors.invalid_each(&path.field("prefix"), prefix, names::env_name(prefix));
    }
    match (&source.config_map_ref, &source.secret_ref) {
        (None, None) => errors.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"),
        (Some(_), Some(_)) => errors.invalid(path, "", "may not have more than one field specified at a time"),
        _ => {}
    }
    let names = [
        ("configMapRef", source.config_map_ref.as_ref().map(|source| &source.name)),
        ("secretRef", source.secret_ref.as_ref().map(|source| &source.name)),
    ];
    for (field, name) in names.iter().filter_map(|(field, name)| name.map(|name| (field, name))) {
        let at = path.field(field);
        match name.as_str() {
            "" => errors.required(&at.field("name"), ""),
            name => errors.invalid_each(&at.field("name"), name, crate::names::dns_subdomain(name)),
        }
    }
}
