//! Whether a pod counts, and for how much. Pure, decides.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::draft::{earliest, seconds_after};

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Succeeded or Failed: it will never run again.
pub fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// It runs or will run, and is not on its way out.
pub fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// Since when the pod is ready. `None`: it is not.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    Some(ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

/// When a ready pod has been so for long enough. Its agent's clock tells since when, and may be ahead: who need not
/// wait is available at once all the same.
pub fn available_at(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<Timestamp> {
    ready_since(pod).map(|since| seconds_after(since.min(now), min_ready_seconds.max(0).into()))
}

/// How many of a set's pods are how far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub active: i32,
    pub ready: i32,
    pub available: i32,
    /// When the next of those that are ready becomes available.
    pub next_available: Option<Timestamp>,
}

impl Counts {
    /// Of active pods.
    pub fn of<'a>(pods: impl Iterator<Item = &'a Pod>, min_ready_seconds: i32, now: Timestamp) -> Counts {
        let mut counts = Counts::default();
        for pod in pods {
            counts.active += 1;
            let Some(at) = available_at(pod, min_ready_seconds, now) else { continue };
            counts.ready += 1;
            if at <= now {
                counts.available += 1;
            } else {
                counts.next_available = earliest(counts.next_available, Some(at));
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_is_ready_by_a_clock_that_is_ahead_is_available_where_none_need_wait() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T01:00:00Z"});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "status": {"conditions": [ready]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let counts = |min_ready_seconds| Counts::of(std::iter::once(&pod), min_ready_seconds, now);
        assert_eq!(counts(0), Counts { active: 1, ready: 1, available: 1, next_available: None });
        let next_available = Some(seconds_after(now, 10));
        assert_eq!(counts(10), Counts { active: 1, ready: 1, available: 0, next_available });
    }
}
