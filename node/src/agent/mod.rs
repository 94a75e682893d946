//! The agent's loop: it holds what is assigned and what was seen, asks [`crate::sync`] what to do, and has it done.
//! Acts, through `execute` alone.
//!
//! - `run`: the loop itself; `clock`: its times; `learn`: how it takes news in; `tell`: the events it writes;
//! - `entry`: what it keeps of one Pod; `news`: what reaches it;
//! - `execute`, `starting`, `hooks`: perform a step; `turns`: how many at once;
//! - `watch` follows the engine, `listing` lists its containers, `observe` looks at one of them;
//! - `probing`: keeps the wanted probes running; - `directory`: what logs and exec look Pods up in.

mod clock;
mod directory;
mod entry;
mod execute;
mod hooks;
mod learn;
mod listing;
mod news;
mod observe;
mod probing;
mod run;
mod starting;
mod tell;
mod turns;
mod watch;

#[cfg(test)]
mod tests;

pub use directory::{Directory, Place};
pub use run::{Agent, Setting};
