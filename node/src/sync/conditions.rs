//! A Pod's conditions, with the times at which they changed. Pure.

use k8s_openapi::api::core::v1::{PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Input;
use super::containers::whole_seconds;
use crate::pod::spec_of;

/// What the agent found out, before it is put into conditions.
pub struct Findings {
    pub sandbox_stands: bool,
    /// Init containers that have not finished.
    pub uninitialized: Vec<String>,
    pub unready: Vec<String>,
    /// Once the Pod has its result, though something of it may still run: has it succeeded?
    pub succeeded: Option<bool>,
}

/// The agent's own conditions. Those of others are not its to report: the status is merged by condition type.
pub fn report(input: &Input<'_>, findings: &Findings, before: Option<&PodStatus>) -> Vec<PodCondition> {
    let old = before.and_then(|status| status.conditions.clone()).unwrap_or_default();
    let initialized = findings.uninitialized.is_empty() || findings.succeeded == Some(true);
    let ready = findings.unready.is_empty() && findings.succeeded.is_none();
    let gates = missing_gates(input);
    let completed = findings.succeeded == Some(true);
    let wanted = [
        condition("PodReadyToStartContainers", findings.sandbox_stands, None),
        condition(
            "Initialized",
            initialized,
            match (initialized, completed) {
                (true, true) => Some(("PodCompleted", String::new())),
                (true, false) => None,
                (false, _) => Some(("ContainersNotInitialized", not("initialized", &findings.uninitialized))),
            },
        ),
        condition("Ready", ready && gates.is_empty(), unready(findings, ready, &gates)),
        condition("ContainersReady", ready, unready(findings, ready, &[])),
    ];
    wanted.into_iter().map(|fresh| timed(fresh, &old, input)).collect()
}

fn unready(findings: &Findings, ready: bool, gates: &[String]) -> Option<(&'static str, String)> {
    if ready {
        return (!gates.is_empty()).then(|| {
            let text = format!("the status of pod readiness gate {:?} is not \"True\"", gates.join(", "));
            ("ReadinessGatesNotReady", text)
        });
    }
    Some(match findings.succeeded {
        Some(true) => ("PodCompleted", String::new()),
        Some(false) => ("PodFailed", String::new()),
        None => ("ContainersNotReady", not("ready", &findings.unready)),
    })
}

fn not(what: &str, names: &[String]) -> String {
    let state = if what == "ready" { "unready" } else { "incomplete" };
    format!("containers with {state} status: [{}]", names.join(" "))
}

/// Conditions of others that a Pod waits for.
fn missing_gates(input: &Input<'_>) -> Vec<String> {
    let conditions = input.pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let holds = |name: &str| {
        conditions.iter().copied().flatten().any(|condition| condition.type_ == name && condition.status == "True")
    };
    let gates = spec_of(input.pod).readiness_gates.iter().flatten();
    gates.filter(|gate| !holds(&gate.condition_type)).map(|gate| gate.condition_type.clone()).collect()
}

fn condition(type_: &str, holds: bool, why: Option<(&'static str, String)>) -> PodCondition {
    let (reason, message) = why.map_or((None, None), |(reason, message)| (Some(reason.to_owned()), Some(message)));
    PodCondition {
        type_: type_.to_owned(),
        status: if holds { "True" } else { "False" }.into(),
        reason,
        message: message.filter(|message| !message.is_empty()),
        ..PodCondition::default()
    }
}

/// The time of the last transition: kept while the status is the same.
fn timed(mut fresh: PodCondition, old: &[PodCondition], input: &Input<'_>) -> PodCondition {
    let before = old.iter().find(|condition| condition.type_ == fresh.type_ && condition.status == fresh.status);
    let kept = before.and_then(|condition| condition.last_transition_time.clone());
    fresh.last_transition_time = Some(kept.unwrap_or_else(|| Time(whole_seconds(input.wall))));
    fresh
}
