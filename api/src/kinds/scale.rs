//! The scale subresource of Deployments and ReplicaSets: autoscaling/v1 Scale. Pure.

use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde_json::Value;

use super::{Admitted, Kind, Operation, Request, decode};
use crate::object;
use crate::selector;
use crate::status::{FieldErrors, Path, Status};

/// The Scale of a stored object, as JSON for the client.
pub fn read(stored: &[u8], revision: u64) -> Result<Vec<u8>, Status> {
    // A Deployment has all that is looked at here in the same places.
    let mut value: Value = serde_json::from_slice(stored).map_err(Status::internal)?;
    let selector = value.pointer_mut("/spec/selector").map(Value::take).unwrap_or_default();
    let selector: LabelSelector = serde_json::from_value(selector).map_err(Status::internal)?;
    let selector = selector::LabelSelector::from_object(&selector).ok();
    let replicas = |pointer| value.pointer(pointer).and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok());
    let meta = object::object_meta(stored).map_err(Status::internal)?;
    let scale = Scale {
        metadata: ObjectMeta {
            name: meta.name,
            namespace: meta.namespace,
            uid: meta.uid,
            resource_version: Some(revision.to_string()),
            creation_timestamp: meta.creation_timestamp,
            ..ObjectMeta::default()
        },
        spec: Some(ScaleSpec { replicas: replicas("/spec/replicas") }),
        status: Some(ScaleStatus {
            replicas: replicas("/status/replicas").unwrap_or(0),
            selector: selector.map(|selector| selector.to_string()).filter(|text| !text.is_empty()),
        }),
    };
    Ok(object::encode(&scale))
}

/// Admits a Scale as a change of the object it belongs to. `request.operation` must be an update.
pub fn write(kind: &'static Kind, request: &Request) -> Result<Admitted, Status> {
    let (Operation::Update { old, .. } | Operation::UpdateStatus { old, .. }) = request.operation else {
        return Err(Status::method_not_allowed(kind, "create"));
    };
    let scale: Scale = decode(request.body)?;
    let replicas = scale.spec.unwrap_or_default().replicas.unwrap_or(0);
    if replicas < 0 {
        let mut errors = FieldErrors::default();
        let path = Path::Root.field("spec");
        errors.invalid(&path.field("replicas"), replicas, "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", request.name, errors));
    }
    let mut value: Value = serde_json::from_slice(old).map_err(Status::internal)?;
    value["spec"]["replicas"] = replicas.into();
    // What the client insists on is insisted on for the object.
    let sent = &scale.metadata;
    for (field, asked) in [("resourceVersion", &sent.resource_version), ("uid", &sent.uid), ("name", &sent.name)] {
        if let Some(asked) = asked.as_deref().filter(|asked| !asked.is_empty()) {
            value["metadata"][field] = asked.into();
        }
    }
    let body = serde_json::to_vec(&value).map_err(Status::internal)?;
    kind.admit(&Request { body: &body, ..*request })
}
