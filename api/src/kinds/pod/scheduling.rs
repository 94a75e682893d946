//! Validation of what a Pod says about where it runs. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, PodSpec, Toleration, WeightedPodAffinityTerm,
};

use crate::kinds::template::validate_selector;
use crate::meta;
use crate::names;
use crate::status::{FieldErrors, Path};

pub(super) fn validate(spec: &PodSpec, path: &Path, errors: &mut FieldErrors) {
    if let Some(selector) = &spec.node_selector {
        meta::validate_labels(selector, &path.field("nodeSelector"), errors);
    }
    let list = path.field("tolerations");
    for (at, toleration) in spec.tolerations.iter().flatten().enumerate() {
        validate_toleration(toleration, &list.index(at), errors);
    }
    validate_affinity(spec, path, errors);
    validate_spread(spec, path, errors);
}

pub(super) fn validate_toleration(toleration: &Toleration, path: &Path, errors: &mut FieldErrors) {
    let key = toleration.key.as_deref().unwrap_or_default();
    let operator = toleration.operator.as_deref().unwrap_or_default();
    let value = toleration.value.as_deref().unwrap_or_default();
    let effect = toleration.effect.as_deref().unwrap_or_default();
    if !key.is_empty() {
        errors.invalid_each(&path.field("key"), key, names::qualified_name(key));
    } else if operator != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.invalid(&path.field("operator"), operator, detail);
    }
    match operator {
        "" | "Equal" => errors.invalid_each(&path.field("operator"), value, names::label_value(value)),
        "Exists" if !value.is_empty() => {
            errors.invalid(&path.field("operator"), value, "value must be empty when `operator` is 'Exists'");
        }
        "Exists" => {}
        other => errors.not_supported(&path.field("operator"), other, &["Equal", "Exists"]),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.not_supported(&path.field("effect"), effect, &EFFECTS);
    }
    if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        errors.invalid(&path.field("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
}

/// Of taints.
pub(in crate::kinds) const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

fn validate_affinity(spec: &PodSpec, path: &Path, errors: &mut FieldErrors) {
    let Some(affinity) = &spec.affinity else { return };
    let path = path.field("affinity");
    if let Some(node) = &affinity.node_affinity {
        let path = path.field("nodeAffinity");
        if let Some(required) = &node.required_during_scheduling_ignored_during_execution {
            let path = path.field("requiredDuringSchedulingIgnoredDuringExecution");
            let list = path.field("nodeSelectorTerms");
            if required.node_selector_terms.is_empty() {
                errors.required(&list, "must have at least one node selector term");
            }
            for (at, term) in required.node_selector_terms.iter().enumerate() {
                validate_term(term, &list.index(at), errors);
            }
        }
        let list = path.field("preferredDuringSchedulingIgnoredDuringExecution");
        let preferred = node.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        for (at, term) in preferred.enumerate() {
            let path = list.index(at);
            validate_weight(term.weight, &path, errors);
            validate_term(&term.preference, &path.field("preference"), errors);
        }
    }
    let pods = affinity.pod_affinity.as_ref().map(|pods| {
        (
            "podAffinity",
            &pods.required_during_scheduling_ignored_during_execution,
            &pods.preferred_during_scheduling_ignored_during_execution,
        )
    });
    let anti = affinity.pod_anti_affinity.as_ref().map(|pods| {
        (
            "podAntiAffinity",
            &pods.required_during_scheduling_ignored_during_execution,
            &pods.preferred_during_scheduling_ignored_during_execution,
        )
    });
    for (field, required, preferred) in [pods, anti].into_iter().flatten() {
        validate_pod_affinity(required, preferred, &path.field(field), errors);
    }
}

fn validate_pod_affinity(
    required: &Option<Vec<PodAffinityTerm>>,
    preferred: &Option<Vec<WeightedPodAffinityTerm>>,
    path: &Path,
    errors: &mut FieldErrors,
) {
    let list = path.field("requiredDuringSchedulingIgnoredDuringExecution");
    for (at, term) in required.iter().flatten().enumerate() {
        validate_pod_term(term, &list.index(at), errors);
    }
    let list = path.field("preferredDuringSchedulingIgnoredDuringExecution");
    for (at, term) in preferred.iter().flatten().enumerate() {
        let path = list.index(at);
        validate_weight(term.weight, &path, errors);
        validate_pod_term(&term.pod_affinity_term, &path.field("podAffinityTerm"), errors);
    }
}

fn validate_weight(weight: i32, path: &Path, errors: &mut FieldErrors) {
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.field("weight"), weight, "must be in the range 1-100");
    }
}

fn validate_pod_term(term: &PodAffinityTerm, path: &Path, errors: &mut FieldErrors) {
    if term.topology_key.is_empty() {
        errors.required(&path.field("topologyKey"), "can not be empty");
    } else {
        let faults = names::qualified_name(&term.topology_key);
        errors.invalid_each(&path.field("topologyKey"), &term.topology_key, faults);
    }
    for (field, selector) in [("labelSelector", &term.label_selector), ("namespaceSelector", &term.namespace_selector)]
    {
        if let Some(selector) = selector {
            validate_selector(selector, &path.field(field), errors);
        }
    }
}

fn validate_term(term: &NodeSelectorTerm, path: &Path, errors: &mut FieldErrors) {
    let list = path.field("matchExpressions");
    for (at, requirement) in term.match_expressions.iter().flatten().enumerate() {
        let path = list.index(at);
        errors.invalid_each(&path.field("key"), &requirement.key, names::qualified_name(&requirement.key));
        validate_requirement(requirement, &path, errors);
    }
    let list = path.field("matchFields");
    for (at, requirement) in term.match_fields.iter().flatten().enumerate() {
        let path = list.index(at);
        if requirement.key != "metadata.name" {
            errors.invalid(&path.field("key"), requirement.key.as_str(), "not a valid field selector key");
        }
        if !["In", "NotIn"].contains(&requirement.operator.as_str()) {
            errors.invalid(&path.field("operator"), requirement.operator.as_str(), "not a valid selector operator");
        }
        if requirement.values.as_ref().map_or(0, Vec::len) != 1 {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.required(&path.field("values"), detail);
        }
    }
}

fn validate_requirement(requirement: &NodeSelectorRequirement, path: &Path, errors: &mut FieldErrors) {
    let values = requirement.values.as_deref().unwrap_or_default();
    let at = path.field("values");
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&at, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "In" | "NotIn" => {}
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(&at, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Exists" | "DoesNotExist" => {}
        "Gt" | "Lt" => match values {
            [one] if one.parse::<i64>().is_ok() => {}
            [one] => errors.invalid(&at.index(0), one.as_str(), "must be an integer when `operator` is 'Lt' or 'Gt'"),
            _ => errors.required(&at, "must be specified single value when `operator` is 'Lt' or 'Gt'"),
        },
        other => errors.invalid(&path.field("operator"), other, "not a valid selector operator"),
    }
    for (index, value) in values.iter().enumerate() {
        errors.invalid_each(&at.index(index), value, names::label_value(value));
    }
}

fn validate_spread(spec: &PodSpec, path: &Path, errors: &mut FieldErrors) {
    let list = path.field("topologySpreadConstraints");
    let mut seen = BTreeSet::new();
    for (at, constraint) in spec.topology_spread_constraints.iter().flatten().enumerate() {
        let path = list.index(at);
        if constraint.max_skew <= 0 {
            errors.invalid(&path.field("maxSkew"), constraint.max_skew, "must be greater than zero");
        }
        if constraint.topology_key.is_empty() {
            errors.required(&path.field("topologyKey"), "can not be empty");
        }
        let known = ["DoNotSchedule", "ScheduleAnyway"];
        if !known.contains(&constraint.when_unsatisfiable.as_str()) {
            errors.not_supported(&path.field("whenUnsatisfiable"), &constraint.when_unsatisfiable, &known);
        }
        if !seen.insert((&constraint.topology_key, &constraint.when_unsatisfiable)) {
            let pair = format!("{{{}, {}}}", constraint.topology_key, constraint.when_unsatisfiable);
            errors.duplicate(&path.field("{topologyKey, whenUnsatisfiable}"), pair);
        }
        if let Some(selector) = &constraint.label_selector {
            validate_selector(selector, &path.field("labelSelector"), errors);
        }
    }
}
