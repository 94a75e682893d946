//! Old sets beyond the revision history limit are deleted, oldest revisions first. Pure, decides.

use super::revision;
use super::rollout::Rollout;

/// Only sets that hold nothing go.
pub fn clean_up(rollout: &mut Rollout) {
    let Some(limit) = rollout.deployment.spec.revision_history_limit else { return };
    let mut old: Vec<usize> = rollout.old().filter(|at| !rollout.sets[*at].is_terminating()).collect();
    let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    old.sort_by_cached_key(|at| revision::by_revision(&rollout.sets[*at]));
    for at in old.into_iter().take(surplus) {
        if rollout.sets[at].is_spent() {
            rollout.delete(at);
        }
    }
}
