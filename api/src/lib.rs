//! The Kubernetes object model, pure: kinds, defaults, validation, patches, selectors, tables, OpenAPI.

// What an object is: its kind, its place, its bytes.
pub mod key;
pub mod kinds;
mod meta;
pub mod object;

// What may be said in one, and what is answered when it is wrong.
pub mod field;
pub mod names;
pub mod quantity;
pub mod status;

// What becomes of it.
pub mod deletion;

pub use key::Key;
pub use kinds::{KINDS, Kind};
pub use quantity::Quantity;
pub use status::Status;

pub mod discovery;
pub mod field_validation;
pub mod openapi;
pub mod patch;
pub mod printer;
pub mod schema;
pub mod selector;
pub mod yaml;
