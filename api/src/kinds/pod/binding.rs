//! Giving a Pod its node: what a Binding does to it. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::kinds::{Request, decode, find};
use crate::meta;
use crate::object;
use crate::status::{FieldErrors, Path, Status};

/// The stored Pod with the node of the Binding in `request.body`; to be put at the revision it was read at.
pub fn apply(request: &Request, stored: &[u8], now: Timestamp) -> Result<Vec<u8>, Status> {
    let mut binding: Binding = decode(request.body)?;
    let pods = find("", "v1", "pods").expect("a Pod is a kind");
    meta::check_place(pods, request, &mut binding.metadata)?;
    let mut errors = FieldErrors::default();
    let target = Path::Root.field("target");
    match binding.target.kind.as_deref() {
        None | Some("" | "Node") => {}
        Some(other) => errors.not_supported(&target.field("kind"), other, &["Node", "<empty>"]),
    }
    let node = binding.target.name.as_deref().unwrap_or_default();
    if node.is_empty() {
        errors.required(&target.field("name"), "");
    }
    if !errors.is_empty() {
        return Err(Status::invalid("", "Binding", request.name, errors));
    }
    let mut pod: Pod = serde_json::from_slice(stored).map_err(Status::internal)?;
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    if let Some(asked) = binding.metadata.uid.as_deref().filter(|asked| !asked.is_empty() && *asked != uid) {
        let why = format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {uid}");
        return Err(Status::conflict(pods, request.name, why));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        let why = format!("pod {} is being deleted, cannot be assigned to a host", request.name);
        return Err(Status::conflict(pods, request.name, why));
    }
    if let Some(assigned) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|n| !n.is_empty()) {
        let why = format!("pod {} is already assigned to node {assigned:?}", request.name);
        return Err(Status::conflict(pods, request.name, why));
    }
    assign(&mut pod, node, now);
    if let Some(annotations) = binding.metadata.annotations {
        pod.metadata.annotations.get_or_insert_default().extend(annotations);
    }
    Ok(object::encode(&pod))
}

/// Sets the node and the condition PodScheduled.
pub fn assign(pod: &mut Pod, node: &str, now: Timestamp) {
    pod.spec.get_or_insert_default().node_name = Some(node.into());
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    let scheduled = PodCondition {
        type_: "PodScheduled".into(),
        status: "True".into(),
        last_transition_time: Some(Time(now)),
        ..PodCondition::default()
    };
    match conditions.iter_mut().find(|condition| condition.type_ == "PodScheduled") {
        Some(condition) if condition.status == "True" => {}
        Some(condition) => *condition = scheduled,
        None => conditions.push(scheduled),
    }
}
