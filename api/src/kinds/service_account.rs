//! ServiceAccounts. Pure.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::admit::Rules;
use crate::status::{FieldErrors, Path};

impl Rules for ServiceAccount {
    fn validate(&self, errors: &mut FieldErrors) {
        for (at, secret) in self.image_pull_secrets.iter().flatten().enumerate() {
            if secret.name.is_empty() {
                errors.required(&Path::Root.field("imagePullSecrets").index(at).field("name"), "");
            }
        }
    }
}
