//! Chaos: the promises of the README, tried on real processes, real containers and in a simulated world.
//!
//! - [`sim`]: a world in one thread, driven by one seed: hosts, clocks, disks, a network, and their faults;
//! - [`check`]: what must hold of a run (pure);
//! - [`store`]: the replicated store in that world, under a workload and a plan of faults;
//! - [`runner`]: many seeds on all cores, and what becomes of one that fails.
//!
//! `tests/simulation.rs` runs some hundred seeds, `make chaos` as many as one likes.
//! `tests/e2e` runs against a cluster that `make test` has started (`KONTIKI_DIR` says where): stock kubectl on the
//! one side, the Docker engine on the other.

pub mod check;
pub mod runner;
pub mod sim;
pub mod store;
