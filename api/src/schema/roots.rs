//! The types that bodies of requests may have: the served kinds, and what goes with them. Pure.

use crate::kinds::KINDS;
use k8s_openapi::api::{authentication, autoscaling, core, policy};
use k8s_openapi::apimachinery::pkg::apis::meta;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::borrow::Cow;

/// A kind with its schema.
#[derive(Clone, Copy)]
pub struct Root {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    schema: fn(&mut SchemaGenerator) -> Schema,
    name: fn() -> Cow<'static, str>,
}

impl Root {
    /// Puts the kind's definition, and all that it refers to, into the generator.
    pub fn define(&self, generator: &mut SchemaGenerator) {
        let schema = (self.schema)(generator);
        generator.definitions_mut().insert(self.definition().into_owned(), schema.to_value());
    }

    /// The name of the definition: `io.k8s.api.core.v1.Pod`.
    pub fn definition(&self) -> Cow<'static, str> {
        (self.name)()
    }
}

const fn row<T: JsonSchema>(group: &'static str, version: &'static str, kind: &'static str) -> Root {
    Root { group, version, kind, schema: T::json_schema, name: T::schema_name }
}

/// What requests carry besides the kinds that are stored.
const BESIDES: &[Root] = &[
    row::<core::v1::Binding>("", "v1", "Binding"),
    row::<authentication::v1::TokenRequest>("authentication.k8s.io", "v1", "TokenRequest"),
    row::<autoscaling::v1::Scale>("autoscaling", "v1", "Scale"),
    row::<policy::v1::Eviction>("policy", "v1", "Eviction"),
    row::<meta::v1::DeleteOptions>("", "v1", "DeleteOptions"),
    row::<meta::v1::Status>("", "v1", "Status"),
];

/// Every root: the rows of the table of kinds, then the rest.
pub fn roots() -> impl Iterator<Item = Root> {
    let kinds = KINDS.iter().map(|kind| Root {
        group: kind.group,
        version: kind.version,
        kind: kind.kind,
        schema: kind.schema,
        name: kind.schema_name,
    });
    kinds.chain(BESIDES.iter().copied())
}
