//! Deployments: defaults and validation. Pure.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStrategy};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::admit::Rules;
use super::template::{self, not_negative, validate_immutable};
use crate::status::{FieldErrors, Path};

impl Rules for Deployment {
    fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        spec.progress_deadline_seconds.get_or_insert(600);
        let strategy = spec.strategy.get_or_insert_default();
        if strategy.type_.get_or_insert_with(|| "RollingUpdate".into()) == "RollingUpdate" {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.max_unavailable.get_or_insert_with(|| IntOrString::String("25%".into()));
            rolling.max_surge.get_or_insert_with(|| IntOrString::String("25%".into()));
        }
        template::set_defaults(&mut spec.template);
    }

    fn begin(&mut self) {
        self.status = Some(Default::default());
    }

    fn swap_status(&mut self, other: &mut Deployment) {
        std::mem::swap(&mut self.status, &mut other.status);
    }

    fn is_respecified(&self, old: &Deployment) -> Option<bool> {
        Some(self.spec != old.spec)
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let spec = &self.spec;
        let path = Path::Root.field("spec");
        not_negative(spec.replicas, &path.field("replicas"), errors);
        not_negative(spec.min_ready_seconds, &path.field("minReadySeconds"), errors);
        not_negative(spec.revision_history_limit, &path.field("revisionHistoryLimit"), errors);
        let deadline = path.field("progressDeadlineSeconds");
        not_negative(spec.progress_deadline_seconds, &deadline, errors);
        if let Some(seconds) = spec.progress_deadline_seconds
            && seconds <= spec.min_ready_seconds.unwrap_or(0)
        {
            errors.invalid(&deadline, seconds, "must be greater than minReadySeconds");
        }
        if let Some(strategy) = &spec.strategy {
            validate_strategy(strategy, &path.field("strategy"), errors);
        }
        template::validate("Deployment", &spec.selector, &spec.template, &path, errors);
    }

    fn validate_update(&self, old: &Deployment, errors: &mut FieldErrors) {
        let path = Path::Root.field("spec");
        validate_immutable(&self.spec.selector, &old.spec.selector, &path.field("selector"), errors);
    }
}

fn validate_strategy(strategy: &DeploymentStrategy, path: &Path, errors: &mut FieldErrors) {
    let at = path.field("rollingUpdate");
    match strategy.type_.as_deref().unwrap_or_default() {
        "Recreate" if strategy.rolling_update.is_some() => {
            errors.forbidden(&at, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" => {
            let rolling = strategy.rolling_update.clone().unwrap_or_default();
            let unavailable = validate_amount(&rolling.max_unavailable, &at.field("maxUnavailable"), errors);
            let surge = validate_amount(&rolling.max_surge, &at.field("maxSurge"), errors);
            if unavailable == Some(0) && surge == Some(0) {
                errors.invalid(&at.field("maxUnavailable"), 0, "may not be 0 when `maxSurge` is 0");
            }
            if let Some(IntOrString::String(text)) = &rolling.max_unavailable
                && unavailable.is_some_and(|percent| percent > 100)
            {
                errors.invalid(&at.field("maxUnavailable"), text.as_str(), "must not be greater than 100%");
            }
        }
        other => errors.not_supported(&path.field("type"), other, &["Recreate", "RollingUpdate"]),
    }
}

/// The number in a count or a percentage, if it is one.
fn validate_amount(amount: &Option<IntOrString>, path: &Path, errors: &mut FieldErrors) -> Option<i32> {
    match amount.as_ref()? {
        IntOrString::Int(count) => {
            not_negative(Some(*count), path, errors);
            Some(*count)
        }
        IntOrString::String(text) => {
            let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
            let percent = digits.and_then(|digits| digits.parse().ok());
            if percent.is_none() {
                let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
                errors.invalid(path, text.as_str(), detail);
            }
            percent
        }
    }
}
