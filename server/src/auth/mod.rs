//! Who asks, and may they? Identities come from certificates; the rules are pure.

mod identity;
mod node;
mod rules;

pub use identity::Identity;
pub use node::{Limit, Reach, refers_to};
pub use rules::{Attributes, Grant, authorize, authorize_path, unauthorized};
