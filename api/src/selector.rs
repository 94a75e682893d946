//! Label and field selectors: which objects a list, a watch or a controller means. Pure, decides.

pub mod field;
pub mod label;
mod parse;

pub use field::FieldSelector;
pub use label::{LabelSelector, Operator, Requirement};

/// Why a selector was refused. Every one of them is the caller's mistake: `400 BadRequest`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("unable to parse requirement: {0}")]
    Parse(String),
    #[error("unable to parse requirement: {path}: Invalid value: {value:?}: {reason}")]
    Invalid { path: &'static str, value: String, reason: String },
    #[error("{0:?} is not a valid label selector operator")]
    Operator(String),
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Field { selector: String, term: String },
    #[error("invalid field selector: {0}")]
    Escape(String),
    #[error("field label not supported: {0}")]
    Unsupported(String),
    #[error("{0:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")]
    UnsupportedForKind(String),
    #[error("the selector has more than {max} {what}")]
    TooLarge { what: &'static str, max: usize },
}

impl From<Error> for crate::Status {
    fn from(error: Error) -> crate::Status {
        crate::Status::bad_request(error.to_string())
    }
}

/// A selector is matched against every object of a list, so its size is bounded.
pub const REQUIREMENTS_MAX: usize = 256;
/// Values of one `in (…)`.
pub const VALUES_MAX: usize = 4096;
