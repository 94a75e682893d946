//! Writes tables as JSON, one row after the other, without building the whole. Pure.

use super::{Column, Printer, Row};
use crate::object;
use crate::status::Status;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// What each row carries of its object (`?includeObject=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

impl Include {
    pub fn parse(parameter: Option<&str>) -> Result<Include, Status> {
        match parameter {
            None | Some("") | Some("Metadata") => Ok(Include::Metadata),
            Some("None") => Ok(Include::None),
            Some("Object") => Ok(Include::Object),
            Some(other) => {
                let supported = "\"Metadata\", \"None\", \"Object\"";
                Err(Status::bad_request(format!(
                    "includeObject: Unsupported value: {other:?}: supported values: {supported}"
                )))
            }
        }
    }
}

/// The metadata of a list, for the table that stands for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListMeta {
    pub resource_version: String,
    #[serde(rename = "continue", skip_serializing_if = "String::is_empty")]
    pub continue_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_item_count: Option<u64>,
}

/// The table of stored objects, each with the revision under which it is stored. A watch sends such a table
/// with one row per event; a get of one object, too.
pub fn table<'a>(
    printer: &Printer,
    objects: impl IntoIterator<Item = (&'a [u8], u64)>,
    meta: &ListMeta,
    include: Include,
    now: Timestamp,
) -> serde_json::Result<Vec<u8>> {
    let mut out = begin_table(printer, meta)?;
    for (index, (stored, revision)) in objects.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_row(&mut out, printer, stored, revision, include, now)?;
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// A table up to the opening bracket of its rows, for who writes it in pieces.
pub fn begin_table(printer: &Printer, meta: &ListMeta) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(4096);
    out.extend_from_slice(br#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":"#);
    serde_json::to_writer(&mut out, meta)?;
    out.extend_from_slice(br#","columnDefinitions":"#);
    serde_json::to_writer(&mut out, &printer.columns.iter().map(definition).collect::<Vec<_>>())?;
    out.extend_from_slice(br#","rows":["#);
    Ok(out)
}

fn definition(column: &Column) -> Value {
    let format = if column.name == "Name" { "name" } else { "" };
    json!({
        "name": column.name,
        "type": column.of,
        "format": format,
        "description": column.description,
        "priority": column.priority,
    })
}

/// The row of a stored object, appended to `out`.
pub fn write_row(
    out: &mut Vec<u8>,
    printer: &Printer,
    stored: &[u8],
    revision: u64,
    include: Include,
    now: Timestamp,
) -> serde_json::Result<()> {
    let Row { cells, completed } = (printer.row)(stored, now)?;
    out.extend_from_slice(br#"{"cells":"#);
    serde_json::to_writer(&mut *out, &cells)?;
    if let Some((reason, message)) = completed {
        out.extend_from_slice(br#","conditions":"#);
        let condition = json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]);
        serde_json::to_writer(&mut *out, &condition)?;
    }
    match include {
        Include::None => {}
        Include::Object => {
            out.extend_from_slice(br#","object":"#);
            object::write_with_revision(out, stored, revision);
        }
        Include::Metadata => {
            let Metadata { metadata } = serde_json::from_slice(stored)?;
            let mut partial = Vec::with_capacity(metadata.get().len() + 80);
            partial.extend_from_slice(br#"{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":"#);
            partial.extend_from_slice(metadata.get().as_bytes());
            partial.push(b'}');
            out.extend_from_slice(br#","object":"#);
            object::write_with_revision(out, &partial, revision);
        }
    }
    out.push(b'}');
    Ok(())
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}
