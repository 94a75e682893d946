//! The conditions Available, Progressing and ReplicaFailure, worded as Kubernetes words them. Pure, decides.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus, ReplicaSetCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::draft::{earliest, seconds_after};
use super::limits::Limits;
use super::rollout::Rollout;
use super::status::all_new;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";

const NEW_SET_CREATED: &str = "NewReplicaSetCreated";
const NEW_SET_FOUND: &str = "FoundNewReplicaSet";
const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const SET_UPDATED: &str = "ReplicaSetUpdated";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
const RESUMED: &str = "DeploymentResumed";

/// Says that the deployment was paused or resumed: the clock of the progress deadline stands meanwhile.
pub fn note_pause(rollout: &mut Rollout) {
    let standing = rollout.deployment.status.as_ref().and_then(|status| find(status, PROGRESSING));
    let reason = standing.and_then(|condition| condition.reason.as_deref());
    if deadline_seconds(rollout).is_none() || reason == Some(TIMED_OUT) {
        return;
    }
    match (rollout.is_paused(), reason == Some(PAUSED)) {
        (true, false) => tell(rollout, "Unknown", PAUSED, "Deployment is paused".into()),
        (false, true) => tell(rollout, "Unknown", RESUMED, "Deployment is resumed".into()),
        _ => {}
    }
}

pub fn note_created(rollout: &mut Rollout, set: &str) {
    if deadline_seconds(rollout).is_some() {
        tell(rollout, "True", NEW_SET_CREATED, format!("Created new replica set {set:?}"));
    }
}

/// Only where nothing was said before.
pub fn note_found(rollout: &mut Rollout, set: &str) {
    let is_silent = rollout.deployment.status.as_ref().is_none_or(|status| find(status, PROGRESSING).is_none());
    if is_silent && deadline_seconds(rollout).is_some() {
        tell(rollout, "True", NEW_SET_FOUND, format!("Found new replica set {set:?}"));
    }
}

pub fn note_availability(status: &mut DeploymentStatus, available: i32, limits: &Limits, now: Timestamp) {
    let condition = if available >= limits.min_available() {
        condition(AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.".into(), now)
    } else {
        let message = "Deployment does not have minimum availability.".into();
        condition(AVAILABLE, "False", "MinimumReplicasUnavailable", message, now)
    };
    set(status, condition);
}

/// Whether the rollout is done, moves, or has stood still for too long; and when to look again for the last.
pub fn judge(rollout: &mut Rollout, status: &mut DeploymentStatus, before: &DeploymentStatus) {
    let now = rollout.view.now;
    let desired = rollout.limits.desired;
    let newest = rollout.newest().map(|set| set.name().to_string());
    let subject = match newest {
        Some(set) => format!("ReplicaSet {set:?}"),
        None => format!("Deployment {:?}", rollout.entry.key.name),
    };
    let standing = find(before, PROGRESSING).cloned();
    let reason = standing.as_ref().and_then(|condition| condition.reason.as_deref());
    let deadline = deadline_seconds(rollout);
    let is_done = status.replicas == status.updated_replicas && reason == Some(NEW_SET_AVAILABLE);
    match deadline {
        None => drop_type(status, PROGRESSING),
        Some(_) if is_done => {}
        Some(_) if all_new(status, desired) => {
            let message = format!("{subject} has successfully progressed.");
            set(status, condition(PROGRESSING, "True", NEW_SET_AVAILABLE, message, now));
        }
        Some(_) if has_moved(status, before) => {
            let mut moved = condition(PROGRESSING, "True", SET_UPDATED, format!("{subject} is progressing."), now);
            if let Some(standing) = standing.filter(|standing| standing.status == moved.status) {
                moved.last_transition_time = standing.last_transition_time;
            }
            drop_type(status, PROGRESSING);
            set(status, moved);
        }
        Some(seconds) => {
            let since = standing.as_ref().and_then(|standing| standing.last_update_time.as_ref()).map(|time| time.0);
            let until = since.map(|since| seconds_after(since, seconds.into()));
            match until {
                Some(until) if until < now && reason != Some(NEW_SET_AVAILABLE) => {
                    let message = format!("{subject} has timed out progressing.");
                    set(status, condition(PROGRESSING, "False", TIMED_OUT, message, now));
                }
                _ => {}
            }
        }
    }
    note_failure(rollout, status);
    rollout.recheck_at =
        earliest(rollout.recheck_at, deadline.and_then(|seconds| timeout_of(status, desired, seconds)));
}

/// When a rollout that is under way will have taken too long.
fn timeout_of(status: &DeploymentStatus, desired: i32, deadline_seconds: i32) -> Option<Timestamp> {
    let standing = find(status, PROGRESSING)?;
    let is_over = matches!(standing.reason.as_deref(), Some(TIMED_OUT | NEW_SET_AVAILABLE));
    if is_over || all_new(status, desired) {
        return None;
    }
    // One second later, since times are kept in whole seconds.
    standing.last_update_time.as_ref().map(|time| seconds_after(time.0, i64::from(deadline_seconds) + 1))
}

fn has_moved(after: &DeploymentStatus, before: &DeploymentStatus) -> bool {
    let number = |count: Option<i32>| count.unwrap_or(0);
    let old = |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
    number(after.updated_replicas) > number(before.updated_replicas)
        || old(after) < old(before)
        || number(after.ready_replicas) > number(before.ready_replicas)
        || number(after.available_replicas) > number(before.available_replicas)
}

/// What keeps a set from making pods, keeps the deployment: the newest set's word counts first.
fn note_failure(rollout: &Rollout, status: &mut DeploymentStatus) {
    let sets = rollout.newest().into_iter().chain(rollout.old().map(|at| &rollout.sets[at]));
    let failure = sets
        .filter_map(|set| set.object.status.as_ref()?.conditions.as_ref())
        .flatten()
        .find(|condition| condition.type_.as_deref() == Some(REPLICA_FAILURE));
    match failure {
        Some(failure) => set(status, of_set(failure, rollout.view.now)),
        None => drop_type(status, REPLICA_FAILURE),
    }
}

fn of_set(failure: &ReplicaSetCondition, now: Timestamp) -> DeploymentCondition {
    DeploymentCondition {
        type_: failure.type_.clone(),
        status: failure.status.clone(),
        reason: failure.reason.clone(),
        message: failure.message.clone(),
        last_transition_time: failure.last_transition_time.clone(),
        last_update_time: Some(Time(now)),
    }
}

/// `None`: progress is not timed. The largest number means "never", as in Kubernetes.
fn deadline_seconds(rollout: &Rollout) -> Option<i32> {
    rollout.deployment.spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)
}

fn tell(rollout: &mut Rollout, is: &str, reason: &str, message: String) {
    let condition = condition(PROGRESSING, is, reason, message, rollout.view.now);
    set(rollout.deployment.status.get_or_insert_default(), condition);
}

fn condition(type_: &str, is: &str, reason: &str, message: String, now: Timestamp) -> DeploymentCondition {
    DeploymentCondition {
        type_: Some(type_.into()),
        status: Some(is.into()),
        reason: Some(reason.into()),
        message: Some(message),
        last_transition_time: Some(Time(now)),
        last_update_time: Some(Time(now)),
    }
}

fn find<'a>(status: &'a DeploymentStatus, type_: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_.as_deref() == Some(type_))
}

/// The same status for the same reason is no news, whatever the message.
fn set(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    let type_ = condition.type_.clone().unwrap_or_default();
    if let Some(standing) = find(status, &type_).filter(|standing| standing.status == condition.status) {
        if standing.reason == condition.reason {
            return;
        }
        condition.last_transition_time.clone_from(&standing.last_transition_time);
    }
    drop_type(status, &type_);
    status.conditions.get_or_insert_default().push(condition);
}

fn drop_type(status: &mut DeploymentStatus, type_: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_.as_deref() != Some(type_));
    }
    status.conditions.take_if(|conditions| conditions.is_empty());
}
