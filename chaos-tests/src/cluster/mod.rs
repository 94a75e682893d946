//! Whole clusters in the simulated world: the replicas and agents of production, over simulated disks and container
//! engines, under a Deployment that rolls while things go wrong. Read in this order:
//!
//! - [`plan`]: what goes wrong, and when (pure);
//! - [`setting`]: certificates and configurations;
//! - [`processes`]: what runs on each host;
//! - [`user`]: who changes the Deployment and watches; [`keeper`]: who keeps Pods with fixed names; [`registers`]: who reads and writes
//!   through one replica's doors each;
//! - [`seen`]: what was seen;
//! - [`run`]: one seed from beginning to end;
//! - [`faults`]: what a plan's faults do to the world;
//! - [`verdict`]: all promises held against what was seen.

pub mod faults;
pub mod keeper;
pub mod plan;
pub mod processes;
pub mod registers;
pub mod run;
pub mod seen;
pub mod setting;
pub mod user;
pub mod verdict;
