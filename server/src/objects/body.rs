//! From a request's body to JSON that can be admitted, and what is to be said about its fields. Pure, decides.

use std::borrow::Cow;

use api::field_validation::{check_json, check_value};
use api::kinds::{Kind, Subresource};
use api::patch::{self, Patch, PatchType};
use api::status::{Cause, Details, Status};
use api::yaml::{self, Format};
use bytes::Bytes;
use serde_json::Value;

use super::request::{Body, FieldValidation, Target};

/// JSON to admit, and warnings for the client.
pub(super) struct Understood {
    pub json: Bytes,
    pub warnings: Vec<String>,
}

/// Reads an object, or a body of another kind for a part of it, such as a Binding. JSON is checked in one pass over
/// its bytes: no value is built on the way of a write.
pub(super) fn understand(
    kind: &'static Kind,
    subresource: &str,
    body: &Body,
    validation: FieldValidation,
) -> Result<Understood, Status> {
    let (group, version, name) = kind_of(kind, subresource);
    let (json, findings) = match body.format {
        Format::Json => (body.bytes.clone(), check_json(group, version, name, &body.bytes)?),
        Format::Yaml => {
            let yaml::Decoded { value, duplicates } = yaml::decode(Format::Yaml, &body.bytes)?;
            let findings = check_value(group, version, name, &value).with_duplicates(&duplicates);
            (serde_json::to_vec(&value).map_err(Status::internal)?.into(), findings)
        }
    };
    Ok(Understood { json, warnings: findings.judge(validation, version, name)? })
}

pub(super) fn read_patch(patch_type: PatchType, body: &Body) -> Result<Patch, Status> {
    let json: Cow<'_, [u8]> = match body.format {
        Format::Json => Cow::Borrowed(&body.bytes),
        Format::Yaml => {
            let decoded = yaml::decode(Format::Yaml, &body.bytes)?;
            Cow::Owned(serde_json::to_vec(&decoded.value).map_err(Status::internal)?)
        }
    };
    Patch::read(patch_type, &json).map_err(|error| unfit(&error, None))
}

/// The patched object, as its client would have sent it. `shown` is what the client sees: with its resourceVersion,
/// so that a patch may test it. A patch that does not speak of it does not insist on it.
pub(super) fn patched(
    target: &Target,
    patch: &Patch,
    shown: &[u8],
    validation: FieldValidation,
) -> Result<Understood, Status> {
    let current: Value = serde_json::from_slice(shown).map_err(Status::internal)?;
    let before = current["metadata"]["resourceVersion"].clone();
    let (group, version, name) = kind_of(target.kind, &target.subresource);
    let mut value = patch.apply(group, version, name, current).map_err(|error| unfit(&error, Some(target)))?;
    let insists = patch.resource_version().is_some() || value["metadata"]["resourceVersion"] != before;
    if !insists && let Some(meta) = value["metadata"].as_object_mut() {
        meta.remove("resourceVersion");
    }
    let findings = check_value(group, version, name, &value).with_duplicates(&patch.duplicates);
    let warnings = findings.judge(validation, version, name)?;
    Ok(Understood { json: serde_json::to_vec(&value).map_err(Status::internal)?.into(), warnings })
}

/// The kind of the bodies that go to a part of an object, or to the object itself.
fn kind_of(kind: &'static Kind, subresource: &str) -> (&'static str, &'static str, &'static str) {
    let part = kind.subresources.iter().find(|part| part.name() == subresource);
    part.copied().and_then(Subresource::of_kind).unwrap_or((kind.group, kind.version, kind.kind))
}

fn unfit(error: &patch::Error, target: Option<&Target>) -> Status {
    let name = target.map_or("", |target| &target.name);
    match error.http_code() {
        413 => Status { code: 413, reason: "RequestEntityTooLarge".into(), ..Status::bad_request(error.to_string()) },
        415 => Status { code: 415, reason: "UnsupportedMediaType".into(), ..Status::bad_request(error.to_string()) },
        422 => {
            let message = match name {
                "" => format!("the server rejected our request due to an error in our request: {error}"),
                _ => format!("the patch does not fit {name:?}: {error}"),
            };
            let cause = Cause { reason: "FieldValueInvalid".into(), message: error.to_string(), field: "patch".into() };
            let details = Details { name: name.into(), causes: vec![cause], ..Details::default() };
            let details = Some(Box::new(details));
            Status { code: 422, reason: "Invalid".into(), details, ..Status::bad_request(message) }
        }
        _ => Status::bad_request(error.to_string()),
    }
}
