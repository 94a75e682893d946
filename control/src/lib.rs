//! Pure decisions: one small file per controller, and the scheduler. Nothing here does anything.

pub mod controller;
pub mod controllers;
pub mod events;
#[cfg(test)]
mod large_tests;
pub mod plan;
pub mod scheduler;
pub mod view;

pub use controller::Controller;
pub use plan::{Note, Plan, Write};
pub use view::{Change, Entry, Liveness, Object, View};
