//! What a path, an operation and a parameter say in either notation. Pure.

use super::parameters::{OF_EVERY_PATH, Parameter};
use super::paths::{Endpoint, Operation};
use super::schemas::Notation;
use serde_json::{Map, Value, json};

/// A path with its operations, each as `describe` has it.
pub(super) fn path(notation: Notation, endpoint: &Endpoint, describe: fn(&Operation) -> Value) -> (String, Value) {
    let of_all = endpoint.parameters.iter().copied().chain(OF_EVERY_PATH);
    let parameters = of_all.map(|one| parameter(notation, one)).collect();
    let mut item = Map::from_iter([("parameters".to_string(), parameters)]);
    for operation in &endpoint.operations {
        item.insert(operation.method.into(), describe(operation));
    }
    (endpoint.path.clone(), Value::Object(item))
}

/// An operation, but for its body and its answers.
pub(super) fn operation(notation: Notation, operation: &Operation) -> Value {
    let (group, version, kind) = operation.kind;
    json!({
        "description": operation.description,
        "operationId": operation.id,
        "parameters": operation.parameters.iter().map(|one| parameter(notation, one)).collect::<Vec<_>>(),
        "tags": [if group.is_empty() { format!("core_{version}") } else { format!("{group}_{version}") }],
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
    })
}

fn parameter(notation: Notation, parameter: &Parameter) -> Value {
    let mut described = json!({
        "name": parameter.name,
        "in": if parameter.in_path { "path" } else { "query" },
        "description": parameter.description,
    });
    match notation {
        Notation::V2 => {
            described["type"] = parameter.of.into();
            described["uniqueItems"] = true.into();
        }
        Notation::V3 => described["schema"] = json!({"type": parameter.of, "uniqueItems": true}),
    }
    if parameter.in_path {
        described["required"] = true.into();
    }
    described
}
