//! One host's agent: keeps the assigned Pods running on its container engine. Read in this order:
//!
//! - [`config`]: what it is told; [`run`]: the only wiring; `tasks`: how it hears that it has lost one;
//! - [`session`]: how work, tunnels and heartbeats travel between agent and replicas;
//! - [`sync`]: decides what to do for one Pod (pure); [`pod`]: what a Pod's spec means on this host (pure);
//! - [`agent`]: the loop that holds all state, and performs what was decided;
//! - [`volumes`], [`probe`], [`tunnels`]: files, probes and hooks, logs and exec;
//! - [`register`], [`report`], [`health`]: what the cluster is told;
//! - [`runtime`]: the seam to the engine, with a runtime in memory; [`docker`]: the engine behind it;
//! - `network`: the Pods' interfaces, where the agent makes them instead of the engine.
//!
//! Architecture invariant: only [`docker`] knows bollard, and nothing below [`sync`] and [`pod`] asks a clock or makes a
//! call. Architecture invariant: a session or a cluster that is gone never ends a container.

pub mod agent;
pub mod config;
pub mod docker;
pub mod health;
mod network;
pub mod pod;
pub mod probe;
pub mod register;
pub mod report;
mod run;
pub mod runtime;
pub mod session;
pub mod sync;
mod tasks;
pub mod tunnels;
pub mod volumes;

pub use config::Config;
pub use run::{Error, run, run_with};
