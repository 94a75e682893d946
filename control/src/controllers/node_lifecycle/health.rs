//! What the leader makes of what it hears from a node, and when it had better do nothing. Pure, decides.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;

use super::condition;
use crate::view::{Change, Entry, View};

/// How long a node may be silent. Heartbeats come every second, so three in a row may get lost.
pub const GRACE: Duration = Duration::from_secs(4);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The leader has led too shortly to tell: what stands in the Node goes on to count.
    Unjudged,
    Up,
    /// The agent reports that its container engine does not work: with what it says of it.
    EngineDown(String),
    Silent,
}

/// A node that `view.liveness` does not list is unjudged: the driver lists those that were never heard of
/// only once it has led for longer than [`GRACE`].
pub fn health(view: &View, node: &str) -> Health {
    match view.liveness.get(node) {
        None => Health::Unjudged,
        Some(liveness) if liveness.silent_for > GRACE => Health::Silent,
        Some(liveness) if !liveness.engine_ready => Health::EngineDown(liveness.engine_message.clone()),
        Some(_) => Health::Up,
    }
}

/// Nobody is moved off silent nodes while none is well, or while more than two are away that make up 55 % of
/// all or more: then it is more likely that the leader is cut off than that they all died. These are
/// Kubernetes' numbers for a zone. So of three nodes two may die, and their pods move to the third.
pub fn evictions_pause(view: &View) -> bool {
    let away = |name: &str, node: &Node| match health(view, name) {
        Health::Unjudged => condition::was_ready(node) == Some(false),
        Health::Up => false,
        Health::EngineDown(_) | Health::Silent => true,
    };
    let (mut all, mut gone) = (0, 0);
    for entry in view.nodes() {
        all += 1;
        gone += usize::from(entry.node().is_some_and(|node| away(&entry.key.name, node)));
    }
    pauses(all, gone)
}

fn pauses(all: usize, away: usize) -> bool {
    away > 0 && (away == all || away > 2 && away * 100 >= all * 55)
}

/// Whether what stands in the Nodes made evictions pause before this change and not after, or the other way.
pub fn pause_differs(change: &Change, view: &View) -> bool {
    let was_away = |entry: &Entry| entry.node().is_some_and(|node| condition::was_ready(node) == Some(false));
    let count = |entry: &Option<Entry>| entry.as_ref().map_or((0, 0), |entry| (1, usize::from(was_away(entry))));
    let (before, after) = (count(&change.before), count(&change.after));
    if before == after {
        return false;
    }
    let all = view.nodes().count();
    let away = view.nodes().filter(|entry| was_away(entry)).count();
    pauses(all, away) != pauses(all + before.0 - after.0, away + before.1 - after.1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn evictions_pause_when_the_leader_is_the_likelier_culprit() {
        for (all, away, expected) in [
            (0, 0, false),
            (1, 0, false),
            (1, 1, true),
            (2, 1, false),
            (2, 2, true),
            (3, 1, false),
            (3, 2, false),
            (3, 3, true),
            (5, 2, false),
            (5, 3, true),
            (6, 3, false),
            (100, 54, false),
            (100, 55, true),
        ] {
            assert_eq!(super::pauses(all, away), expected, "{away} of {all} are away");
        }
    }
}
