//! The API's error answer: meta/v1 Status, worded as Kubernetes words it. Pure.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use crate::field::{Fault, FieldError, FieldErrors, Path};

/// Serialized, it is the body that clients of the API expect with every code from 400 up.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// The HTTP status code; below 400 it is a success.
    pub code: u16,
    /// One word for programs: "NotFound".
    pub reason: String,
    pub message: String,
    pub details: Option<Box<Details>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The plural of the resource, or the kind for Invalid: as Kubernetes has it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

const VERSION_TOO_LARGE: &str = "ResourceVersionTooLarge";

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What a Status looks like on the wire.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(default)]
    kind: Cow<'a, str>,
    #[serde(default)]
    api_version: Cow<'a, str>,
    #[serde(default)]
    metadata: Empty,
    #[serde(default)]
    status: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    message: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    reason: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    details: Option<Cow<'a, Details>>,
    #[serde(default)]
    code: u16,
}

#[derive(Default, Serialize, Deserialize)]
struct Empty {}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let wire = Wire {
            kind: "Status".into(),
            api_version: "v1".into(),
            metadata: Empty {},
            status: if self.code < 400 { "Success" } else { "Failure" }.into(),
            message: self.message.as_str().into(),
            reason: self.reason.as_str().into(),
            details: self.details.as_deref().map(Cow::Borrowed),
            code: self.code,
        };
        wire.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Status, D::Error> {
        let Wire { message, reason, details, code, .. } = Wire::deserialize(deserializer)?;
        let details = details.map(|details| Box::new(details.into_owned()));
        Ok(Status { code, reason: reason.into_owned(), message: message.into_owned(), details })
    }
}

/// A resource as error messages name it: `deployments.apps`, or `pods` in the core group.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    pub group: &'a str,
    pub plural: &'a str,
}

impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            "" => f.write_str(self.plural),
            group => write!(f, "{}.{group}", self.plural),
        }
    }
}

impl<'a> From<&'a crate::kinds::Kind> for Resource<'a> {
    fn from(kind: &'a crate::kinds::Kind) -> Resource<'a> {
        Resource { group: kind.group, plural: kind.plural }
    }
}

impl Status {
    fn new(code: u16, reason: &str, message: impl Into<String>) -> Status {
        Status { code, reason: reason.into(), message: message.into(), details: None }
    }

    fn about(mut self, resource: Resource, name: &str) -> Status {
        let (group, kind) = (resource.group.into(), resource.plural.into());
        self.details = Some(Box::new(Details { name: name.into(), group, kind, ..Details::default() }));
        self
    }

    fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }

    /// 200: what a delete answers that leaves nothing to show.
    pub fn success<'a>(resource: impl Into<Resource<'a>>, name: &str, uid: &str) -> Status {
        let mut status = Status::new(200, "", "").about(resource.into(), name);
        status.details_mut().uid = uid.into();
        status
    }

    /// 400
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(400, "BadRequest", message)
    }

    /// 401
    pub fn unauthorized() -> Status {
        Status::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403. `why` as in: User "x" cannot get resource "pods" in API group "" in the namespace "default".
    pub fn forbidden<'a>(resource: impl Into<Resource<'a>>, name: &str, why: impl fmt::Display) -> Status {
        let resource = resource.into();
        let message = match (resource.plural, name) {
            ("", _) => format!("forbidden: {why}"),
            (_, "") => format!("{resource} is forbidden: {why}"),
            _ => format!("{resource} {name:?} is forbidden: {why}"),
        };
        Status::new(403, "Forbidden", message).about(resource, name)
    }

    /// 404 for an object.
    pub fn not_found<'a>(resource: impl Into<Resource<'a>>, name: &str) -> Status {
        let resource = resource.into();
        Status::new(404, "NotFound", format!("{resource} {name:?} not found")).about(resource, name)
    }

    /// 404 for a path that no resource is served at.
    pub fn no_such_path() -> Status {
        let mut status = Status::new(404, "NotFound", "the server could not find the requested resource");
        status.details = Some(Box::default());
        status
    }

    /// 405
    pub fn method_not_allowed<'a>(resource: impl Into<Resource<'a>>, verb: &str) -> Status {
        let resource = resource.into();
        let message = format!("{verb} is not supported on resources of kind \"{resource}\"");
        Status::new(405, "MethodNotAllowed", message).about(resource, "")
    }

    /// 406
    pub fn not_acceptable(served: &[&str]) -> Status {
        let message = format!("only the following media types are accepted: {}", served.join(", "));
        Status::new(406, "NotAcceptable", message)
    }

    /// 409 on create.
    pub fn already_exists<'a>(resource: impl Into<Resource<'a>>, name: &str) -> Status {
        let resource = resource.into();
        Status::new(409, "AlreadyExists", format!("{resource} {name:?} already exists")).about(resource, name)
    }

    /// 409 with any reason.
    pub fn conflict<'a>(resource: impl Into<Resource<'a>>, name: &str, why: impl fmt::Display) -> Status {
        let resource = resource.into();
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Status::new(409, "Conflict", message).about(resource, name)
    }

    /// 409 for a resourceVersion that is not the object's newest.
    pub fn stale<'a>(resource: impl Into<Resource<'a>>, name: &str) -> Status {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Status::conflict(resource, name, why)
    }

    /// 410: the watch or the continue token reaches back further than the history.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::new(410, "Expired", message)
    }

    /// 410 with the other reason that clients know.
    pub fn gone(message: impl Into<String>) -> Status {
        Status::new(410, "Gone", message)
    }

    /// 413
    pub fn request_entity_too_large(limit_bytes: usize) -> Status {
        let message = format!("Request entity too large: limit is {limit_bytes}");
        Status::new(413, "RequestEntityTooLarge", message)
    }

    /// 415
    pub fn unsupported_media_type(given: &str, supported: &[&str]) -> Status {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {} (got {given:?})",
            supported.join(", ")
        );
        Status::new(415, "UnsupportedMediaType", message)
    }

    /// 422: the object as a whole was understood, and these fields are wrong. `kind` is the Kind's name.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: FieldErrors) -> Status {
        let mut told: Vec<String> = Vec::new();
        for error in errors.list.iter().map(FieldError::to_string) {
            if !told.contains(&error) {
                told.push(error);
            }
        }
        let all = match told.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let causes = errors.list.iter().map(|error| Cause {
            reason: error.fault.reason().into(),
            message: error.body(),
            field: error.field.clone(),
        });
        let subject = if group.is_empty() { kind.to_string() } else { format!("{kind}.{group}") };
        let mut status = Status::new(422, "Invalid", format!("{subject} {name:?} is invalid: {all}"));
        let (name, group, kind) = (name.into(), group.into(), kind.into());
        status.details = Some(Box::new(Details { name, group, kind, causes: causes.collect(), ..Details::default() }));
        status
    }

    /// 429: come back later. Also what an eviction gets that a disruption budget forbids (with 0 seconds).
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Status {
        let mut status = Status::new(429, "TooManyRequests", message);
        status.details_mut().retry_after_seconds = retry_after_seconds;
        status
    }

    /// 500
    pub fn internal(cause: impl fmt::Display) -> Status {
        let mut status = Status::new(500, "InternalError", format!("Internal error occurred: {cause}"));
        status.details_mut().causes.push(Cause { message: cause.to_string(), ..Cause::default() });
        status
    }

    /// 503: certain that nothing was done.
    pub fn service_unavailable(message: impl Into<String>, retry_after_seconds: u32) -> Status {
        let mut status = Status::new(503, "ServiceUnavailable", message);
        status.details_mut().retry_after_seconds = retry_after_seconds;
        status
    }

    /// 507: certain that nothing was done, and trying again does not help before there is more room. Kubernetes'
    /// clients show the message and do not repeat the request by themselves.
    pub fn insufficient_storage(message: impl Into<String>) -> Status {
        Status::new(507, "InsufficientStorage", message)
    }

    /// 504: the request ran out of time; a write may or may not have taken effect.
    pub fn timeout(message: impl fmt::Display, retry_after_seconds: u32) -> Status {
        let mut status = Status::new(504, "Timeout", format!("Timeout: {message}"));
        status.details_mut().retry_after_seconds = retry_after_seconds;
        status
    }

    /// 504 with a cause that clients know: nobody has written this version yet.
    pub fn version_too_large(asked: u64, newest: u64) -> Status {
        let mut status = Status::timeout(format!("Too large resource version: {asked}, current: {newest}"), 1);
        let message = "Too large resource version".to_owned();
        status.details_mut().causes = vec![Cause { reason: VERSION_TOO_LARGE.into(), message, field: String::new() }];
        status
    }

    pub fn is_version_too_large(&self) -> bool {
        let mut causes = self.details.iter().flat_map(|details| &details.causes);
        causes.any(|cause| cause.reason == VERSION_TOO_LARGE)
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a Status has only string keys")
    }
}

#[cfg(test)]
mod tests;
