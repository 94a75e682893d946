//! The scheduler as a controller: plans the bindings of all that waits, in one command. Pure, decides.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex, MutexGuard};

use api::Key;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, PodCondition, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::cluster::Cluster;
use super::facts::Facts;
use super::place::place;
use super::reasons::Unplaceable;
use crate::plan::Room;
use crate::view::{Change, Entry};
use crate::{Controller, Note, Plan, View, Write};

/// Keeps a snapshot of the cluster that follows the changes it is shown. The snapshot is only a faster way to
/// the same plan: when it is not at the view's revision, it is made anew from the view.
#[derive(Default)]
pub struct Scheduler {
    snapshot: Mutex<Snapshot>,
}

#[derive(Default)]
struct Snapshot {
    revision: u64,
    cluster: Cluster,
}

impl Controller for Scheduler {
    fn name(&self) -> &'static str {
        "scheduler"
    }

    fn affected(&self, change: &Change, view: &View) -> Vec<Key> {
        let mut snapshot = self.snapshot();
        let matters = take_in(&mut snapshot.cluster, &change.key, change.after.as_ref());
        snapshot.revision = view.revision;
        if matters && snapshot.cluster.anyone_waits() { vec![key()] } else { Vec::new() }
    }

    fn plan(&self, view: &View, _: &Key) -> Plan {
        let mut snapshot = self.snapshot();
        if snapshot.revision != view.revision {
            *snapshot = Snapshot { revision: view.revision, cluster: rebuild(view) };
        }
        plan(&mut snapshot.cluster, view.now)
    }
}

impl Scheduler {
    fn snapshot(&self) -> MutexGuard<'_, Snapshot> {
        self.snapshot.lock().unwrap_or_else(|poisoned| {
            // A plan that panicked may have left tentative bindings: revision 0 makes the next one start anew.
            self.snapshot.clear_poison();
            let mut snapshot = poisoned.into_inner();
            snapshot.revision = 0;
            snapshot
        })
    }
}

/// There is one queue, so one key.
fn key() -> Key {
    Key::new("", "pods", "", "waiting")
}

/// Answers whether what waits may fare differently now.
fn take_in(cluster: &mut Cluster, key: &Key, after: Option<&Entry>) -> bool {
    match key.kind() {
        ("", "pods") => {
            let pod = after.and_then(|entry| entry.pod().map(|pod| (pod.clone(), entry.revision)));
            cluster.set_pod(key, pod)
        }
        ("", "nodes") => cluster.set_node(&key.name, after.and_then(|entry| entry.node().cloned())),
        ("", "namespaces") => {
            let labels = after.map(|entry| entry.meta.labels.clone().unwrap_or_default());
            cluster.set_namespace(&key.name, labels.as_ref())
        }
        _ => false,
    }
}

pub(super) fn rebuild(view: &View) -> Cluster {
    let mut cluster = Cluster::default();
    for entry in view.namespaces().chain(view.nodes()).chain(view.pods()) {
        take_in(&mut cluster, &entry.key, Some(entry));
    }
    cluster
}

/// Binds what can be bound, each pod seeing where those before it go; then says of the rest why not.
fn plan(cluster: &mut Cluster, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let mut room = Room::default();
    let mut left = in_turn(cluster);
    let mut bound: Vec<Key> = Vec::new();
    // A binding may let others in, or change the reasons: the last round is one without any.
    loop {
        let before = bound.len();
        let refused = bind_round(cluster, &mut left, &mut bound, now, &mut plan, &mut room);
        if bound.len() == before || room.is_full() {
            plan.reason = format!("binds {} pods, {} fit nowhere", bound.len(), refused.len());
            for (facts, unplaceable) in &refused {
                refuse(facts, unplaceable, now, &mut plan, &mut room);
            }
            break;
        }
    }
    // They count once their writes have come back.
    for key in &bound {
        cluster.unbind(key);
    }
    plan
}

/// By priority, then age.
fn in_turn(cluster: &Cluster) -> Vec<Arc<Facts>> {
    let mut waiting: Vec<Arc<Facts>> = cluster.waiting().cloned().collect();
    waiting.sort_by_cached_key(|facts| {
        let created = facts.pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (Reverse(facts.spec().priority.unwrap_or(0)), created, facts.key.clone())
    });
    waiting
}

/// Tries each pod once, as long as there is room for bindings. Those that fit nowhere are left, and answered with the
/// reasons.
fn bind_round(
    cluster: &mut Cluster,
    left: &mut Vec<Arc<Facts>>,
    bound: &mut Vec<Key>,
    now: Timestamp,
    plan: &mut Plan,
    room: &mut Room,
) -> Vec<(Arc<Facts>, Unplaceable)> {
    let mut refused: Vec<(Arc<Facts>, Unplaceable)> = Vec::new();
    for facts in std::mem::take(left) {
        let twin = refused.last().filter(|(before, _)| is_twin(before, &facts)).map(|(_, why)| why.clone());
        match twin.map_or_else(|| place(&facts, cluster), Err) {
            Ok(placement) => {
                if !bind(&facts, &placement.node, now, plan, room) {
                    break;
                }
                bound.push(facts.key.clone());
                cluster.bind(&placement.node, facts);
            }
            Err(unplaceable) => {
                left.push(facts.clone());
                refused.push((facts, unplaceable));
            }
        }
    }
    refused
}

/// What was refused to a pod is refused to the next one that asks for the same.
fn is_twin(one: &Facts, other: &Facts) -> bool {
    one.namespace() == other.namespace()
        && one.pod.metadata.labels == other.pod.metadata.labels
        && one.spec() == other.spec()
}

/// Answers whether there was room for it.
fn bind(facts: &Facts, node: &str, now: Timestamp, plan: &mut Plan, room: &mut Room) -> bool {
    let mut pod = Pod::clone(&facts.pod);
    pod.spec.get_or_insert_with(PodSpec::default).node_name = Some(node.into());
    set_scheduled(&mut pod, "True", None, now);
    let write = update(facts, &pod);
    if !room.takes(&write) {
        return false;
    }
    plan.writes.push(write);
    let (namespace, name) = (&facts.key.namespace, &facts.key.name);
    plan.events.push(Note {
        regarding: reference(facts),
        warning: false,
        reason: "Scheduled".into(),
        message: format!("Successfully assigned {namespace}/{name} to {node}"),
    });
    true
}

/// Says why, if that was not said already and there is room for it.
fn refuse(facts: &Facts, unplaceable: &Unplaceable, now: Timestamp, plan: &mut Plan, room: &mut Room) {
    let message = unplaceable.to_string();
    let conditions = facts.pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let said = conditions.iter().any(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
            && condition.message.as_ref() == Some(&message)
    });
    if said || room.is_full() {
        return;
    }
    let mut pod = Pod::clone(&facts.pod);
    set_scheduled(&mut pod, "False", Some(message.clone()), now);
    let write = update(facts, &pod);
    if !room.takes(&write) {
        return;
    }
    plan.writes.push(write);
    plan.events.push(Note { regarding: reference(facts), warning: true, reason: "FailedScheduling".into(), message });
}

fn set_scheduled(pod: &mut Pod, status: &str, why: Option<String>, now: Timestamp) {
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    let before = conditions.iter().position(|condition| condition.type_ == "PodScheduled");
    let since = before.map(|at| &conditions[at]).filter(|condition| condition.status == status);
    let condition = PodCondition {
        type_: "PodScheduled".into(),
        status: status.into(),
        reason: why.is_some().then(|| "Unschedulable".into()),
        message: why,
        last_transition_time: since.and_then(|condition| condition.last_transition_time.clone()).or(Some(Time(now))),
        ..PodCondition::default()
    };
    match before {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

fn update(facts: &Facts, pod: &Pod) -> Write {
    Write::Update { key: facts.key.clone(), object: api::object::encode(pod), at: facts.revision }
}

fn reference(facts: &Facts) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: Some(facts.key.namespace.clone()),
        name: Some(facts.key.name.clone()),
        uid: facts.pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}
