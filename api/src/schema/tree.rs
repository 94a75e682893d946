//! The served types as a compact tree: names and shapes of fields. Made once, at first use. Pure.

use super::lists::{MergeRule, merge_rule};
use super::roots::roots;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::OnceLock;

/// All types that requests may carry.
#[derive(Debug)]
pub struct Types {
    types: Vec<Type>,
    /// By group, version and kind; some dozens.
    roots: Vec<((&'static str, &'static str, &'static str), usize)>,
}

/// One type: an object with known fields, in order of their names.
#[derive(Debug)]
pub struct Type {
    /// `io.k8s.api.core.v1.PodSpec`
    pub name: Box<str>,
    fields: Box<[Field]>,
}

#[derive(Debug)]
pub struct Field {
    pub name: Box<str>,
    pub shape: Shape,
    pub merge: Option<&'static MergeRule>,
}

/// What a value may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Anything at all, such as managedFields' fieldsV1.
    Any,
    Scalar(Scalar),
    /// An object of the type with this number.
    Object(usize),
    List(Box<Shape>),
    /// An object with free keys.
    Map(Box<Shape>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    String,
    /// Base64.
    Bytes,
    /// RFC 3339.
    Time,
    Int32,
    Int64,
    Number,
    Boolean,
    IntOrString,
    Quantity,
}

/// The one tree of this process.
pub fn types() -> &'static Types {
    static TYPES: OnceLock<Types> = OnceLock::new();
    TYPES.get_or_init(build)
}

impl Types {
    /// The type of a kind's objects.
    pub fn root(&self, group: &str, version: &str, kind: &str) -> Option<&Type> {
        let at = self.roots.iter().find(|(of, _)| *of == (group, version, kind))?.1;
        Some(&self.types[at])
    }

    pub fn get(&self, number: usize) -> &Type {
        &self.types[number]
    }

    pub fn all(&self) -> &[Type] {
        &self.types
    }
}

impl Type {
    pub fn field(&self, name: &str) -> Option<&Field> {
        let at = self.fields.binary_search_by(|field| field.name.as_ref().cmp(name)).ok()?;
        Some(&self.fields[at])
    }

    pub fn fields(&self) -> &[Field] {
        &self.fields
    }
}

fn build() -> Types {
    let mut generator = SchemaSettings::openapi3().into_generator();
    roots().for_each(|root| root.define(&mut generator));
    let definitions = generator.take_definitions(false);
    let objects: Vec<(&String, &Map<String, Value>)> =
        definitions.iter().filter_map(|(name, schema)| Some((name, schema["properties"].as_object()?))).collect();
    let numbers: HashMap<&str, usize> =
        objects.iter().enumerate().map(|(number, (name, _))| (name.as_str(), number)).collect();
    let types = objects
        .iter()
        .map(|(name, properties)| {
            let mut fields: Vec<Field> = properties
                .iter()
                .map(|(field, schema)| Field {
                    name: field.as_str().into(),
                    shape: shape(schema, &definitions, &numbers),
                    merge: merge_rule(name, field),
                })
                .collect();
            fields.sort_by(|a, b| a.name.cmp(&b.name));
            Type { name: name.as_str().into(), fields: fields.into() }
        })
        .collect();
    let roots = roots()
        .filter_map(|root| {
            let number = numbers.get(root.definition().as_ref())?;
            Some(((root.group, root.version, root.kind), *number))
        })
        .collect();
    Types { types, roots }
}

fn shape(schema: &Value, definitions: &Map<String, Value>, numbers: &HashMap<&str, usize>) -> Shape {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        return match numbers.get(name) {
            Some(number) => Shape::Object(*number),
            None if name.ends_with(".Quantity") => Shape::Scalar(Scalar::Quantity),
            None => definitions.get(name).map_or(Shape::Any, |schema| shape(schema, definitions, numbers)),
        };
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return Shape::Scalar(Scalar::IntOrString);
    }
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("string"), Some("byte")) => Shape::Scalar(Scalar::Bytes),
        (Some("string"), Some("date-time")) => Shape::Scalar(Scalar::Time),
        (Some("string"), _) => Shape::Scalar(Scalar::String),
        (Some("integer"), Some("int32")) => Shape::Scalar(Scalar::Int32),
        (Some("integer"), _) => Shape::Scalar(Scalar::Int64),
        (Some("number"), _) => Shape::Scalar(Scalar::Number),
        (Some("boolean"), _) => Shape::Scalar(Scalar::Boolean),
        (Some("array"), _) => Shape::List(Box::new(shape(&schema["items"], definitions, numbers))),
        (Some("object"), _) if schema["additionalProperties"].is_object() => {
            Shape::Map(Box::new(shape(&schema["additionalProperties"], definitions, numbers)))
        }
        _ => Shape::Any,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_root_has_its_type() {
        for root in roots() {
            let found = types().root(root.group, root.version, root.kind);
            let found = found.unwrap_or_else(|| panic!("{} has no schema", root.kind));
            assert_eq!(found.name.as_ref(), root.definition());
        }
        assert!(types().root("apps", "v1", "Pod").is_none());
    }

    #[test]
    fn shapes_of_well_known_fields() {
        let follow = |mut of: &'static Type, path: &str| {
            let mut found = &Shape::Any;
            for part in path.split('.') {
                found = &of.field(part).unwrap_or_else(|| panic!("no {part} in {}", of.name)).shape;
                let inner = if let Shape::List(items) = found { items.as_ref() } else { found };
                if let Shape::Object(number) = inner {
                    of = types().get(*number);
                }
            }
            found
        };
        let pod = types().root("", "v1", "Pod").unwrap();
        for (path, expected) in [
            ("metadata.creationTimestamp", Shape::Scalar(Scalar::Time)),
            ("metadata.labels", Shape::Map(Box::new(Shape::Scalar(Scalar::String)))),
            ("metadata.managedFields.fieldsV1", Shape::Any),
            ("spec.containers.ports.containerPort", Shape::Scalar(Scalar::Int32)),
            ("spec.containers.resources.limits", Shape::Map(Box::new(Shape::Scalar(Scalar::Quantity)))),
            ("spec.containers.livenessProbe.httpGet.port", Shape::Scalar(Scalar::IntOrString)),
            ("spec.containers.command", Shape::List(Box::new(Shape::Scalar(Scalar::String)))),
            ("spec.hostNetwork", Shape::Scalar(Scalar::Boolean)),
            ("spec.terminationGracePeriodSeconds", Shape::Scalar(Scalar::Int64)),
        ] {
            assert_eq!(*follow(pod, path), expected, "{path}");
        }
        let secret = types().root("", "v1", "Secret").unwrap();
        assert_eq!(secret.field("data").unwrap().shape, Shape::Map(Box::new(Shape::Scalar(Scalar::Bytes))));
    }
}
