//! Removes pods that nobody looks after: of nodes that are gone, and finished ones beyond a number. Pure, decides.

use api::Key;
use api::deletion::Options;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::draft;
use super::node_lifecycle::GRACE;
use super::readiness::{is_active, is_finished};
use crate::plan::Room;
use crate::view::{Change, Entry, View};
use crate::{Controller, Plan, Write};

pub struct PodGarbage {
    /// More finished pods than this are not kept: the oldest go. They are kept for people to look at.
    pub finished_max: usize,
    /// How long a node must be gone, and silent, before its pods are given up. It may have been deleted by mistake: an agent
    /// that lives, and reaches any replica, registers it again long before. And what an agent runs that is heard, is for that
    /// agent to end: where a pod's object goes before its containers have ended, another may have its name beside them.
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
/// Of a node that it has not heard of a leader can tell only once it has led for this long.
const UNJUDGED_SECONDS: i64 = GRACE.as_secs() as i64 + 1;

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
        let is_told = entry.pod().is_some_and(|pod| told_at(pod).is_some());
        if is_told || entry.bound_to().is_some_and(|node| view.node(node).is_none()) {
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
        let Some(node) = entry.bound_to().filter(|node| view.node(node).is_none()) else {
            return untell(entry, pod);
        };
        // Not told yet, or by a clock that was set back since: the pod would stay for as long.
        let Some(since) = told_at(pod).filter(|since| *since <= view.now) else {
            return self.tell(view, entry, pod);
        };
        let until = draft::seconds_after(since, self.quarantine_seconds);
        if until > view.now {
            return Plan { recheck_at: Some(until), ..Plan::default() };
        }
        let Some(recheck_at) = self.speaks_until(view, node) else {
            return plan(forced(view, entry).into_iter().collect(), "its node does not exist");
        };
        let end = is_active(pod).then(|| draft::delete(entry, &Options::default(), view.now)).flatten();
        let reason = "its node does not exist, and its agent is to end it";
        Plan { recheck_at: Some(recheck_at), ..plan(end.into_iter().collect(), reason) }
    }

    fn tell(&self, view: &View, entry: &Entry, pod: &Pod) -> Plan {
        let mut next = pod.clone();
        let conditions = next.status.get_or_insert_default().conditions.get_or_insert_default();
        conditions.retain(|condition| condition.type_ != CONDITION);
        conditions.push(target(view.now));
        let recheck_at = Some(draft::seconds_after(view.now, self.quarantine_seconds));
        Plan { recheck_at, ..plan(vec![draft::update(entry, &next)], "its node does not exist") }
    }

    /// When to look again, as long as the agent of a node that is gone may yet have its word. `None`: it has been silent for
    /// so long that its session is over.
    fn speaks_until(&self, view: &View, node: &str) -> Option<Timestamp> {
        let left = match view.liveness.get(node) {
            None => UNJUDGED_SECONDS,
            Some(liveness) => {
                self.quarantine_seconds - i64::try_from(liveness.silent_for.as_secs()).unwrap_or(i64::MAX)
            }
        };
        (left > 0).then(|| draft::seconds_after(view.now, left))
    }

    fn thin_out(&self, view: &View) -> Plan {
        let mut all: Vec<&Entry> = view.pods().filter(|entry| finished(entry)).collect();
        let surplus = all.len().saturating_sub(self.finished_max);
        all.sort_by_key(|entry| (entry.created_at(), entry.key.clone()));
        let writes = all.into_iter().take(surplus).filter_map(|entry| forced(view, entry));
        let mut room = Room::default();
        plan(writes.take_while(|write| room.takes(write)).collect(), "there are too many finished pods")
    }
}

/// Stands for all finished pods together. No pod has an empty name.
fn all_finished() -> Key {
    Key::new("", "pods", "", "")
}

fn finished(entry: &Entry) -> bool {
    !entry.is_terminating() && entry.pod().is_some_and(|pod| is_finished(pod))
}

/// Its node is gone, and so may the pod be at any moment, without a word of its agent. One that is ending is only ended by
/// whoever hears of it, and nothing of one that has finished is begun.
pub fn may_be_given_up(pod: &Pod) -> bool {
    told_at(pod).is_some() && is_active(pod)
}

/// When it was first written on the pod that its node is gone.
fn told_at(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
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

/// Its node is there, again or after all.
fn untell(entry: &Entry, pod: &Pod) -> Plan {
    if told_at(pod).is_none() {
        return Plan::default();
    }
    let mut next = pod.clone();
    let conditions = &mut next.status.get_or_insert_default().conditions;
    conditions.get_or_insert_default().retain(|condition| !is_ours(condition));
    conditions.take_if(|conditions| conditions.is_empty());
    plan(vec![draft::update(entry, &next)], "its node is back")
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
#[path = "pod_garbage_tests.rs"]
mod tests;
