//! The document of everything in OpenAPI 2.0 ("swagger"). Pure.

use super::paths::{Answer, Body, DELETE_OPTIONS, Operation, PATCH, PATCHES, endpoints};
use super::schemas::{Notation, definitions};
use super::{group_versions, info, item};
use serde_json::{Map, Value, json};

pub(super) fn document() -> Value {
    let all = group_versions().flat_map(|(group, version)| endpoints(group, version));
    let paths: Map<String, Value> = all.map(|endpoint| item::path(Notation::V2, &endpoint, describe)).collect();
    json!({"swagger": "2.0", "info": info(), "paths": paths, "definitions": definitions(Notation::V2, |_| true)})
}

fn describe(operation: &Operation) -> Value {
    let (definition, consumes, required) = match &operation.body {
        Body::None => (None, &["*/*"][..], false),
        Body::Object(definition) => (Some(definition.as_str()), &["*/*"][..], true),
        Body::Patch => (Some(PATCH), PATCHES, true),
        Body::DeleteOptions => (Some(DELETE_OPTIONS), &["*/*"][..], false),
    };
    let body = definition.map(|definition| {
        let mut body = json!({"name": "body", "in": "body", "schema": {"$ref": Notation::V2.reference(definition)}});
        if required {
            body["required"] = true.into();
        }
        body
    });
    let (produces, schema) = match &operation.answer {
        Answer::Object(definition) => ("application/json", json!({"$ref": Notation::V2.reference(definition)})),
        Answer::Text => ("text/plain", json!({"type": "string"})),
    };
    let mut described = item::operation(Notation::V2, operation);
    if let (Some(body), Some(parameters)) = (body, described["parameters"].as_array_mut()) {
        parameters.insert(0, body);
    }
    described["consumes"] = json!(consumes);
    described["produces"] = json!([produces]);
    let found = json!({"description": "OK", "schema": schema});
    described["responses"] = json!({"200": found, "401": {"description": "Unauthorized"}});
    described
}
