//! End to end: a running cluster, stock kubectl, real containers. Run by `make test`.

#![allow(clippy::disallowed_methods, reason = "real processes are watched in real time")]

mod bad_input;
mod cli;
mod clients;
mod compose;
mod explain;
mod harness;
mod kubectl;
mod lessons;
mod operator;
mod pods;
mod starting;
mod story;
