//! What containers ask for and may use: canonical quantities, their rules, the quality of service. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::names;
use crate::quantity::Quantity;
use crate::status::{FieldErrors, Path};

type Amounts = BTreeMap<String, Text>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    /// As `status.qosClass` has it.
    pub fn name(self) -> &'static str {
        match self {
            Qos::Guaranteed => "Guaranteed",
            Qos::Burstable => "Burstable",
            Qos::BestEffort => "BestEffort",
        }
    }
}

/// Guaranteed: every container's CPU and memory are limited, and requested in full. BestEffort: none asks for any.
pub fn qos(spec: &PodSpec) -> Qos {
    let mut is_guaranteed = true;
    let mut asks = false;
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        let none = ResourceRequirements::default();
        let resources = container.resources.as_ref().unwrap_or(&none);
        for name in ["cpu", "memory"] {
            let (limit, request) = (amount(&resources.limits, name), amount(&resources.requests, name));
            asks |= limit.or(request).is_some();
            is_guaranteed &= limit.is_some() && request.or(limit) == limit;
        }
    }
    match (asks, is_guaranteed) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

fn amount(amounts: &Option<Amounts>, name: &str) -> Option<Quantity> {
    let text = amounts.as_ref()?.get(name)?;
    text.0.parse().ok().filter(|amount: &Quantity| !amount.is_zero())
}

/// Respells quantities in their canonical form; those that are none are left for validation.
pub(in crate::kinds) fn canonicalize(amounts: &mut Option<Amounts>) {
    amounts.iter_mut().flat_map(BTreeMap::values_mut).for_each(canonicalize_one);
}

pub(super) fn canonicalize_one(text: &mut Text) {
    if text.0.is_empty() {
        text.0.push('0');
    }
    if let Ok(quantity) = text.0.parse::<Quantity>() {
        // Resources are counted in thousandths at the finest.
        let canonical = quantity.rounded_up_to_milli().to_string();
        if canonical != text.0 {
            text.0 = canonical;
        }
    }
}

pub(super) fn validate(resources: &ResourceRequirements, path: &Path, errors: &mut FieldErrors) {
    let limits_path = path.field("limits");
    let requests_path = path.field("requests");
    let limits = resources.limits.as_ref();
    for (name, limit) in limits.into_iter().flatten() {
        validate_amount(name, limit, &limits_path, errors);
    }
    for (name, text) in resources.requests.iter().flatten() {
        let Some(request) = validate_amount(name, text, &requests_path, errors) else { continue };
        let limit = limits.and_then(|limits| limits.get(name)).and_then(|limit| limit.0.parse::<Quantity>().ok());
        match limit {
            Some(limit) if request > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.invalid(&requests_path, text.0.as_str(), detail);
            }
            Some(limit) if request != limit && !is_overcommitted(name) => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.invalid(&requests_path, text.0.as_str(), detail);
            }
            None if !is_overcommitted(name) => {
                errors.required(&limits_path, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
}

/// Only these may be limited higher than requested.
fn is_overcommitted(name: &str) -> bool {
    !name.contains('/') && !name.starts_with("hugepages-")
}

fn validate_amount(name: &str, text: &Text, path: &Path, errors: &mut FieldErrors) -> Option<Quantity> {
    let at = path.key(name);
    let faults = names::qualified_name(name);
    if !faults.is_empty() {
        errors.invalid_each(path, name, faults);
        return None;
    }
    let is_standard = ["cpu", "memory", "ephemeral-storage"].contains(&name) || name.starts_with("hugepages-");
    if !name.contains('/') && !is_standard {
        errors.invalid(&at, name, "must be a standard resource for containers");
        return None;
    }
    let quantity = quantity(text, &at, errors)?;
    if !is_overcommitted(name) && !quantity.is_whole() {
        errors.invalid(&at, text.0.as_str(), "must be an integer");
    }
    Some(quantity)
}

/// A quantity that must not be negative.
pub(in crate::kinds) fn quantity(text: &Text, path: &Path, errors: &mut FieldErrors) -> Option<Quantity> {
    match text.0.parse::<Quantity>() {
        Ok(quantity) if quantity.is_negative() => {
            errors.invalid(path, text.0.as_str(), "must be greater than or equal to 0");
            None
        }
        Ok(quantity) => Some(quantity),
        Err(error) => {
            errors.invalid(path, text.0.as_str(), error.to_string());
            None
        }
    }
}
