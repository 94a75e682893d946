//! The strategy RollingUpdate: the new set grows and the old ones shrink, never above desired + surge pods,
//! never below desired - unavailable available ones. Pure, decides.

use super::revision;
use super::rollout::Rollout;

pub fn step(rollout: &mut Rollout) {
    revision::sync(rollout, true);
    if !grow_newest(rollout) {
        shrink_old(rollout);
    }
}

/// How many pods the newest set may have now.
pub fn room_for_newest(rollout: &Rollout) -> i32 {
    let limits = &rollout.limits;
    let now = rollout.newest().map_or(0, |set| set.replicas());
    if limits.recreate || now >= limits.desired {
        return limits.desired;
    }
    // Pods that their set has yet to give up still take room.
    let room = limits.max() - rollout.sets.iter().map(|set| set.held()).sum::<i32>();
    now + room.clamp(0, limits.desired - now)
}

fn grow_newest(rollout: &mut Rollout) -> bool {
    let Some(at) = rollout.newest else { return false };
    let replicas = room_for_newest(rollout);
    replicas != rollout.sets[at].replicas() && rollout.scale(at, replicas)
}

/// First the pods that serve nobody, then as many others as may be missed.
fn shrink_old(rollout: &mut Rollout) {
    if rollout.old().all(|at| rollout.sets[at].replicas() == 0) {
        return;
    }
    let min_available = rollout.limits.min_available();
    let newest_unavailable = rollout.newest().map_or(0, |set| set.replicas() - set.available());
    let spare = rollout.replicas() - min_available - newest_unavailable;
    if spare <= 0 {
        return;
    }
    drop_unhealthy(rollout, spare);
    let available: i32 = rollout.sets.iter().map(|set| set.available()).sum();
    let mut spare = available - min_available;
    for at in rollout.old() {
        let replicas = rollout.sets[at].replicas();
        let fewer = replicas.min(spare);
        if fewer > 0 {
            rollout.scale(at, replicas - fewer);
            spare -= fewer;
        }
    }
}

fn drop_unhealthy(rollout: &mut Rollout, mut spare: i32) {
    for at in rollout.old() {
        let set = &rollout.sets[at];
        let replicas = set.replicas();
        let fewer = (replicas - set.available()).min(spare);
        if fewer > 0 {
            rollout.scale(at, replicas - fewer);
            spare -= fewer;
        }
    }
}
