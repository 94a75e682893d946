//! Between the wire's messages and the verbs' requests. Pure.

use api::kinds::{self, Subresource};
use api::status::Status;
use proto::api as wire;
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::objects::request::{FieldValidation, Freshness, Propagation, Target, WriteOptions};

/// A Kubernetes status as a gRPC one: the nearest code, the message, and the whole of it as metadata.
pub fn failure(status: Status) -> tonic::Status {
    use tonic::Code;
    let code = match status.code {
        400 | 406 | 413 | 415 | 422 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        405 => Code::Unimplemented,
        409 if status.reason == "AlreadyExists" => Code::AlreadyExists,
        409 => Code::Aborted,
        410 => Code::OutOfRange,
        429 | 507 => Code::ResourceExhausted,
        503 => Code::Unavailable,
        504 => Code::DeadlineExceeded,
        _ => Code::Internal,
    };
    let mut metadata = MetadataMap::new();
    metadata.insert_bin(proto::STATUS_METADATA, MetadataValue::from_bytes(&status.to_json()));
    tonic::Status::with_metadata(code, status.message, metadata)
}

pub fn target(target: Option<wire::Target>) -> Result<Target, Status> {
    let target = target.ok_or_else(|| Status::bad_request("the request names no target"))?;
    let kind = kinds::find(&target.group, &target.version, &target.resource).ok_or_else(Status::no_such_path)?;
    if !target.subresource.is_empty()
        && !kind.subresources.iter().any(|has: &Subresource| has.name() == target.subresource)
    {
        return Err(Status::no_such_path());
    }
    let namespace = if kind.namespaced { target.namespace } else { String::new() };
    Ok(Target { kind, namespace, name: target.name, subresource: target.subresource })
}

/// Like [`target`], where one object must be named.
pub fn named(wire: Option<wire::Target>) -> Result<Target, Status> {
    let target = target(wire)?;
    if target.name.is_empty() {
        return Err(Status::bad_request("the request names no object"));
    }
    if target.kind.namespaced && target.namespace.is_empty() {
        return Err(Status::bad_request("the request names no namespace"));
    }
    Ok(target)
}

/// `exact`: that very revision, and no other.
pub fn freshness(resource_version: &str, exact: bool) -> Result<Freshness, Status> {
    match resource_version {
        "" if exact => Err(Status::bad_request("exact needs a resourceVersion")),
        "0" if exact => Err(Status::bad_request("revisions begin at 1: there is nothing to show as of 0")),
        text if exact => revision(text).map(Freshness::Exactly),
        "" => Ok(Freshness::Newest),
        "0" => Ok(Freshness::Any),
        text => revision(text).map(Freshness::NotOlderThan),
    }
}

pub fn revision(text: &str) -> Result<u64, Status> {
    text.parse().map_err(|_| Status::bad_request(format!("resourceVersion {text:?} is not a number")))
}

pub fn write_options(options: Option<wire::WriteOptions>) -> Result<WriteOptions, Status> {
    let options = options.unwrap_or_default();
    let field_validation = match options.field_validation.as_str() {
        "" | "Strict" => FieldValidation::Strict,
        "Warn" => FieldValidation::Warn,
        "Ignore" => FieldValidation::Ignore,
        other => return Err(Status::bad_request(format!("fieldValidation {other:?} is none of Strict, Warn, Ignore"))),
    };
    Ok(WriteOptions { dry_run: options.dry_run, field_manager: options.field_manager, field_validation })
}

pub fn propagation(policy: &str) -> Result<Option<Propagation>, Status> {
    match policy {
        "" => Ok(None),
        "Foreground" => Ok(Some(Propagation::Foreground)),
        "Background" => Ok(Some(Propagation::Background)),
        "Orphan" => Ok(Some(Propagation::Orphan)),
        other => {
            Err(Status::bad_request(format!("propagation policy {other:?} is none of Foreground, Background, Orphan")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_to_look_back_to_is_given_and_is_one() {
        assert!(matches!(freshness("7", true), Ok(Freshness::Exactly(7))));
        let refused = |text| freshness(text, true).unwrap_err().message;
        assert!(refused("").contains("needs a resourceVersion"));
        assert!(refused("0").contains("revisions begin at 1"));
        assert!(refused("new").contains("is not a number"));
        assert!(matches!(freshness("0", false), Ok(Freshness::Any)), "any that there is");
    }
}
