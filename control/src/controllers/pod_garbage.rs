//! Removes pods that nobody looks after: of nodes that are gone, and finished ones beyond a number. Pure, decides.

use api::Key;
use api::deletion::Options;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::draft;
use super::readiness::is_finished;
use crate::plan::WRITES_MAX;
use crate::view::{Change, Entry, View};
use crate::{Controller, Plan, Write};

pub struct PodGarbage {
    /// More finished pods than this are not kept: the oldest go. They are kept for people to look at.
    pub finished_max: usize,
    /// How long a node may be gone before its pods are given up: it may have been deleted by mistake, and
    /// registers again.
    pub quarantine_seconds: i64,
}

impl Default for PodGarbage {
    /// Kubernetes' own numbers.
    fn default() -> PodGarbage {
        PodGarbage { finished_max: 12_500, quarantine_seconds: 40 }
    }
}

const CONDITION: &str = "DisruptionTarget";
const REASON: &str = "DeletionByPodGC";

impl Controller for PodGarbage {
    fn name(&self) -> &'static str {
        "podgc"
    }

    fn affected(&self, change: &Change, view: &View) -> Vec<Key> {
        if change.is_of("", "nodes") {
            let came_or_went = change.before.is_none() || change.after.is_none();
            let pods = view.pods_on(&change.key.name).filter(|_| came_or_went);
            return pods.map(|entry| Key::clone(&entry.key)).collect();
        }
        let Some(entry) = change.after.as_ref().filter(|entry| entry.pod().is_some()) else { return Vec::new() };
        let mut keys = Vec::new();
        if entry.bound_to().is_some_and(|node| view.node(node).is_none()) || told_at(entry).is_some() {
            keys.push(change.key.clone());
        }
        if finished(entry) {
            keys.push(all_finished());
        }
        keys
    }

    fn plan(&self, view: &View, key: &Key) -> Plan {
        if *key == all_finished() {
            return self.thin_out(view);
        }
        match view.get(key).and_then(|entry| Some((entry, entry.pod()?))) {
            Some((entry, pod)) => self.plan_pod(view, entry, pod),
            None => Plan::default(),
        }
    }
}

impl PodGarbage {
    fn plan_pod(&self, view: &View, entry: &Entry, pod: &Pod) -> Plan {
        let lost_node = entry.bound_to().filter(|node| view.node(node).is_none());
        let standing = told_at(entry);
        match (lost_node, standing) {
            (None, None) => Plan::default(),
            (None, Some(_)) if entry.is_terminating() => Plan::default(),
            (None, Some(_)) => {
                let mut next = pod.clone();
                let conditions = &mut next.status.get_or_insert_default().conditions;
                conditions.get_or_insert_default().retain(|condition| !is_ours(condition));
                conditions.take_if(|conditions| conditions.is_empty());
                plan(vec![draft::update(entry, &next)], "its node is back")
            }
            (Some(_), _) if entry.is_terminating() || is_finished(pod) => remove(view, entry),
            (Some(_), Some(since)) if since <= view.now => {
                let until = draft::seconds_after(since, self.quarantine_seconds);
                match until <= view.now {
                    true => remove(view, entry),
                    false => Plan { recheck_at: Some(until), ..Plan::default() },
                }
            }
            // Not told yet, or by a clock that was set back since: the pod would stay for as long.
            (Some(_), _) => {
                let mut next = pod.clone();
                let conditions = next.status.get_or_insert_default().conditions.get_or_insert_default();
                conditions.retain(|condition| condition.type_ != CONDITION);
                conditions.push(target(view.now));
                let recheck_at = Some(draft::seconds_after(view.now, self.quarantine_seconds));
                Plan { recheck_at, ..plan(vec![draft::update(entry, &next)], "its node does not exist") }
            }
        }
    }

    fn thin_out(&self, view: &View) -> Plan {
        let mut all: Vec<&Entry> = view.pods().filter(|entry| finished(entry)).collect();
        let surplus = all.len().saturating_sub(self.finished_max).min(WRITES_MAX);
        all.sort_by_key(|entry| (entry.created_at(), entry.key.clone()));
        let writes = all.into_iter().take(surplus).filter_map(|entry| forced(view, entry));
        plan(writes.collect(), "there are too many finished pods")
    }
}

/// Stands for all finished pods together. No pod has an empty name.
fn all_finished() -> Key {
    Key::new("", "pods", "", "")
}

fn finished(entry: &Entry) -> bool {
    !entry.is_terminating() && entry.pod().is_some_and(|pod| is_finished(pod))
}

/// When it was first written on the pod that its node is gone.
fn told_at(entry: &Entry) -> Option<Timestamp> {
    let conditions = entry.pod()?.status.as_ref()?.conditions.as_ref()?;
    let ours = conditions.iter().find(|condition| is_ours(condition))?;
    Some(ours.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

fn is_ours(condition: &PodCondition) -> bool {
    condition.type_ == CONDITION && condition.reason.as_deref() == Some(REASON)
}

fn target(now: Timestamp) -> PodCondition {
    PodCondition {
        type_: CONDITION.into(),
        status: "True".into(),
        reason: Some(REASON.into()),
        message: Some("PodGC: node no longer exists".into()),
        last_transition_time: Some(Time(now)),
        ..PodCondition::default()
    }
}

fn remove(view: &View, entry: &Entry) -> Plan {
    plan(forced(view, entry).into_iter().collect(), "its node does not exist")
}

/// No agent is there to end it, so there is no grace.
fn forced(view: &View, entry: &Entry) -> Option<Write> {
    let options = Options { grace_seconds: Some(0), ..Options::default() };
    draft::delete(entry, &options, view.now)
}

fn plan(writes: Vec<Write>, reason: &str) -> Plan {
    Plan { writes, reason: reason.into(), ..Plan::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::fixtures::{World, bound, key_of};

    const START: i64 = 1_000_000;

    #[test]
    fn a_lost_node_that_was_told_of_in_a_time_to_come_is_told_of_anew() {
        let pod = bound("lost", "gone");
        let key = key_of(&pod);
        let mut world = World::new([pod]);
        let settle = |world: &mut World| world.settle(&PodGarbage::default(), &key).len();
        world.at(START + 3600);
        assert_eq!(settle(&mut world), 1);

        world.at(START);
        assert_eq!(settle(&mut world), 1, "the clock was set back");
        world.at(START + 39);
        assert_eq!(settle(&mut world), 0);
        world.at(START + 40);
        assert_eq!(settle(&mut world), 1);
        assert!(world.get(&key).is_none());
    }
}
