//! The rules for an object's metadata, the same for all kinds. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};

use crate::kinds::{Kind, Request};
use crate::status::{FieldErrors, Path, Status};
use crate::{names, object};

/// All keys and values of an object's annotations together, as in Kubernetes.
pub const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// The body must name the object of the path, or leave it to the path.
pub(crate) fn check_place(kind: &Kind, request: &Request, meta: &mut ObjectMeta) -> Result<(), Status> {
    let namespace = meta.namespace.get_or_insert_default();
    if kind.namespaced {
        if namespace.is_empty() {
            namespace.push_str(request.namespace);
        }
        if namespace != request.namespace {
            return Err(Status::bad_request(format!(
                "the namespace of the provided object ({namespace}) does not match the namespace sent on the request ({})",
                request.namespace
            )));
        }
    }
    if meta.namespace.as_deref() == Some("") {
        meta.namespace = None;
    }
    let name = meta.name.get_or_insert_default();
    if request.name.is_empty() {
        return Ok(());
    }
    if name.is_empty() {
        name.push_str(request.name);
    }
    if name != request.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            request.name
        )));
    }
    Ok(())
}

/// The resourceVersion that a client sent; "" and "0" insist on nothing.
pub(crate) fn sent_revision(meta: &ObjectMeta) -> Result<Option<u64>, Status> {
    match meta.resource_version.as_deref() {
        None | Some("" | "0") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            Status::bad_request(format!("metadata.resourceVersion: Invalid value: {text:?}: must be a whole number"))
        }),
    }
}

/// Identity is the system's to give.
pub(crate) fn begin(meta: &mut ObjectMeta, uid: &str, now: Timestamp, random: u64) {
    if meta.name.as_deref().is_none_or(str::is_empty) {
        let base = meta.generate_name.as_deref().filter(|base| !base.is_empty());
        meta.name = base.map(|base| object::generate_name(base, random));
    }
    meta.uid = Some(uid.into());
    meta.creation_timestamp = Some(Time(now));
    meta.deletion_timestamp = None;
    meta.deletion_grace_period_seconds = None;
    drop_empty(meta);
}

/// What no update changes is taken from the old object.
pub(crate) fn keep(meta: &mut ObjectMeta, old: &ObjectMeta) {
    meta.uid.clone_from(&old.uid);
    meta.creation_timestamp.clone_from(&old.creation_timestamp);
    meta.deletion_timestamp.clone_from(&old.deletion_timestamp);
    meta.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    meta.generation = old.generation;
    meta.generate_name.clone_from(&old.generate_name);
    drop_empty(meta);
}

/// Empty and absent are the same, so that one object has one encoding.
fn drop_empty(meta: &mut ObjectMeta) {
    for map in [&mut meta.labels, &mut meta.annotations] {
        map.take_if(|map| map.is_empty());
    }
    meta.finalizers.take_if(|list| list.is_empty());
    meta.owner_references.take_if(|list| list.is_empty());
    meta.managed_fields.take_if(|list| list.is_empty());
    meta.generate_name.take_if(|name| name.is_empty());
}

pub(crate) fn validate(kind: &Kind, meta: &ObjectMeta, rule: fn(&str) -> Vec<String>, errors: &mut FieldErrors) {
    let root = Path::Root.field("metadata");
    let name = meta.name.as_deref().unwrap_or_default();
    let generate_name = meta.generate_name.as_deref().unwrap_or_default();
    if name.is_empty() {
        errors.required(&root.field("name"), "name or generateName is required");
    } else {
        if !generate_name.is_empty() {
            // A prefix may end in what a name may not: it will not stay the end.
            let filled = format!("{}x", generate_name.trim_end_matches(['-', '.']));
            errors.invalid_each(&root.field("generateName"), generate_name, rule(&filled));
        }
        if errors.is_empty() {
            errors.invalid_each(&root.field("name"), name, rule(name));
        }
    }
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let at = root.field("namespace");
    match (kind.namespaced, namespace) {
        (true, "") => errors.required(&at, ""),
        (true, namespace) => errors.invalid_each(&at, namespace, names::dns_label(namespace)),
        (false, "") => {}
        (false, _) => errors.forbidden(&at, "not allowed on this type"),
    }
    validate_common(meta, &root, errors);
}

pub(crate) fn validate_update(meta: &ObjectMeta, old: &ObjectMeta, errors: &mut FieldErrors) {
    let root = Path::Root.field("metadata");
    validate_common(meta, &root, errors);
    if meta.deletion_timestamp.is_some() {
        let before = old.finalizers.as_deref().unwrap_or_default();
        let added: Vec<&String> = meta.finalizers.iter().flatten().filter(|f| !before.contains(f)).collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
            );
            errors.forbidden(&root.field("finalizers"), detail);
        }
    }
}

fn validate_common(meta: &ObjectMeta, root: &Path, errors: &mut FieldErrors) {
    if let Some(labels) = &meta.labels {
        validate_labels(labels, &root.field("labels"), errors);
    }
    if let Some(annotations) = &meta.annotations {
        validate_annotations(annotations, &root.field("annotations"), errors);
    }
    if let Some(owners) = &meta.owner_references {
        validate_owners(owners, &root.field("ownerReferences"), errors);
    }
    for finalizer in meta.finalizers.iter().flatten() {
        errors.invalid_each(&root.field("finalizers"), finalizer, names::qualified_name(finalizer));
    }
    let propagating = meta.finalizers.iter().flatten().filter(|f| *f == "orphan" || *f == "foregroundDeletion");
    if propagating.count() > 1 {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.invalid(&root.field("finalizers"), meta.finalizers.clone().unwrap_or_default(), detail);
    }
}

pub(crate) fn validate_labels(labels: &BTreeMap<String, String>, path: &Path, errors: &mut FieldErrors) {
    for (key, value) in labels {
        errors.invalid_each(path, key, names::qualified_name(key));
        errors.invalid_each(path, value, names::label_value(value));
    }
}

pub(crate) fn validate_annotations(annotations: &BTreeMap<String, String>, path: &Path, errors: &mut FieldErrors) {
    let mut bytes = 0;
    for (key, value) in annotations {
        bytes += key.len() + value.len();
        // The prefix may have capitals here, unlike in labels.
        errors.invalid_each(path, key, names::qualified_name(&key.to_lowercase()));
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.too_long(path, ANNOTATIONS_BYTES_MAX);
    }
}

fn validate_owners(owners: &[OwnerReference], path: &Path, errors: &mut FieldErrors) {
    let mut controllers = Vec::new();
    for (at, owner) in owners.iter().enumerate() {
        let path = path.index(at);
        let (group, version) = crate::kinds::split_api_version(&owner.api_version);
        if version.is_empty() {
            errors.invalid(&path.field("apiVersion"), owner.api_version.as_str(), "version must not be empty");
        }
        if group.is_empty() && owner.kind == "Event" {
            errors.invalid(&path.field("kind"), "Event", "is disallowed from being an owner");
        }
        for (field, value) in [("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)] {
            if value.is_empty() {
                errors.invalid(&path.field(field), "", "must not be empty");
            }
        }
        if owner.controller == Some(true) {
            controllers.push(owner.name.as_str());
        }
    }
    if controllers.len() > 1 {
        let detail = "Only one reference can have Controller set to true. Found \"true\" in references for";
        errors.invalid(path, controllers.len(), format!("{detail} {}", controllers.join(" and ")));
    }
}
