//! Pods: what they begin with, what may change. Decides only.

use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus, Toleration};

use super::admit::Rules;
use crate::status::{FieldErrors, Path};

pub mod binding;
mod container;
mod defaults;
mod env;
pub mod eviction;
mod probe;
pub(super) mod resources;
mod scheduling;
mod spec;
mod update;
mod volume;

pub(super) use container::validate_port;
pub(super) use defaults::set_spec_defaults;
pub use resources::{Qos, qos};
pub(super) use scheduling::EFFECTS as TAINT_EFFECTS;
pub(super) use spec::one_of;
pub(super) use spec::validate_spec;

/// Between TERM and KILL, unless the Pod says otherwise.
pub const GRACE_SECONDS_DEFAULT: i64 = 30;

/// How long a Pod stays bound to a node that is gone, unless its tolerations say otherwise. Kubernetes waits 300 s;
/// here silence is noticed within seconds, and so is the return.
pub const GONE_NODE_TOLERATION_SECONDS: i64 = 5;

pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// The priority classes that every cluster has.
const PRIORITY_CLASSES: [(&str, i32); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

impl Rules for Pod {
    fn keep(&mut self, old: &Pod) {
        if let (Some(spec), Some(before)) = (&mut self.spec, &old.spec) {
            keep_what_was_given(spec, before);
        }
    }

    fn set_defaults(&mut self) {
        let spec = self.spec.get_or_insert_default();
        set_spec_defaults(spec);
        defaults::set_pod_defaults(spec);
    }

    fn begin(&mut self) {
        let spec = self.spec.get_or_insert_default();
        spec.service_account_name.get_or_insert_with(|| "default".into());
        spec.service_account.clone_from(&spec.service_account_name);
        let class = spec.priority_class_name.as_deref().unwrap_or_default();
        let known = PRIORITY_CLASSES.iter().find(|(name, _)| *name == class);
        spec.priority = Some(known.map_or(0, |(_, priority)| *priority));
        spec.preemption_policy.get_or_insert_with(|| "PreemptLowerPriority".into());
        tolerate_gone_nodes(spec.tolerations.get_or_insert_default());
        let qos_class = Some(qos(spec).name().into());
        self.status = Some(PodStatus { phase: Some("Pending".into()), qos_class, ..PodStatus::default() });
    }

    fn swap_status(&mut self, other: &mut Pod) {
        std::mem::swap(&mut self.status, &mut other.status);
    }

    fn settle_status(&mut self, old: &Pod) {
        // The class follows from the spec, and is set once.
        let qos_class = old.status.as_ref().and_then(|status| status.qos_class.clone());
        self.status.get_or_insert_default().qos_class = qos_class;
    }

    fn is_respecified(&self, old: &Pod) -> Option<bool> {
        Some(self.spec != old.spec)
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let spec = self.spec.as_ref().expect("set_defaults makes a spec");
        let path = Path::Root.field("spec");
        validate_spec(spec, &path, errors);
        let class = spec.priority_class_name.as_deref().unwrap_or_default();
        if !class.is_empty() && !PRIORITY_CLASSES.iter().any(|(name, _)| *name == class) {
            let detail = format!("no PriorityClass with name {class} was found");
            errors.forbidden(&path.field("priorityClassName"), detail);
        }
        if spec.ephemeral_containers.as_ref().is_some_and(|containers| !containers.is_empty()) {
            errors.forbidden(&path.field("ephemeralContainers"), "cannot be set on create");
        }
    }

    fn validate_update(&self, old: &Pod, errors: &mut FieldErrors) {
        update::validate(self, old, errors);
    }

    fn validate_status(&self, errors: &mut FieldErrors) {
        let phase = self.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        let known = ["Failed", "Pending", "Running", "Succeeded", "Unknown"];
        if !phase.is_empty() && !known.contains(&phase) {
            errors.not_supported(&Path::Root.field("status").field("phase"), phase, &known);
        }
    }
}

/// What admission and the scheduler set may be left out of an update.
fn keep_what_was_given(spec: &mut PodSpec, before: &PodSpec) {
    for (field, old) in [
        (&mut spec.node_name, &before.node_name),
        (&mut spec.service_account_name, &before.service_account_name),
        (&mut spec.service_account, &before.service_account),
        (&mut spec.preemption_policy, &before.preemption_policy),
    ] {
        field.take_if(|value| value.is_empty());
        if field.is_none() {
            field.clone_from(old);
        }
    }
    spec.priority = spec.priority.or(before.priority);
    let given = before
        .tolerations
        .iter()
        .flatten()
        .filter(|toleration| toleration.key.as_deref().is_some_and(|key| [NOT_READY, UNREACHABLE].contains(&key)));
    for toleration in given {
        let tolerations = spec.tolerations.get_or_insert_default();
        if !tolerations.iter().any(|new| new.key == toleration.key) {
            tolerations.push(toleration.clone());
        }
    }
}

/// Every Pod outlives a short silence of its node, and no more.
fn tolerate_gone_nodes(tolerations: &mut Vec<Toleration>) {
    for key in [NOT_READY, UNREACHABLE] {
        let is_covered = tolerations.iter().any(|toleration| {
            let key_fits = toleration.key.as_deref().is_none_or(|k| k.is_empty() || k == key);
            let effect_fits = toleration.effect.as_deref().is_none_or(|e| e.is_empty() || e == "NoExecute");
            key_fits && effect_fits
        });
        if !is_covered {
            tolerations.push(Toleration {
                key: Some(key.into()),
                operator: Some("Exists".into()),
                effect: Some("NoExecute".into()),
                toleration_seconds: Some(GONE_NODE_TOLERATION_SECONDS),
                value: None,
            });
        }
    }
}
