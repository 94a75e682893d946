//! What fields the served types have and how their lists are merged: the knowledge that strategic merge
//! patches, field validation and OpenAPI share. Pure.
//!
//! The types come from k8s-openapi's schemas, the merge rules from `lists`. The tree is made once, at first
//! use, and keeps names only, no descriptions.

mod lists;
mod roots;
mod tree;

pub use lists::{ListKind, MergeRule, merge_rule, structs_atomic};
pub use roots::{Root, roots};
pub use tree::{Field, Scalar, Shape, Type, Types, types};
