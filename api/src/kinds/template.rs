//! What Deployments and ReplicaSets share: a selector and a template of Pods. Pure.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::pod;
use crate::meta;
use crate::names;
use crate::selector;
use crate::status::{FieldErrors, Path};

pub(super) fn set_defaults(template: &mut PodTemplateSpec) {
    pod::set_spec_defaults(template.spec.get_or_insert_default());
}

/// `owner` is the kind's name, for messages.
pub(super) fn validate(
    owner: &str,
    selector: &LabelSelector,
    template: &PodTemplateSpec,
    path: &Path,
    errors: &mut FieldErrors,
) {
    let at = path.field("selector");
    let is_empty = selector.match_labels.as_ref().is_none_or(|labels| labels.is_empty())
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    if is_empty {
        errors.required(&at, &format!("a {owner} must say which Pods are its own"));
    }
    validate_selector(selector, &at, errors);
    let at = path.field("template");
    validate_match(selector, template, &at, errors);
    let Some(spec) = &template.spec else { return };
    let at = at.field("spec");
    pod::validate_spec(spec, &at, errors);
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    if ["OnFailure", "Never"].contains(&policy) {
        errors.not_supported(&at.field("restartPolicy"), policy, &["Always"]);
    }
    if spec.active_deadline_seconds.is_some() {
        let detail = format!("activeDeadlineSeconds in {owner} is not Supported");
        errors.forbidden(&at.field("activeDeadlineSeconds"), detail);
    }
}

fn validate_match(selector: &LabelSelector, template: &PodTemplateSpec, path: &Path, errors: &mut FieldErrors) {
    let at = path.field("metadata");
    let none = Default::default();
    let metadata = template.metadata.as_ref().unwrap_or(&none);
    let empty = Default::default();
    let labels = metadata.labels.as_ref().unwrap_or(&empty);
    let Ok(parsed) = selector::LabelSelector::from_object(selector) else { return };
    if !parsed.matches(labels) {
        let value = serde_json::to_value(labels).unwrap_or_default();
        errors.invalid(&at.field("labels"), value, "`selector` does not match template `labels`");
    }
    meta::validate_labels(labels, &at.field("labels"), errors);
    if let Some(annotations) = &metadata.annotations {
        meta::validate_annotations(annotations, &at.field("annotations"), errors);
    }
}

pub(super) fn validate_selector(selector: &LabelSelector, path: &Path, errors: &mut FieldErrors) {
    if let Some(labels) = &selector.match_labels {
        meta::validate_labels(labels, &path.field("matchLabels"), errors);
    }
    let list = path.field("matchExpressions");
    for (at, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let path = list.index(at);
        errors.invalid_each(&path.field("key"), &expression.key, names::qualified_name(&expression.key));
        let values = expression.values.as_deref().unwrap_or_default();
        match expression.operator.as_str() {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(&path.field("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "In" | "NotIn" => {}
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&path.field("values"), detail);
            }
            "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&path.field("operator"), other, "not a valid selector operator"),
        }
        for (index, value) in values.iter().enumerate() {
            errors.invalid_each(&path.field("values").index(index), value, names::label_value(value));
        }
    }
}

pub(super) fn validate_immutable<T: PartialEq + serde::Serialize>(
    new: &T,
    old: &T,
    path: &Path,
    errors: &mut FieldErrors,
) {
    if new != old {
        errors.invalid(path, serde_json::to_value(new).unwrap_or_default(), "field is immutable");
    }
}

pub(super) fn not_negative(number: Option<i32>, path: &Path, errors: &mut FieldErrors) {
    if let Some(number) = number.filter(|number| *number < 0) {
        errors.invalid(path, number, "must be greater than or equal to 0");
    }
}
