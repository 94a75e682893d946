//! Objects in the shape that a client accepts: JSON, YAML, a table, metadata alone. Pure.

use api::object;
use api::printer::{self, Include, ListMeta};
use api::status::Status;
use axum::body::Body;
use http::{Response, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::accept::Shape;
use super::respond;
use crate::objects::{Object, Target};

/// How a response is to look.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub shape: Shape,
    /// What each row of a table carries of its object.
    pub include: Include,
    /// Ages are counted up to now.
    pub now: Timestamp,
}

/// A response of one object.
pub fn object(target: &Target, view: View, code: StatusCode, object: &Object) -> Result<Response<Body>, Status> {
    // Scales, and what bindings answer, are no rows of the kind's table.
    let whole = matches!(target.subresource.as_str(), "" | "status" | "finalize");
    let shape = if whole { view.shape } else { Shape::Json };
    match shape {
        Shape::Yaml => Ok(respond::yaml(code, yaml(&object.json())?)),
        shape => Ok(respond::json(code, encode(target, View { shape, ..view }, object)?)),
    }
}

/// One object as JSON of the shape; a watch sends the same.
pub fn encode(target: &Target, view: View, object: &Object) -> Result<Vec<u8>, Status> {
    match view.shape {
        Shape::Json | Shape::Yaml => Ok(object.json().into()),
        Shape::Metadata => {
            let mut out = Vec::new();
            write_metadata(&mut out, object)?;
            Ok(out)
        }
        Shape::Table => {
            let meta = ListMeta { resource_version: object.revision.to_string(), ..ListMeta::default() };
            let row = [(&object.stored[..], object.revision)];
            printer::table(&target.kind.printer, row, &meta, view.include, view.now).map_err(Status::internal)
        }
    }
}

/// One row of a list's table, appended.
pub fn write_row(out: &mut Vec<u8>, target: &Target, view: View, object: &Object) -> Result<(), Status> {
    let (printer, View { include, now, .. }) = (&target.kind.printer, view);
    printer::write_row(out, printer, &object.stored, object.revision, include, now).map_err(Status::internal)
}

/// A PartialObjectMetadata: the object's metadata, and nothing else of it.
pub fn write_metadata(out: &mut Vec<u8>, object: &Object) -> Result<(), Status> {
    #[derive(Deserialize)]
    struct Partial<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    let Partial { metadata } = serde_json::from_slice(&object.stored).map_err(Status::internal)?;
    let mut partial = br#"{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":"#.to_vec();
    partial.extend_from_slice(metadata.get().as_bytes());
    partial.push(b'}');
    object::write_with_revision(out, &partial, object.revision);
    Ok(())
}

/// One item of a list in YAML, appended: a sequence of one, which reads on from the one before.
pub fn write_yaml_item(out: &mut Vec<u8>, object: &Object) -> Result<(), Status> {
    let value: Value = serde_json::from_slice(&object.json()).map_err(Status::internal)?;
    out.extend_from_slice(serde_yaml::to_string(&[value]).map_err(Status::internal)?.as_bytes());
    Ok(())
}

fn yaml(json: &[u8]) -> Result<String, Status> {
    let value: Value = serde_json::from_slice(json).map_err(Status::internal)?;
    serde_yaml::to_string(&value).map_err(Status::internal)
}
