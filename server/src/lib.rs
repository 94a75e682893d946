//! One replica's process. In reading order:
//!
//! - [`run`]: the wiring; [`Config`]: what it is told;
//! - [`http`], `grpc`: the two doors, on one port; [`auth`]: who is there, and what they may;
//! - `arrival`: what a request brings along, received before anything is held for it;
//! - [`objects`]: the generic verbs that both doors use;
//! - [`leader`]: the scheduler and the controllers, for as long as this replica leads; `per_term`: what it does besides;
//!   `bootstrap`: the first objects;
//! - [`sessions`]: the agents; [`streams`]: logs and processes of their containers;
//! - [`metrics`]: what is counted.

mod arrival;
pub mod auth;
mod bootstrap;
mod config;
#[cfg(test)]
mod fixtures;
mod grpc;
pub mod http;
pub mod leader;
pub mod metrics;
pub mod objects;
mod per_term;
mod run;
pub mod sessions;
pub mod streams;

pub use config::{Config, Member};
pub use run::{Error, run, run_on};
