//! What a deployment says of itself: counts, and how the rollout goes. Pure, decides.

use k8s_openapi::api::apps::v1::DeploymentStatus;

use super::super::draft::earliest;
use super::conditions;
use super::rollout::Rollout;

/// Counts the pods. How the rollout goes is left as it stands.
pub fn count(rollout: &mut Rollout) {
    let status = counted(rollout);
    rollout.deployment.status = Some(status);
}

/// Counts the pods, and judges the progress since the last time.
pub fn progress(rollout: &mut Rollout) {
    let mut status = counted(rollout);
    let before = rollout.deployment.status.clone().unwrap_or_default();
    conditions::judge(rollout, &mut status, &before);
    rollout.deployment.status = Some(status);
}

/// Whether all pods there are, are new and available.
pub fn is_complete(rollout: &Rollout) -> bool {
    rollout.deployment.status.as_ref().is_some_and(|status| all_new(status, rollout.limits.desired))
}

pub fn all_new(status: &DeploymentStatus, desired: i32) -> bool {
    let counts = [status.updated_replicas, status.replicas, status.available_replicas];
    counts.iter().all(|count| count.unwrap_or(0) == desired)
}

fn counted(rollout: &mut Rollout) -> DeploymentStatus {
    let sum = |count: fn(&super::rollout::Set) -> i32| rollout.sets.iter().map(count).sum::<i32>();
    let some = |count: i32| (count > 0).then_some(count);
    let available = sum(|set| set.counts.available);
    let before = rollout.deployment.status.clone().unwrap_or_default();
    let mut status = DeploymentStatus {
        replicas: some(sum(|set| set.counts.active)),
        updated_replicas: some(rollout.newest().map_or(0, |set| set.counts.active)),
        ready_replicas: some(sum(|set| set.counts.ready)),
        available_replicas: some(available),
        unavailable_replicas: some(rollout.replicas() - available),
        observed_generation: rollout.deployment.metadata.generation,
        ..before
    };
    conditions::note_availability(&mut status, available, &rollout.limits, rollout.view.now);
    let next = rollout.sets.iter().filter_map(|set| set.counts.next_available).min();
    rollout.recheck_at = earliest(rollout.recheck_at, next);
    status
}
