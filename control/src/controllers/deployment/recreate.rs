//! The strategy Recreate: all old pods go, and only when they are gone the new ones come. Pure, decides.

use super::revision;
use super::rollout::Rollout;

pub fn step(rollout: &mut Rollout) {
    revision::sync(rollout, false);
    let mut scaled = false;
    for at in rollout.old() {
        scaled |= rollout.sets[at].replicas() > 0 && rollout.scale(at, 0);
    }
    if scaled || rollout.old().any(|at| rollout.sets[at].has_pods) {
        return;
    }
    revision::sync(rollout, true);
    if let Some(at) = rollout.newest
        && rollout.sets[at].replicas() != rollout.limits.desired
    {
        rollout.scale(at, rollout.limits.desired);
    }
}
