//! A node's Ready condition, by its health. Pure, decides.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Health;

/// Puts the condition that health asks for; written only when status or reason differ, so that an idle cluster
/// writes nothing. Answers the new status if that changed. Reasons are Kubernetes', which tools look for.
pub fn set(node: &mut Node, health: &Health, now: Timestamp) -> Option<&'static str> {
    let (status, reason, message) = match health {
        Health::Unjudged => return None,
        Health::Up => {
            ("True", "KubeletReady", "the node's agent reports, and its container engine answers".to_string())
        }
        Health::EngineDown(message) => {
            ("False", "KubeletNotReady", format!("the container engine is not ready: {message}"))
        }
        Health::Silent => ("Unknown", "NodeStatusUnknown", "the node's agent stopped posting its status".to_string()),
    };
    let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
    let at = conditions.iter().position(|condition| condition.type_ == "Ready");
    let before = at.map(|at| &conditions[at]);
    let same_status = before.is_some_and(|condition| condition.status == status);
    if same_status && (status == "True" || before.is_some_and(|condition| condition.reason.as_deref() == Some(reason)))
    {
        return None;
    }
    let since = before.filter(|_| same_status).and_then(|condition| condition.last_transition_time.clone());
    let condition = NodeCondition {
        type_: "Ready".into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: since.or(Some(Time(now))),
    };
    match at {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    (!same_status).then_some(status)
}

pub fn is_ready(node: &Node) -> bool {
    was_ready(node) == Some(true)
}

/// `None`: nobody has said yet.
pub fn was_ready(node: &Node) -> Option<bool> {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.find(|condition| condition.type_ == "Ready").map(|condition| condition.status == "True")
}

/// Whether the condition says that the node is out of reach.
pub fn is_unknown(node: &Node) -> bool {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "Unknown")
}
