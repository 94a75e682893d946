//! Chaos: the promises of the README, tried on real processes, real containers and in a simulated world.
//!
//! - [`sim`]: a world in one thread, driven by one seed: hosts, clocks, disks, a network, and their faults;
//! - [`check`]: what must hold of a run (pure);
//! - [`store`]: the replicated store in that world, under a workload and a plan of faults;
//! - [`cluster`]: whole replicas and agents in that world;
//! - [`fault`]: one fault of a plan; [`felt`]: which of them met somebody;
//! - [`runner`]: many seeds on all cores, and what becomes of one that fails;
//! - [`users`]: who writes to clusters and hosts over the SDK;
//! - [`real`]: real replicas on hosts of their own, under the same workload and the same judges.
//!
//! `tests/simulation.rs` runs some hundred seeds, `make chaos` as many as one likes, `make chaos-real` real replicas.
//! `tests/e2e` runs against a cluster that `make test` has started (`KONTIKI_DIR` says where): stock kubectl on the
//! one side, the Docker engine on the other.

pub mod check;
pub mod cluster;
pub mod fault;
pub mod felt;
pub mod real;
pub mod runner;
pub mod sim;
pub mod store;
pub mod users;
