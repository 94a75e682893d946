//! Nodes: defaults and validation. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, NodeStatus, Taint};

use super::admit::Rules;
use super::pod::{TAINT_EFFECTS, resources};
use crate::names;
use crate::status::{FieldErrors, Path};

/// A node registers itself with its status, so a new one keeps what it came with.
impl Rules for Node {
    fn set_defaults(&mut self) {
        self.spec.get_or_insert_default();
        set_status_defaults(self.status.get_or_insert_default());
    }

    fn swap_status(&mut self, other: &mut Node) {
        std::mem::swap(&mut self.status, &mut other.status);
    }

    fn settle_status(&mut self, _old: &Node) {
        set_status_defaults(self.status.get_or_insert_default());
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let path = Path::Root.field("spec");
        let taints = self.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        validate_taints(taints, &path.field("taints"), errors);
        self.validate_status(errors);
    }

    fn validate_update(&self, old: &Node, errors: &mut FieldErrors) {
        let (Some(spec), Some(before)) = (&self.spec, &old.spec) else { return };
        let path = Path::Root.field("spec");
        for (field, new, old) in
            [("podCIDR", &spec.pod_cidr, &before.pod_cidr), ("providerID", &spec.provider_id, &before.provider_id)]
        {
            if old.as_deref().is_some_and(|old| !old.is_empty()) && new != old {
                errors.forbidden(
                    &path.field(field),
                    format!("node updates may not change {field} except from \"\" to valid"),
                );
            }
        }
    }

    fn validate_status(&self, errors: &mut FieldErrors) {
        let Some(status) = &self.status else { return };
        let path = Path::Root.field("status");
        for (field, amounts) in [("capacity", &status.capacity), ("allocatable", &status.allocatable)] {
            for (name, text) in amounts.iter().flatten() {
                resources::quantity(text, &path.field(field).key(name), errors);
            }
        }
    }
}

/// What is not said to be taken is to be had.
fn set_status_defaults(status: &mut NodeStatus) {
    resources::canonicalize(&mut status.capacity);
    resources::canonicalize(&mut status.allocatable);
    if status.allocatable.is_none() {
        status.allocatable.clone_from(&status.capacity);
    }
}

fn validate_taints(taints: &[Taint], path: &Path, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (at, taint) in taints.iter().enumerate() {
        let path = path.index(at);
        errors.invalid_each(&path.field("key"), &taint.key, names::qualified_name(&taint.key));
        let value = taint.value.as_deref().unwrap_or_default();
        errors.invalid_each(&path.field("value"), value, names::label_value(value));
        match taint.effect.as_str() {
            "" => errors.required(&path.field("effect"), ""),
            effect if !TAINT_EFFECTS.contains(&effect) => {
                errors.not_supported(&path.field("effect"), effect, &TAINT_EFFECTS);
            }
            _ => {}
        }
        if !seen.insert((&taint.key, &taint.effect)) {
            errors.duplicate(&path, format!("{}:{}", taint.key, taint.effect));
        }
    }
}
