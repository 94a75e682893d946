//! What becomes of the pods of a node that is tainted or out of reach. Pure, decides.

use api::Key;
use api::deletion::{self, Deletion, Options};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::condition;
use super::health::Health;
use super::taints::{self, NOT_READY, UNREACHABLE};
use crate::scheduler::facts::is_finished;
use crate::scheduler::taints::{Stay, stay};
use crate::view::View;
use crate::{Note, Plan, Write};

/// Pods whose time is over are deleted with their grace; those of a node out of reach are no longer ready.
/// Where the agent cannot confirm it, a pod stays Terminating until the node returns, or its Node is deleted and
/// [`super::super::pod_garbage`] gives it up.
pub fn from_node(view: &View, node: &Node, health: &Health, plan: &mut Plan) {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let out_of_reach = *health == Health::Silent || *health == Health::Unjudged && condition::is_unknown(node);
    for entry in view.pods_on(name) {
        let Some(pod) = entry.pod().filter(|pod| !is_finished(pod)) else { continue };
        let mut wanted = Pod::clone(pod);
        if out_of_reach {
            mark_unready(&mut wanted, view.now);
        }
        let time_is_over = match time(node, pod, health) {
            Some(time) if pod.metadata.deletion_timestamp.is_none() => {
                if time > view.now {
                    plan.recheck_at = Some(plan.recheck_at.map_or(time, |other| other.min(time)));
                }
                time <= view.now
            }
            _ => false,
        };
        if time_is_over {
            plan.events.push(note(&entry.key, pod));
            plan.writes.extend(delete(&entry.key, &wanted, entry.revision, view.now));
        } else if wanted != **pod {
            let key = Key::clone(&entry.key);
            plan.writes.push(Write::Update { key, object: api::object::encode(&wanted), at: entry.revision });
        }
    }
}

/// When a pod has to go. `None`: it may stay. A leader that cannot judge yet does not act on another's judgement.
fn time(node: &Node, pod: &Pod, health: &Health) -> Option<Timestamp> {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    taints::no_execute(node)
        .filter(|taint| *health != Health::Unjudged || !matches!(taint.key.as_str(), NOT_READY | UNREACHABLE))
        .filter_map(|taint| match stay(taint, tolerations) {
            Stay::Forever => None,
            Stay::Seconds(seconds) => {
                let added = taint.time_added.as_ref().map_or(Timestamp::MIN, |time| time.0);
                Some(added.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX))
            }
        })
        .min()
}

fn delete(key: &Key, pod: &Pod, at: u64, now: Timestamp) -> Option<Write> {
    let kind = api::kinds::find_resource(&key.group, &key.resource)?;
    match deletion::delete(kind, &api::object::encode(pod), at, &Options::default(), now) {
        Ok(Deletion::Remove) => Some(Write::Delete { key: key.clone(), at }),
        Ok(Deletion::Mark(object)) => Some(Write::Update { key: key.clone(), object, at }),
        Ok(Deletion::Unchanged) | Err(_) => None,
    }
}

fn mark_unready(pod: &mut Pod, now: Timestamp) {
    let conditions = pod.status.iter_mut().flat_map(|status| status.conditions.iter_mut().flatten());
    for condition in conditions.filter(|condition| condition.type_ == "Ready" && condition.status == "True") {
        condition.status = "False".into();
        condition.reason = Some("NodeNotReady".into());
        condition.message = Some("the node's agent stopped posting its status".into());
        condition.last_transition_time = Some(Time(now));
    }
}

fn note(key: &Key, pod: &Pod) -> Note {
    Note {
        regarding: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        },
        warning: false,
        reason: "TaintManagerEviction".into(),
        message: format!("Marking for deletion Pod {}/{}", key.namespace, key.name),
    }
}
