//! Patches: JSON patch (RFC 6902), merge patch (RFC 7396) and Kubernetes' strategic merge patch. Pure, decides.

mod json;
mod order;
mod strategic;

pub use json::OPERATIONS_MAX;

use crate::schema::types;
use crate::status::Status;
use crate::yaml::{self, DEPTH_MAX, Format};
use serde_json::Value;

/// How a patch is written, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    Json,
    Merge,
    StrategicMerge,
}

/// The media types that `PatchType::of` knows, for the answer to others.
pub const MEDIA_TYPES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];

impl PatchType {
    pub fn of(content_type: &str) -> Option<PatchType> {
        match content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase().as_str() {
            "application/json-patch+json" => Some(PatchType::Json),
            "application/merge-patch+json" => Some(PatchType::Merge),
            "application/strategic-merge-patch+json" => Some(PatchType::StrategicMerge),
            _ => None,
        }
    }
}

/// Why a patch was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("error decoding patch: {0}")]
    Decode(#[from] yaml::Error),
    #[error("error decoding patch: {0}")]
    Malformed(String),
    #[error("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {0}")]
    TooManyOperations(usize),
    /// Understood, but it does not fit the object as it is now.
    #[error("{0}")]
    DoesNotFit(String),
    #[error("the patched object would be nested more than {DEPTH_MAX} levels deep")]
    TooDeep,
    #[error("the patch's operations copy or move too much of the object")]
    TooMuchWork,
    #[error("strategic merge patch is not supported for {0}: use a merge patch or a JSON patch")]
    NoStrategy(String),
}

impl Error {
    /// 400 for patches that mean nothing, 422 for those that mean something impossible.
    pub fn http_code(&self) -> u16 {
        match self {
            Error::Decode(error) => error.http_code(),
            Error::Malformed(_) => 400,
            Error::TooManyOperations(_) | Error::TooMuchWork => 413,
            Error::NoStrategy(_) => 415,
            Error::DoesNotFit(_) | Error::TooDeep => 422,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let (code, message) = (error.http_code(), error.to_string());
        let reason = match code {
            413 => "RequestEntityTooLarge",
            415 => "UnsupportedMediaType",
            422 => "Invalid",
            _ => return Status::bad_request(message),
        };
        Status { code, reason: reason.into(), message, details: None }
    }
}

/// A patch that was read, and what field validation has to say about its own text.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    kind: PatchType,
    body: Value,
    /// As in `yaml::Decoded`.
    pub duplicates: Vec<String>,
}

impl Patch {
    pub fn read(kind: PatchType, body: &[u8]) -> Result<Patch, Error> {
        let yaml::Decoded { value, duplicates } = yaml::decode(Format::Json, body)?;
        if kind != PatchType::Json && !value.is_object() {
            return Err(Error::Malformed("a merge patch is a JSON object".into()));
        }
        Ok(Patch { kind, body: value, duplicates })
    }

    /// The patched object. `current` is left to the caller, who may apply the same patch again to a newer one.
    pub fn apply(&self, group: &str, version: &str, kind: &str, current: Value) -> Result<Value, Error> {
        match self.kind {
            PatchType::Json => json::apply(current, &self.body),
            PatchType::Merge => {
                let mut patched = current;
                json_patch::merge(&mut patched, &self.body);
                Ok(patched)
            }
            PatchType::StrategicMerge => {
                let of = types().root(group, version, kind);
                let of = of.ok_or_else(|| Error::NoStrategy(format!("{group}/{version}, Kind={kind}")))?;
                strategic::apply(current, self.body.clone(), of)
            }
        }
    }

    /// The resourceVersion that a merge patch asks the object to have.
    pub fn resource_version(&self) -> Option<&str> {
        self.body["metadata"]["resourceVersion"].as_str().filter(|version| !version.is_empty())
    }
}

/// Reads and applies at once.
pub fn apply(
    group: &str,
    version: &str,
    kind: &str,
    patch_type: PatchType,
    current: Value,
    body: &[u8],
) -> Result<Value, Error> {
    Patch::read(patch_type, body)?.apply(group, version, kind, current)
}

#[cfg(test)]
mod tests;
