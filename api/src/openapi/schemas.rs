//! The definitions of types in Kubernetes' notation: k8s-openapi's schemas with the extensions that they lack.
//! Pure.

use super::paths::{DELETE_OPTIONS, PATCH, list_definition};
use crate::discovery;
use crate::kinds::{KINDS, Kind};
use crate::schema::{ListKind, Root, merge_rule, roots, structs_atomic};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The two notations differ in little.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Notation {
    V2,
    V3,
}

impl Notation {
    pub fn reference(self, definition: &str) -> String {
        match self {
            Notation::V2 => format!("#/definitions/{definition}"),
            Notation::V3 => format!("#/components/schemas/{definition}"),
        }
    }
}

/// All definitions that requests and answers of the kinds which `wanted` accepts may hold.
pub(super) fn definitions(notation: Notation, wanted: impl Fn(&Kind) -> bool) -> Map<String, Value> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let kinds: Vec<&Kind> = KINDS.iter().filter(|kind| wanted(kind)).collect();
    let parts = |kind: &&Kind| kind.subresources.iter().filter_map(|subresource| subresource.of_kind());
    let carried: Vec<_> = kinds.iter().flat_map(parts).collect();
    let needed: Vec<Root> = roots()
        .filter(|root| {
            let own = (root.group, root.version, root.kind);
            let stored = kinds.iter().any(|kind| (kind.group, kind.version, kind.kind) == own);
            stored || carried.contains(&own) || matches!(own, ("", "v1", "DeleteOptions" | "Status"))
        })
        .collect();
    needed.iter().for_each(|root| root.define(&mut generator));
    generator.subschema_for::<ListMeta>();
    let mut definitions = generator.take_definitions(false);
    for (name, schema) in &mut definitions {
        amend(notation, name, schema);
    }
    for root in &needed {
        if let Some(schema) = definitions.get_mut(root.definition().as_ref()) {
            schema["x-kubernetes-group-version-kind"] = group_version_kinds(root);
        }
    }
    for kind in kinds {
        definitions.insert(list_definition(kind), list(notation, kind));
    }
    let patch = json!({"description": "A patch, in the notation that its media type names.", "type": "object"});
    definitions.insert(PATCH.into(), patch);
    definitions
}

fn group_version_kind(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

/// Options of deletion are of every group and version.
fn group_version_kinds(root: &Root) -> Value {
    if root.definition() != DELETE_OPTIONS {
        return Value::Array(vec![group_version_kind(root.group, root.version, root.kind)]);
    }
    let groups = std::iter::once("").chain(discovery::named_groups());
    let each = groups.flat_map(|group| discovery::versions(group).map(move |version| (group, version)));
    each.map(|(group, version)| group_version_kind(group, version, root.kind)).collect()
}

fn list(notation: Notation, kind: &Kind) -> Value {
    let text = |description: &str| json!({"description": description, "type": "string"});
    let item = json!({"$ref": notation.reference(&(kind.schema_name)())});
    let mut metadata = json!({
        "description": "Metadata of the list: its resourceVersion, and the token for its next part.",
        "$ref": notation.reference("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"),
    });
    if notation == Notation::V3 {
        wrap_reference(&mut metadata);
    }
    json!({
        "description": format!("{} is a list of {}.", kind.list_kind, kind.plural),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": text("The group and version of this notation of the list."),
            "items": {"description": format!("The {}.", kind.plural), "type": "array", "items": item},
            "kind": text("The kind of the list."),
            "metadata": metadata,
        },
        "x-kubernetes-group-version-kind": [group_version_kind(kind.group, kind.version, kind.list_kind)],
    })
}

/// Brings one definition into form.
fn amend(notation: Notation, name: &str, schema: &mut Value) {
    if schema["x-kubernetes-int-or-string"] == true {
        return amend_either(notation, name, schema);
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (field, property) in properties {
            amend_property(notation, property);
            extend(name, field, property);
        }
    }
    if structs_atomic(name) {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
}

/// IntOrString and Quantity: a number or a string, which v2 cannot say.
fn amend_either(notation: Notation, name: &str, schema: &mut Value) {
    let number = if name.ends_with(".Quantity") { "number" } else { "integer" };
    let description = schema["description"].take();
    *schema = match notation {
        Notation::V3 => json!({"description": description, "oneOf": [{"type": number}, {"type": "string"}]}),
        Notation::V2 => json!({"description": description, "type": "string"}),
    };
    if number == "integer" {
        schema["format"] = "int-or-string".into();
    }
}

fn amend_property(notation: Notation, property: &mut Value) {
    if let Some(reference) = property.get("$ref").and_then(Value::as_str) {
        let definition = reference.rsplit('/').next().unwrap_or(reference);
        property["$ref"] = notation.reference(definition).into();
        if notation == Notation::V3 {
            wrap_reference(property);
        }
        return;
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = property.get_mut(inner).filter(|inner| inner.is_object()) {
            amend_property(notation, inner);
        }
    }
}

/// In v3, nothing may stand beside a reference.
fn wrap_reference(property: &mut Value) {
    let Some(fields) = property.as_object_mut().filter(|fields| fields.len() > 1) else { return };
    if let Some(reference) = fields.remove("$ref") {
        fields.insert("allOf".into(), json!([{"$ref": reference}]));
    }
}

/// How the field is merged.
fn extend(name: &str, field: &str, property: &mut Value) {
    let Some(rule) = merge_rule(name, field) else { return };
    let strategies: Vec<&str> = [(rule.patch_merge, "merge"), (rule.retain_keys, "retainKeys")]
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, word)| *word)
        .collect();
    if !strategies.is_empty() {
        property["x-kubernetes-patch-strategy"] = strategies.join(",").into();
    }
    if let Some(key) = rule.merge_key {
        property["x-kubernetes-patch-merge-key"] = key.into();
    }
    let kind = match rule.list {
        ListKind::Unset => return,
        ListKind::Atomic => "atomic",
        ListKind::Set => "set",
        ListKind::Map(keys) => {
            property["x-kubernetes-list-map-keys"] = keys.into();
            "map"
        }
    };
    property["x-kubernetes-list-type"] = kind.into();
}
