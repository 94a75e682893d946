//! The document of one group and version in OpenAPI 3.0. Pure.

use super::paths::{Answer, Body, DELETE_OPTIONS, Operation, PATCH, PATCHES, endpoints};
use super::schemas::{Notation, definitions};
use super::{info, item};
use serde_json::{Map, Value, json};

pub(super) fn document(group: &str, version: &str) -> Value {
    let schemas = definitions(Notation::V3, |kind| kind.group == group && kind.version == version);
    let paths: Map<String, Value> =
        endpoints(group, version).iter().map(|endpoint| item::path(Notation::V3, endpoint, describe)).collect();
    json!({"openapi": "3.0.0", "info": info(), "paths": paths, "components": {"schemas": schemas}})
}

fn describe(operation: &Operation) -> Value {
    let mut described = item::operation(Notation::V3, operation);
    described["responses"] = responses(operation);
    let content = |media_types: &[&str], definition: &str| {
        let schema = json!({"schema": {"$ref": Notation::V3.reference(definition)}});
        media_types.iter().map(|media_type| (media_type.to_string(), schema.clone())).collect::<Map<_, _>>()
    };
    let body = match &operation.body {
        Body::None => return described,
        Body::Object(definition) => json!({"content": content(&["*/*"], definition), "required": true}),
        Body::Patch => json!({"content": content(PATCHES, PATCH), "required": true}),
        Body::DeleteOptions => json!({"content": content(&["*/*"], DELETE_OPTIONS)}),
    };
    described["requestBody"] = body;
    described
}

fn responses(operation: &Operation) -> Value {
    let (media_type, schema) = match &operation.answer {
        Answer::Object(definition) => ("application/json", json!({"$ref": Notation::V3.reference(definition)})),
        Answer::Text => ("text/plain", json!({"type": "string"})),
    };
    let found = json!({"description": "OK", "content": {media_type: {"schema": schema}}});
    let mut responses = json!({"200": found, "401": {"description": "Unauthorized"}});
    if operation.method == "post" && operation.action == "post" {
        responses["201"] = found;
        responses["201"]["description"] = "Created".into();
    }
    responses
}
