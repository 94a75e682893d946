//! From bytes to a typed object, or to an answer that says which field is wrong. Pure.

use k8s_openapi::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use crate::status::{Cause, Details, Status};

/// Absent apiVersion and kind are taken to be the right ones; unknown fields are not looked at here.
pub fn decode<T: Resource + DeserializeOwned>(body: &[u8]) -> Result<T, Status> {
    serde_json::from_slice(body).or_else(|error| explain(body, error))
}

/// Slow, and only for bodies that did not decode.
fn explain<T: Resource + DeserializeOwned>(body: &[u8], error: serde_json::Error) -> Result<T, Status> {
    let mut value: Value = serde_json::from_slice(body).map_err(|_| {
        let kind = T::KIND;
        Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): JSON: {error}"))
    })?;
    check_type::<T>(&value)?;
    // As Kubernetes' decoder does, null where a map wants a string is the empty string.
    for _ in 0..NULLS_MAX {
        let error = match serde_path_to_error::deserialize::<_, T>(&value) {
            Ok(object) => return Ok(object),
            Err(error) => error,
        };
        let empties = error.inner().to_string().starts_with("invalid type: null, expected a string");
        match empties.then(|| at(&mut value, error.path())).flatten() {
            Some(null) => *null = Value::String(String::new()),
            None => return Err(wrong_field::<T>(&value, error.path(), &error.inner().to_string())),
        }
    }
    Err(Status::bad_request(format!("more than {NULLS_MAX} values are null")))
}

const NULLS_MAX: usize = 256;

fn at<'a>(value: &'a mut Value, path: &Path) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, segment| match segment {
        Segment::Seq { index } => value.get_mut(*index),
        Segment::Map { key } => value.get_mut(key),
        _ => None,
    })
}

fn check_type<T: Resource>(value: &Value) -> Result<(), Status> {
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let api_version = text("apiVersion").unwrap_or(T::API_VERSION);
    let kind = text("kind").unwrap_or(T::KIND);
    if api_version == T::API_VERSION && kind == T::KIND {
        return Ok(());
    }
    let hint = if kind != T::KIND && kind.eq_ignore_ascii_case(T::KIND) {
        format!("; did you mean \"{}\"? The names of kinds are case-sensitive", T::KIND)
    } else if kind == T::KIND {
        format!("; it is served in version \"{}\"", T::API_VERSION)
    } else {
        String::new()
    };
    Err(Status::bad_request(format!(
        "{kind} in version \"{api_version}\" cannot be handled as a {}: no kind \"{kind}\" is registered for version \"{api_version}\" here{hint}",
        T::KIND
    )))
}

fn wrong_field<T: Resource>(value: &Value, path: &Path, error: &str) -> Status {
    let field = path.to_string();
    let detail = readable(error);
    let place = if field == "." { String::new() } else { format!("{field}: ") };
    let (kind, version) = (T::KIND, T::API_VERSION);
    let mut status =
        Status::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {place}{detail}"));
    let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let cause = Cause { reason: "FieldValueTypeInvalid".into(), message: detail, field };
    status.details = Some(Box::new(Details {
        name: name.into(),
        group: T::GROUP.into(),
        kind: kind.into(),
        causes: vec![cause],
        ..Details::default()
    }));
    status
}

/// The decoder's words, with Rust's names of types replaced.
fn readable(error: &str) -> String {
    // The decoder of bytes speaks of symbols, paddings and lengths.
    if ["Invalid symbol", "Invalid byte", "Invalid padding", "Invalid input", "Invalid last"]
        .iter()
        .any(|start| error.starts_with(start))
    {
        return format!("illegal base64 data: {error}");
    }
    let Some((found, expected)) = error.rsplit_once(", expected ") else { return error.into() };
    let found = found.replacen("invalid type: ", "found ", 1).replacen("invalid value: ", "found ", 1);
    let is_number = found.starts_with("found integer") || found.starts_with("found floating");
    let expected = match expected {
        "i32" => "a 32-bit integer",
        "i64" => "a 64-bit integer",
        "IntOrString" => "an integer or a string",
        "Quantity" => "a quantity (a number or a string)",
        "a sequence" => "a list",
        "a string" if is_number || found.starts_with("found boolean") => "a string (put it in quotes)",
        "Time" | "MicroTime" => "a time such as 2006-01-02T15:04:05Z",
        other if other.starts_with(|c: char| c.is_ascii_uppercase()) => {
            return format!("{}, expected an object ({other})", plain(&found));
        }
        other => other,
    };
    format!("{}, expected {expected}", plain(&found))
}

fn plain(found: &str) -> String {
    found.replace("found sequence", "found a list").replace("found map", "found an object")
}
