//! Events: defaults and validation. Pure.

use k8s_openapi::api::core::v1::Event;

use super::admit::Rules;
use crate::status::{FieldErrors, Path};

impl Rules for Event {
    fn set_defaults(&mut self) {
        self.source.get_or_insert_default();
        self.reporting_component.get_or_insert_default();
        self.reporting_instance.get_or_insert_default();
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let regarding = self.involved_object.namespace.as_deref().unwrap_or_default();
        // Events about cluster-scoped objects live in the namespace `default`.
        let fits = regarding == namespace || regarding.is_empty() && namespace == "default";
        if !fits {
            let path = Path::Root.field("involvedObject");
            errors.invalid(&path.field("namespace"), regarding, "does not match event.namespace");
        }
        let kind = self.type_.as_deref().unwrap_or_default();
        if !kind.is_empty() && !["Normal", "Warning"].contains(&kind) {
            errors.not_supported(&Path::Root.field("type"), kind, &["Normal", "Warning"]);
        }
    }
}
