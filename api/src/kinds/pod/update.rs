//! What may change in a Pod that exists. Pure.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use serde_json::Value;

use crate::status::{FieldErrors, Path};

pub(super) fn validate(new: &Pod, old: &Pod, errors: &mut FieldErrors) {
    let (Some(spec), Some(before)) = (&new.spec, &old.spec) else { return };
    if spec == before {
        return;
    }
    let path = Path::Root.field("spec");
    let counts = [
        ("containers", spec.containers.len(), before.containers.len()),
        ("initContainers", count(&spec.init_containers), count(&before.init_containers)),
    ];
    for (field, now, then) in counts {
        if now != then {
            return errors.forbidden(&path.field(field), "pod updates may not add or remove containers");
        }
    }
    validate_deadline(spec, before, &path, errors);
    validate_tolerations(spec, before, &path, errors);
    let gates = |spec: &PodSpec| -> Vec<String> {
        spec.scheduling_gates.iter().flatten().map(|gate| gate.name.clone()).collect()
    };
    let kept = gates(before);
    if gates(spec).iter().any(|gate| !kept.contains(gate)) {
        let detail = "only deletion is allowed, but found new scheduling gates";
        errors.forbidden(&path.field("schedulingGates"), detail);
    }
    let changed = changes(&with_old_mutables(spec, before), before);
    if !changed.is_empty() {
        errors.forbidden(&path, format!("{MAY_CHANGE}; changed: {}", changed.join(", ")));
    }
}

const MAY_CHANGE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

fn count(containers: &Option<Vec<Container>>) -> usize {
    containers.as_ref().map_or(0, Vec::len)
}

/// The new spec with all that may change put back: what still differs may not.
fn with_old_mutables(spec: &PodSpec, before: &PodSpec) -> PodSpec {
    let mut spec = spec.clone();
    let pairs = spec.containers.iter_mut().zip(&before.containers);
    let init = spec.init_containers.iter_mut().flatten().zip(before.init_containers.iter().flatten());
    for (container, old) in pairs.chain(init) {
        container.image.clone_from(&old.image);
    }
    spec.active_deadline_seconds = before.active_deadline_seconds;
    spec.tolerations.clone_from(&before.tolerations);
    spec.scheduling_gates.clone_from(&before.scheduling_gates);
    if before.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0)
        && spec.termination_grace_period_seconds == Some(1)
    {
        spec.termination_grace_period_seconds = before.termination_grace_period_seconds;
    }
    spec
}

fn validate_deadline(spec: &PodSpec, before: &PodSpec, path: &Path, errors: &mut FieldErrors) {
    let path = path.field("activeDeadlineSeconds");
    match (spec.active_deadline_seconds, before.active_deadline_seconds) {
        (None, Some(_)) => errors.invalid(&path, Value::Null, "must not update from a positive integer to nil value"),
        (Some(now), Some(then)) if now > then => {
            let detail = format!("must be less than or equal to previous value {then}");
            errors.invalid(&path, now, detail);
        }
        _ => {}
    }
}

fn validate_tolerations(spec: &PodSpec, before: &PodSpec, path: &Path, errors: &mut FieldErrors) {
    let now = spec.tolerations.as_deref().unwrap_or_default();
    // A toleration may be had for another time, not taken away.
    let is_kept = |old: &k8s_openapi::api::core::v1::Toleration| {
        now.iter().any(|new| {
            let mut new = new.clone();
            new.toleration_seconds = old.toleration_seconds;
            new == *old
        })
    };
    if !before.tolerations.iter().flatten().all(is_kept) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.forbidden(&path.field("tolerations"), detail);
    }
}

/// The paths at which two specs differ, as far down as both have the same shape.
fn changes(new: &PodSpec, old: &PodSpec) -> Vec<String> {
    let mut found = Vec::new();
    if new != old {
        let (new, old) = (serde_json::to_value(new).unwrap_or_default(), serde_json::to_value(old).unwrap_or_default());
        differences("spec", &new, &old, &mut found);
    }
    found
}

/// Enough to say what was meant.
const CHANGES_SHOWN_MAX: usize = 8;

fn differences(path: &str, new: &Value, old: &Value, found: &mut Vec<String>) {
    if new == old || found.len() >= CHANGES_SHOWN_MAX {
        return;
    }
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                let null = Value::Null;
                let (new, old) = (new.get(key).unwrap_or(&null), old.get(key).unwrap_or(&null));
                differences(&format!("{path}.{key}"), new, old, found);
            }
        }
        (Value::Array(new), Value::Array(old)) if new.len() == old.len() => {
            for (at, (new, old)) in new.iter().zip(old).enumerate() {
                differences(&format!("{path}[{at}]"), new, old, found);
            }
        }
        _ => found.push(path.into()),
    }
}
