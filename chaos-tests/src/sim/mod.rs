//! A world in one thread: hosts with clocks, disks and a network of their own, all driven by one seed. Read in this
//! order:
//!
//! - [`os`]: what the thread gets from the operating system: seeded randomness, simulated clocks;
//! - [`world`]: the hosts, and time; turmoil carries it and the network;
//! - [`wire`]: a machine's connections, whatever becomes of its process;
//! - [`links`]: what faults make of the links between hosts;
//! - [`disk`]: a disk that forgets what was not synced;
//! - [`memory`]: what a world holds;
//! - [`trace`]: everything that happened, for comparing two runs.

pub mod disk;
pub mod links;
pub mod memory;
pub mod os;
pub mod trace;
pub mod wire;
pub mod world;
