//! Leases: validation. Pure.

use k8s_openapi::api::coordination::v1::Lease;

use super::admit::Rules;
use super::template::not_negative;
use crate::status::{FieldErrors, Path};

impl Rules for Lease {
    fn set_defaults(&mut self) {
        self.spec.get_or_insert_default();
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let Some(spec) = &self.spec else { return };
        let path = Path::Root.field("spec");
        if let Some(seconds) = spec.lease_duration_seconds.filter(|seconds| *seconds <= 0) {
            errors.invalid(&path.field("leaseDurationSeconds"), seconds, "must be greater than 0");
        }
        not_negative(spec.lease_transitions, &path.field("leaseTransitions"), errors);
        if spec.holder_identity.as_deref() == Some("") {
            errors.invalid(&path.field("holderIdentity"), "", "must not be empty");
        }
    }
}
