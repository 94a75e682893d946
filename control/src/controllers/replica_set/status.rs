//! What a set says of itself. Pure, decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::readiness::Counts;

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Why the pods could not be made.
pub struct Failure {
    pub reason: &'static str,
    pub message: String,
}

impl Failure {
    /// Whether the set's status says so already.
    pub fn is_told(&self, set: &ReplicaSet) -> bool {
        conditions(set).iter().any(|condition| self.is(condition))
    }

    fn is(&self, condition: &ReplicaSetCondition) -> bool {
        condition.type_.as_deref() == Some(REPLICA_FAILURE)
            && condition.reason.as_deref() == Some(self.reason)
            && condition.message.as_deref() == Some(self.message.as_str())
    }
}

/// Counts the set's active pods. Answers also when a count will change by the mere passing of time.
pub fn of(
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    failure: Option<Failure>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<Timestamp>) {
    let min_ready_seconds = set.spec.min_ready_seconds.unwrap_or(0);
    let counts = Counts::of(pods.iter().map(|pod| &**pod), min_ready_seconds, now);
    let empty = BTreeMap::new();
    let template =
        set.spec.template.as_ref().and_then(|template| template.metadata.as_ref()?.labels.as_ref()).unwrap_or(&empty);
    let labeled = pods.iter().filter(|pod| {
        let labels = pod.metadata.labels.as_ref().unwrap_or(&empty);
        template.iter().all(|(name, value)| labels.get(name) == Some(value))
    });
    let some = |count: i32| (count > 0).then_some(count);
    let status = ReplicaSetStatus {
        replicas: counts.active,
        fully_labeled_replicas: some(labeled.count() as i32),
        ready_replicas: some(counts.ready),
        available_replicas: some(counts.available),
        observed_generation: set.metadata.generation,
        conditions: with_failure(conditions(set), failure, now),
        ..ReplicaSetStatus::default()
    };
    (status, counts.next_available)
}

fn conditions(set: &ReplicaSet) -> &[ReplicaSetCondition] {
    set.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

fn with_failure(
    before: &[ReplicaSetCondition],
    failure: Option<Failure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let is_failure = |condition: &&ReplicaSetCondition| condition.type_.as_deref() == Some(REPLICA_FAILURE);
    let standing = before.iter().find(is_failure);
    let mut after: Vec<ReplicaSetCondition> =
        before.iter().filter(|condition| !is_failure(condition)).cloned().collect();
    after.extend(failure.map(|failure| match standing.filter(|condition| failure.is(condition)) {
        Some(standing) => standing.clone(),
        None => ReplicaSetCondition {
            type_: Some(REPLICA_FAILURE.into()),
            status: Some("True".into()),
            reason: Some(failure.reason.into()),
            message: Some(failure.message),
            last_transition_time: Some(Time(now)),
        },
    }));
    (!after.is_empty()).then_some(after)
}
