//! How replicas talk to each other. Read in this order:
//!
//! - [`wire`]: openraft's types as messages;
//! - [`channels`]: the connections to the others, by purpose;
//! - [`network`]: what openraft sends through them;
//! - [`listener`], [`door`] and [`server`]: what comes in;
//! - [`forward`]: proposals on their way to the leader;
//! - [`snapshot`]: a snapshot on its way to a follower;
//! - [`alive`]: notices at once when a peer's process dies.

pub mod alive;
pub mod channels;
pub mod door;
pub mod forward;
pub mod listener;
pub mod network;
pub mod server;
pub mod snapshot;
pub mod wire;
