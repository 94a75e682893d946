//! The controllers: each keeps one kind of object as it should be. Pure, they decide.

pub mod backends;
pub mod deployment;
pub mod draft;
pub mod endpoint_slices;
pub mod endpoints;
#[cfg(test)]
mod endpoints_tests;
pub mod event_ttl;
pub mod garbage;
pub mod namespace;
#[cfg(test)]
mod namespace_tests;
pub mod node_lifecycle;
pub mod pod_garbage;
pub mod readiness;
pub mod replica_set;
