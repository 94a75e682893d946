//! The pods that a set makes: template, owner, and names that are never used twice. Pure, decides.

use std::sync::Arc;

use api::Key;
use api::kinds::{Operation, Request, find_resource};
use api::object::generate_name;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{PODS_CREATED, draft};
use crate::Write;
use crate::plan::Room;
use crate::view::{Entry, View};

pub struct Made {
    pub object: Arc<Pod>,
    pub write: Write,
}

/// Makes `count` pods, or as many as there is room for, and counts them in the set's annotation; the error says what
/// is wrong with the template. Both are written together, so a plan made twice makes nothing twice.
pub fn create(
    view: &View,
    entry: &Entry,
    set: &mut ReplicaSet,
    count: usize,
    room: &mut Room,
) -> Result<Vec<Made>, String> {
    let before = set.metadata.annotations.as_ref().and_then(|annotations| annotations.get(PODS_CREATED));
    let mut number: u64 = before.and_then(|text| text.parse().ok()).unwrap_or(0);
    let admitted = admit(view, entry, set)?;
    let base = format!("{}-", entry.key.name);
    let mut made: Vec<Made> = Vec::new();
    while made.len() < count {
        let name = generate_name(&base, hash(entry.uid(), number));
        let key = Key::new("", "pods", &entry.key.namespace, &name);
        // Different numbers may share a name, and a person may have taken it.
        if view.get(&key).is_some() || made.iter().any(|other| other.object.metadata.name.as_ref() == Some(&name)) {
            number += 1;
            continue;
        }
        let mut pod = admitted.clone();
        pod.metadata.name = Some(name);
        let write = Write::Create { key, object: api::object::encode(&pod) };
        if !room.takes(&write) {
            break;
        }
        number += 1;
        made.push(Made { write, object: Arc::new(pod) });
    }
    set.metadata.annotations.get_or_insert_default().insert(PODS_CREATED.into(), number.to_string());
    Ok(made)
}

/// What the API would make of the template: defaulted and validated.
fn admit(view: &View, entry: &Entry, set: &ReplicaSet) -> Result<Pod, String> {
    let template = set.spec.template.clone().unwrap_or_default();
    let given = template.metadata.unwrap_or_default();
    let base = format!("{}-", entry.key.name);
    let metadata = ObjectMeta {
        name: Some(generate_name(&base, 0)),
        generate_name: Some(base),
        namespace: Some(entry.key.namespace.clone()),
        labels: given.labels,
        annotations: given.annotations,
        finalizers: given.finalizers,
        owner_references: Some(vec![draft::controller_of::<ReplicaSet>(entry)]),
        ..ObjectMeta::default()
    };
    let pod = Pod { metadata, spec: template.spec, status: None };
    let kind = find_resource("", "pods").ok_or("pods are not served")?;
    let request = Request {
        namespace: &entry.key.namespace,
        name: "",
        body: &api::object::encode(&pod),
        operation: Operation::Create { uid: "", now: view.now, random: 0 },
    };
    let admitted = kind.admit(&request).map_err(|status| status.message)?;
    let mut pod: Pod = serde_json::from_slice(&admitted.object).map_err(|error| error.to_string())?;
    // Both are given when the command is made.
    pod.metadata.uid = None;
    pod.metadata.creation_timestamp = None;
    Ok(pod)
}

/// FNV-1a over both, with the high bits folded into the low ones, which the name is made of.
fn hash(uid: &str, number: u64) -> u64 {
    let text = format!("{uid}/{number}");
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8
}
