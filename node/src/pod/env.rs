//! A container's environment, resolved. Pure.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};

use super::fields::{Facts, field, resource};
use super::{ConfigError, Refs, expand, namespace, services, spec_of};

/// The variables in the order they were named; a later one of the same name replaces an earlier one.
pub fn resolve(
    pod: &Pod,
    container: &Container,
    refs: &Refs<'_>,
    facts: &Facts<'_>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut vars = Vars::default();
    for (name, value) in service_variables(pod, refs) {
        vars.set(name, value);
    }
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(wanted) = &source.config_map_ref {
            match refs.config_map(namespace(pod), &wanted.name) {
                Some(map) => vars.set_all(prefix, map.data.unwrap_or_default()),
                None if wanted.optional == Some(true) => {}
                None => return Err(missing("configmap", &wanted.name)),
            }
        }
        if let Some(wanted) = &source.secret_ref {
            match refs.secret(namespace(pod), &wanted.name) {
                Some(secret) => vars.set_all(prefix, texts(secret.data)),
                None if wanted.optional == Some(true) => {}
                None => return Err(missing("secret", &wanted.name)),
            }
        }
    }
    for wanted in container.env.iter().flatten() {
        if let Some(value) = value(pod, container, wanted, refs, facts, &vars)? {
            vars.set(wanted.name.clone(), value);
        }
    }
    Ok(vars.list)
}

/// `None`: an optional reference to something that is not there.
fn value(
    pod: &Pod,
    container: &Container,
    wanted: &EnvVar,
    refs: &Refs<'_>,
    facts: &Facts<'_>,
    vars: &Vars,
) -> Result<Option<String>, ConfigError> {
    let Some(source) = &wanted.value_from else {
        return Ok(Some(expand(wanted.value.as_deref().unwrap_or_default(), |name| vars.get(name))));
    };
    let place = namespace(pod);
    if let Some(selector) = &source.field_ref {
        return field(pod, facts, &selector.field_path).map(Some);
    }
    if let Some(selector) = &source.resource_field_ref {
        return resource(pod, facts, Some(&container.name), selector).map(Some);
    }
    if let Some(selector) = &source.config_map_key_ref {
        let optional = selector.optional == Some(true);
        return match refs.config_map(place, &selector.name) {
            None if optional => Ok(None),
            None => Err(missing("configmap", &selector.name)),
            Some(map) => match map.data.and_then(|mut data| data.remove(&selector.key)) {
                Some(value) => Ok(Some(value)),
                None if optional => Ok(None),
                None => Err(no_key(&selector.key, "ConfigMap", place, &selector.name)),
            },
        };
    }
    if let Some(selector) = &source.secret_key_ref {
        let optional = selector.optional == Some(true);
        return match refs.secret(place, &selector.name) {
            None if optional => Ok(None),
            None => Err(missing("secret", &selector.name)),
            Some(secret) => match texts(secret.data).remove(&selector.key) {
                Some(value) => Ok(Some(value)),
                None if optional => Ok(None),
                None => Err(no_key(&selector.key, "Secret", place, &selector.name)),
            },
        };
    }
    Ok(Some(String::new()))
}

fn missing(kind: &str, name: &str) -> ConfigError {
    ConfigError(format!("{kind} {name:?} not found"))
}

fn no_key(key: &str, kind: &str, namespace: &str, name: &str) -> ConfigError {
    ConfigError(format!("couldn't find key {key} in {kind} {namespace}/{name}"))
}

fn texts(data: Option<BTreeMap<String, ByteString>>) -> BTreeMap<String, String> {
    let entries = data.unwrap_or_default().into_iter();
    entries.map(|(key, bytes)| (key, String::from_utf8_lossy(&bytes.0).into_owned())).collect()
}

/// Of the Services in the Pod's namespace, and always of `kubernetes` in `default`.
fn service_variables(pod: &Pod, refs: &Refs<'_>) -> Vec<(String, String)> {
    let links = spec_of(pod).enable_service_links != Some(false);
    let wanted = |service: &k8s_openapi::api::core::v1::Service| {
        let meta = &service.metadata;
        let is_master = meta.name.as_deref() == Some("kubernetes") && meta.namespace.as_deref() == Some("default");
        is_master || (links && meta.namespace.as_deref() == Some(namespace(pod)))
    };
    refs.services().filter(wanted).flat_map(|service| services::variables(&service)).collect()
}

#[derive(Default)]
struct Vars {
    list: Vec<(String, String)>,
    place: BTreeMap<String, usize>,
}

impl Vars {
    fn set(&mut self, name: String, value: String) {
        match self.place.get(&name) {
            Some(&index) => self.list[index].1 = value,
            None => {
                self.place.insert(name.clone(), self.list.len());
                self.list.push((name, value));
            }
        }
    }

    fn set_all(&mut self, prefix: &str, entries: BTreeMap<String, String>) {
        for (key, value) in entries {
            self.set(format!("{prefix}{key}"), value);
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        self.place.get(name).map(|&index| self.list[index].1.clone())
    }
}
