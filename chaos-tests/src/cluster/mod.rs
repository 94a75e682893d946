//! Whole clusters in the simulated world: the replicas and agents of production, over simulated disks and container
//! engines, under a Deployment that rolls while things go wrong. Read in this order:
//!
//! - [`plan`]: what goes wrong, and when, as [`draw`] draws it from a seed (pure);
//! - [`setting`]: certificates and configurations;
//! - [`processes`]: what runs on each host; [`scribe`]: who follows all changes of a replica;
//! - [`user`]: who changes the Deployment; [`watchers`]: who watches; [`keeper`]: who keeps Pods with fixed names; [`registers`]: who
//!   reads and writes through one replica's doors each;
//! - [`operator`]: who lets replicas join and leave; [`relief`]: who puts one node in the place of another;
//! - [`seen`]: what was seen;
//! - [`run`], [`ending`]: one seed from beginning to end;
//! - [`faults`]: what a plan's faults do to the world; [`supervisor`]: processes that start and die;
//! - [`verdict`]: all promises held against what was seen.

pub mod draw;
pub mod ending;
pub mod faults;
pub mod keeper;
pub mod operator;
pub mod plan;
pub mod processes;
pub mod registers;
pub mod relief;
pub mod run;
pub mod scribe;
pub mod seen;
pub mod setting;
pub mod supervisor;
pub mod user;
pub mod verdict;
pub mod watchers;
