//! ConfigMaps: validation; and what they share with Secrets. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;

use super::admit::Rules;
use crate::names;
use crate::status::{FieldErrors, Path};

/// All values of a ConfigMap or a Secret together, as in Kubernetes.
pub(super) const DATA_BYTES_MAX: usize = 1024 * 1024;

impl Rules for ConfigMap {
    fn validate(&self, errors: &mut FieldErrors) {
        let data = self.data.iter().flatten().map(|(key, value)| (key, value.len()));
        let text = validate_keys(data, &Path::Root.field("data"), errors);
        let binary = self.binary_data.iter().flatten().map(|(key, value)| (key, value.0.len()));
        let binary = validate_keys(binary, &Path::Root.field("binaryData"), errors);
        if text + binary > DATA_BYTES_MAX {
            errors.too_long(&Path::Root.field("data"), DATA_BYTES_MAX);
        }
        let is_twice = |key: &&String| self.data.as_ref().is_some_and(|data| data.contains_key(*key));
        for key in self.binary_data.iter().flat_map(BTreeMap::keys).filter(is_twice) {
            let at = Path::Root.field("data");
            errors.invalid(&at.key(key), key.as_str(), "duplicate of key present in binaryData");
        }
    }

    fn validate_update(&self, old: &ConfigMap, errors: &mut FieldErrors) {
        let is_kept = [("data", self.data == old.data), ("binaryData", self.binary_data == old.binary_data)];
        validate_immutable(self.immutable, old.immutable, &is_kept, errors);
    }
}

/// Answers how many bytes the values have.
pub(super) fn validate_keys<'a>(
    data: impl Iterator<Item = (&'a String, usize)>,
    path: &Path,
    errors: &mut FieldErrors,
) -> usize {
    let mut bytes = 0;
    for (key, length) in data {
        bytes += length;
        errors.invalid_each(&path.key(key), key, names::config_key(key));
    }
    bytes
}

/// Once immutable, it stays so, and so do the fields that are not `kept`.
pub(super) fn validate_immutable(
    new: Option<bool>,
    old: Option<bool>,
    is_kept: &[(&str, bool)],
    errors: &mut FieldErrors,
) {
    if old != Some(true) {
        return;
    }
    let detail = "field is immutable when `immutable` is set";
    let immutable = ("immutable", new == Some(true));
    for (field, _) in [immutable].iter().chain(is_kept).filter(|(_, is_kept)| !is_kept) {
        errors.forbidden(&Path::Root.field(field), detail);
    }
}
