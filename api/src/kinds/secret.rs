//! Secrets: defaults and validation by type. Pure.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::admit::Rules;
use super::config_map::{DATA_BYTES_MAX, validate_immutable, validate_keys};
use super::template;
use crate::status::{FieldErrors, Path};

const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

impl Rules for Secret {
    fn keep(&mut self, old: &Secret) {
        if self.type_.as_deref().is_none_or(str::is_empty) {
            self.type_.clone_from(&old.type_);
        }
    }

    fn set_defaults(&mut self) {
        self.type_.take_if(|text| text.is_empty());
        self.type_.get_or_insert_with(|| "Opaque".into());
        // Plain text is a convenience for writers; readers find everything in `data`.
        for (key, text) in self.string_data.take().into_iter().flatten() {
            self.data.get_or_insert_default().insert(key, ByteString(text.into_bytes()));
        }
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let path = Path::Root.field("data");
        let data = self.data.iter().flatten().map(|(key, value)| (key, value.0.len()));
        if validate_keys(data, &path, errors) > DATA_BYTES_MAX {
            errors.too_long(&path, DATA_BYTES_MAX);
        }
        let none = BTreeMap::new();
        validate_type(self, self.data.as_ref().unwrap_or(&none), &path, errors);
    }

    fn validate_update(&self, old: &Secret, errors: &mut FieldErrors) {
        template::validate_immutable(&self.type_, &old.type_, &Path::Root.field("type"), errors);
        validate_immutable(self.immutable, old.immutable, &[("data", self.data == old.data)], errors);
    }
}

/// Some types promise certain keys to those who use them.
fn validate_type(secret: &Secret, data: &BTreeMap<String, ByteString>, path: &Path, errors: &mut FieldErrors) {
    let needs: &[&str] = match secret.type_.as_deref().unwrap_or_default() {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/basic-auth" => {
            if !data.contains_key("username") && !data.contains_key("password") {
                errors.required(&path.key("username"), "");
                errors.required(&path.key("password"), "");
            }
            &[]
        }
        "kubernetes.io/service-account-token" => {
            let annotation = secret.metadata.annotations.as_ref().and_then(|all| all.get(SERVICE_ACCOUNT_NAME));
            if annotation.is_none_or(String::is_empty) {
                errors.required(&Path::Root.field("metadata").field("annotations").key(SERVICE_ACCOUNT_NAME), "");
            }
            &[]
        }
        _ => &[],
    };
    for key in needs {
        match data.get(*key) {
            None => errors.required(&path.key(key), ""),
            Some(value) if key.starts_with(".docker") => {
                if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&value.0) {
                    errors.invalid(&path.key(key), "<secret contents redacted>", error.to_string());
                }
            }
            Some(_) => {}
        }
    }
}
