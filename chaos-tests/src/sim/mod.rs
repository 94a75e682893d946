//! A world in one thread: hosts with clocks, disks and a network of their own, all driven by one seed. Read in this
//! order:
//!
//! - [`os`]: what the thread gets from the operating system: seeded randomness, simulated clocks;
//! - [`world`]: the hosts, and time;
//! - [`net`], [`stream`]: the network between them, and its faults;
//! - [`disk`]: a disk that forgets what was not synced;
//! - [`trace`]: everything that happened, for comparing two runs.

pub mod disk;
pub mod net;
pub mod os;
pub mod stream;
pub mod trace;
pub mod world;
