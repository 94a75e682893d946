//! The replicated store in the simulated world. Read in this order:
//!
//! - [`plan`]: what goes wrong, and when; [`draw`]: from which seed; [`actions`]: what is done for it (all pure);
//! - [`replica`]: one host's process: the store of production and those who use it;
//! - [`clients`], [`reader`], [`watchers`], [`historian`], [`leader`]: the users;
//! - [`seen`]: what they saw;
//! - [`run`]: one seed from beginning to end; [`settle`]: once the faults have ended; [`ending`]: its end;
//! - [`faults`]: what a plan's actions do to the world; [`felt`]: which of them meet somebody; [`operator`]: replicas come and go; [`odd`]: one whose state is wrong;
//! - [`verdict`]: all promises held against what was seen.

pub mod actions;
pub mod clients;
pub mod draw;
pub mod ending;
pub mod faults;
pub mod felt;
pub mod historian;
pub mod leader;
pub mod odd;
pub mod operator;
pub mod plan;
pub mod reader;
pub mod replica;
pub mod run;
pub mod seen;
pub mod settle;
pub mod verdict;
pub mod watchers;
