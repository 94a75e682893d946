//! Validation of a Pod's volumes. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, ProjectedVolumeSource, Volume};
use serde_json::Value;

use super::container::inside;
use super::{env, resources, spec};
use crate::names;
use crate::status::{FieldErrors, Path};

/// Answers the names that mounts may refer to.
pub(super) fn validate_all<'a>(volumes: &'a [Volume], path: &Path, errors: &mut FieldErrors) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (at, volume) in volumes.iter().enumerate() {
        let path = path.index(at);
        match volume.name.as_str() {
            "" => errors.required(&path.field("name"), ""),
            name => {
                errors.invalid_each(&path.field("name"), name, names::dns_label(name));
                if !seen.insert(name) {
                    errors.duplicate(&path.field("name"), name);
                }
            }
        }
        validate(volume, &path, errors);
    }
    seen
}

fn validate(volume: &Volume, path: &Path, errors: &mut FieldErrors) {
    if sources(volume) > 1 {
        errors.forbidden(path, "may not specify more than 1 volume type");
    }
    if let Some(host_path) = &volume.host_path {
        let at = path.field("hostPath");
        let place = at.field("path");
        match host_path.path.as_str() {
            "" => errors.required(&place, ""),
            text if !text.starts_with('/') => errors.invalid(&place, text, "must be an absolute path"),
            text if text.split('/').any(|part| part == "..") => errors.invalid(&place, text, "must not contain '..'"),
            _ => {}
        }
        let known =
            ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];
        spec::one_of(&host_path.type_, &known, &at.field("type"), errors);
    }
    if let Some(size) = volume.empty_dir.as_ref().and_then(|source| source.size_limit.as_ref()) {
        resources::quantity(size, &path.field("emptyDir").field("sizeLimit"), errors);
    }
    if let Some(source) = &volume.config_map {
        let at = path.field("configMap");
        if source.name.is_empty() {
            errors.required(&at.field("name"), "");
        }
        validate_files(source.default_mode, &source.items, &at, errors);
    }
    if let Some(source) = &volume.secret {
        let at = path.field("secret");
        if source.secret_name.as_deref().is_none_or(str::is_empty) {
            errors.required(&at.field("secretName"), "");
        }
        validate_files(source.default_mode, &source.items, &at, errors);
    }
    if let Some(source) = &volume.downward_api {
        let at = path.field("downwardAPI");
        validate_mode(source.default_mode, &at.field("defaultMode"), errors);
        validate_downward(source.items.as_deref().unwrap_or_default(), &at.field("items"), errors);
    }
    if let Some(source) = &volume.projected {
        validate_projected(source, &path.field("projected"), errors);
    }
    if let Some(claim) = &volume.persistent_volume_claim
        && claim.claim_name.is_empty()
    {
        errors.required(&path.field("persistentVolumeClaim").field("claimName"), "");
    }
    if let Some(nfs) = &volume.nfs {
        let at = path.field("nfs");
        for (field, value) in [("server", &nfs.server), ("path", &nfs.path)] {
            if value.is_empty() {
                errors.required(&at.field(field), "");
            }
        }
    }
}

/// How many kinds of volume it claims to be, those included that are only passed on.
fn sources(volume: &Volume) -> usize {
    match serde_json::to_value(volume) {
        Ok(Value::Object(fields)) => fields.keys().filter(|key| *key != "name").count(),
        _ => 0,
    }
}

fn validate_files(mode: Option<i32>, items: &Option<Vec<KeyToPath>>, path: &Path, errors: &mut FieldErrors) {
    validate_mode(mode, &path.field("defaultMode"), errors);
    let list = path.field("items");
    for (at, item) in items.iter().flatten().enumerate() {
        let path = list.index(at);
        if item.key.is_empty() {
            errors.required(&path.field("key"), "");
        }
        validate_place(&item.path, &path.field("path"), errors);
        validate_mode(item.mode, &path.field("mode"), errors);
    }
}

fn validate_place(place: &str, path: &Path, errors: &mut FieldErrors) {
    match place {
        "" => errors.required(path, ""),
        place => inside(place, path, errors),
    }
}

fn validate_mode(mode: Option<i32>, path: &Path, errors: &mut FieldErrors) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

fn validate_downward(items: &[DownwardAPIVolumeFile], path: &Path, errors: &mut FieldErrors) {
    for (at, item) in items.iter().enumerate() {
        let path = path.index(at);
        validate_place(&item.path, &path.field("path"), errors);
        validate_mode(item.mode, &path.field("mode"), errors);
        match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), None) => env::validate_field(field, env::FILE_FIELDS, &path.field("fieldRef"), errors),
            (None, Some(resource)) => {
                let path = path.field("resourceFieldRef");
                if resource.container_name.as_deref().is_none_or(str::is_empty) {
                    errors.required(&path.field("containerName"), "");
                }
                env::validate_resource_field(resource, &path, errors);
            }
            (None, None) => errors.required(&path, "one of fieldRef and resourceFieldRef is required"),
            (Some(_), Some(_)) => {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.invalid(&path, "resource", detail);
            }
        }
    }
}

fn validate_projected(source: &ProjectedVolumeSource, path: &Path, errors: &mut FieldErrors) {
    validate_mode(source.default_mode, &path.field("defaultMode"), errors);
    let list = path.field("sources");
    for (at, projection) in source.sources.iter().flatten().enumerate() {
        let path = list.index(at);
        if let Some(secret) = &projection.secret {
            let path = path.field("secret");
            if secret.name.is_empty() {
                errors.required(&path.field("name"), "");
            }
            validate_files(None, &secret.items, &path, errors);
        }
        if let Some(map) = &projection.config_map {
            let path = path.field("configMap");
            if map.name.is_empty() {
                errors.required(&path.field("name"), "");
            }
            validate_files(None, &map.items, &path, errors);
        }
        if let Some(downward) = &projection.downward_api {
            let items = downward.items.as_deref().unwrap_or_default();
            validate_downward(items, &path.field("downwardAPI").field("items"), errors);
        }
        if let Some(token) = &projection.service_account_token {
            let path = path.field("serviceAccountToken");
            validate_place(&token.path, &path.field("path"), errors);
            if let Some(seconds) = token.expiration_seconds.filter(|seconds| *seconds < 600) {
                let detail = "may not specify a duration less than 10 minutes";
                errors.invalid(&path.field("expirationSeconds"), seconds, detail);
            }
        }
    }
}
