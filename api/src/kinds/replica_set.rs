//! ReplicaSets: defaults and validation. Pure.

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::admit::Rules;
use super::template::{self, not_negative, validate_immutable};
use crate::status::{FieldErrors, Path};

impl Rules for ReplicaSet {
    fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        spec.replicas.get_or_insert(1);
        template::set_defaults(spec.template.get_or_insert_default());
    }

    fn begin(&mut self) {
        self.status = Some(Default::default());
    }

    fn swap_status(&mut self, other: &mut ReplicaSet) {
        std::mem::swap(&mut self.status, &mut other.status);
    }

    fn is_respecified(&self, old: &ReplicaSet) -> Option<bool> {
        Some(self.spec != old.spec)
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let spec = &self.spec;
        let path = Path::Root.field("spec");
        not_negative(spec.replicas, &path.field("replicas"), errors);
        not_negative(spec.min_ready_seconds, &path.field("minReadySeconds"), errors);
        if let Some(template) = &spec.template {
            template::validate("ReplicaSet", &spec.selector, template, &path, errors);
        }
    }

    fn validate_update(&self, old: &ReplicaSet, errors: &mut FieldErrors) {
        let path = Path::Root.field("spec");
        validate_immutable(&self.spec.selector, &old.spec.selector, &path.field("selector"), errors);
    }
}
