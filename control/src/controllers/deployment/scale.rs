//! Another number of replicas, whatever else goes on: the sets share it in proportion. Pure, decides.

use std::cmp::Reverse;

use super::revision::{desired_noted, max_noted};
use super::rollout::{Rollout, Set};

/// Whether somebody changed the number of replicas since the sets got their shares.
pub fn is_due(rollout: &Rollout) -> bool {
    let desired = rollout.limits.desired;
    active(rollout).any(|at| desired_noted(&rollout.sets[at].object).is_some_and(|noted| noted != desired))
}

pub fn to_desired(rollout: &mut Rollout) {
    let desired = rollout.limits.desired;
    match only_one(rollout) {
        Some(at) => {
            rollout.scale(at, desired);
        }
        None if is_saturated(rollout) => {
            for at in rollout.old() {
                rollout.scale(at, 0);
            }
        }
        None if !rollout.limits.recreate => share(rollout),
        None => {}
    }
    let rest: Vec<usize> = active(rollout).collect();
    for at in rest {
        let replicas = rollout.sets[at].replicas();
        rollout.scale(at, replicas);
    }
}

fn active(rollout: &Rollout) -> impl Iterator<Item = usize> {
    (0..rollout.sets.len()).filter(|at| rollout.sets[*at].replicas() > 0)
}

/// The one active set; if there is none, the newest, or the latest of the old ones. `None`: there are several.
fn only_one(rollout: &Rollout) -> Option<usize> {
    let mut active = active(rollout);
    match (active.next(), active.next()) {
        (Some(at), None) => Some(at),
        (None, _) => rollout.newest.or_else(|| rollout.old().last()),
        _ => None,
    }
}

fn is_saturated(rollout: &Rollout) -> bool {
    let desired = rollout.limits.desired;
    rollout.newest().is_some_and(|set| {
        set.replicas() == desired && desired_noted(&set.object) == Some(desired) && set.available() == desired
    })
}

/// Spreads the difference over the active sets by their sizes; the largest takes what rounding leaves.
fn share(rollout: &mut Rollout) {
    let limits = rollout.limits;
    let allowed = if limits.desired > 0 { limits.max() } else { 0 };
    let to_add = allowed - rollout.replicas();
    let mut order: Vec<usize> = active(rollout).collect();
    // Among equals the newer grow first, and the older shrink first.
    order.sort_by_key(|at| {
        let set = &rollout.sets[*at];
        let at = *at as i64;
        (Reverse(set.replicas()), if to_add > 0 { -at } else { at })
    });
    let mut added = 0;
    let mut shares: Vec<(usize, i32)> = Vec::with_capacity(order.len());
    for at in order {
        let set = &rollout.sets[at];
        let share = if to_add == 0 { 0 } else { proportion(rollout, set, to_add - added, allowed) };
        added += share;
        shares.push((at, set.replicas() + share));
    }
    if let Some((_, first)) = shares.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    for (at, replicas) in shares {
        rollout.scale(at, replicas);
    }
}

/// A set's part of `left`, never more than that.
fn proportion(rollout: &Rollout, set: &Set, left: i32, allowed: i32) -> i32 {
    let replicas = set.replicas();
    if rollout.limits.desired == 0 {
        return -replicas;
    }
    let status = rollout.deployment.status.as_ref();
    let before = max_noted(&set.object).or_else(|| status.and_then(|status| status.replicas)).unwrap_or(0);
    if before <= 0 {
        return 0;
    }
    let scaled = i64::from(replicas) * i64::from(allowed);
    let before = i64::from(before);
    let rounded = (2 * scaled + before) / (2 * before);
    let share = rounded.min(i32::MAX.into()) as i32 - replicas;
    if left > 0 { share.clamp(0, left) } else { share.clamp(left, 0) }
}
