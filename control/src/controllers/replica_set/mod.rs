//! The ReplicaSet controller: keeps the number of pods that each set asks for. Pure, decides.
//!
//! - [`claim`]: which pods are the set's;
//! - [`pods`]: the pods that it makes;
//! - [`rank`]: the order in which it gives pods up;
//! - [`status`]: what it says of itself.

mod claim;
mod pods;
mod rank;
mod status;

use std::sync::Arc;

use api::Key;
use api::deletion::Options;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;

use super::draft;
use super::readiness::is_active;
use crate::plan::Room;
use crate::view::{Change, Entry, View};
use crate::{Controller, Note, Plan};
use status::Failure;

/// How many pods were ever made for a set: the names of the next ones come from it.
pub const PODS_CREATED: &str = "kontiki.io/pods-created";

pub struct ReplicaSets;

impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        "replicaset"
    }

    fn affected(&self, change: &Change, view: &View) -> Vec<Key> {
        if change.is_of("apps", "replicasets") {
            return vec![change.key.clone()];
        }
        if !change.is_of("", "pods") {
            return Vec::new();
        }
        let mut keys: Vec<Key> = change.sides().filter_map(owner_of).collect();
        if let Some(orphan) = change.after.as_ref().filter(|entry| entry.controller().is_none()) {
            keys.extend(claim::suitors(view, orphan));
        }
        keys.sort();
        keys.dedup();
        keys
    }

    fn plan(&self, view: &View, key: &Key) -> Plan {
        match view.get(key).and_then(|entry| Some((entry, entry.replica_set()?))) {
            Some((entry, set)) => plan(view, entry, set),
            None => Plan::default(),
        }
    }
}

/// The set that controls a pod, by name.
fn owner_of(pod: &Entry) -> Option<Key> {
    let owner = pod.controller().filter(|owner| owner.kind == "ReplicaSet")?;
    Some(Key::new("apps", "replicasets", &pod.key.namespace, &owner.name))
}

fn plan(view: &View, entry: &Entry, set: &Arc<ReplicaSet>) -> Plan {
    let claim = claim::claim(view, entry, set);
    let mut plan = Plan { writes: claim.writes, ..Plan::default() };
    let mut pods = claim.pods;
    let mut next = ReplicaSet::clone(set);
    let mut failure = None;
    let mut room = claim.room;
    let wanted = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0);
    if !entry.is_terminating() && draft::accepts_objects(view, &entry.key.namespace) && !claim.unfinished {
        if wanted > pods.len() {
            let missing = wanted - pods.len();
            match pods::create(view, entry, &mut next, missing, &mut room) {
                Ok(made) => {
                    let names = made.iter().filter_map(|pod| pod.object.metadata.name.as_deref());
                    plan.events.extend(names.map(|name| created(entry, name)));
                    pods.extend(made.iter().map(|pod| pod.object.clone()));
                    plan.writes.extend(made.into_iter().map(|pod| pod.write));
                }
                Err(why) => failure = Some(Failure { reason: "FailedCreate", message: why }),
            }
        } else if wanted < pods.len() {
            let surplus = pods.len() - wanted;
            give_up(view, entry, &mut pods, surplus, &mut plan, &mut room);
        }
    }
    if let Some(failure) = failure.as_ref().filter(|failure| !failure.is_told(set)) {
        let message = format!("Error creating: {}", failure.message);
        plan.events.push(draft::note::<ReplicaSet>(entry, true, failure.reason, message));
    }
    let (status, recheck_at) = status::of(&next, &pods, failure, view.now);
    next.status = Some(status);
    plan.recheck_at = recheck_at;
    if next != **set {
        plan.writes.push(draft::update(entry, &next));
    } else if !plan.writes.is_empty() {
        plan.writes.push(draft::check(entry));
    }
    plan.reason = format!("{} of {wanted} pods", pods.len());
    plan
}

/// Deletes those that will be missed least.
fn give_up(view: &View, entry: &Entry, pods: &mut Vec<Arc<Pod>>, surplus: usize, plan: &mut Plan, room: &mut Room) {
    let ranked = rank::order(view, entry, pods);
    let mut gone = Vec::new();
    for pod in ranked.into_iter().take(surplus) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let found = view.get(&Key::new("", "pods", &entry.key.namespace, &name));
        // An adopted pod is written once in this plan: what is to become of it comes with the next.
        let Some(found) = found.filter(|found| found.is_controlled_by(entry.uid())) else { continue };
        let Some(write) = draft::delete(found, &Options::default(), view.now) else { continue };
        if !room.takes(&write) {
            break;
        }
        plan.writes.push(write);
        plan.events.push(draft::note::<ReplicaSet>(entry, false, "SuccessfulDelete", format!("Deleted pod: {name}")));
        gone.push(name);
    }
    pods.retain(|pod| !pod.metadata.name.as_ref().is_some_and(|name| gone.contains(name)));
}

fn created(entry: &Entry, pod: &str) -> Note {
    draft::note::<ReplicaSet>(entry, false, "SuccessfulCreate", format!("Created pod: {pod}"))
}
