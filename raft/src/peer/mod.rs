//! How replicas talk to each other. Read in this order:
//!
//! - [`wire`]: openraft's types as messages;
//! - [`channels`]: the connections to the others, by purpose;
//! - [`line`]: questions on one stream;
//! - [`network`]: what openraft sends through them;
//! - [`outgoing`] and [`piggyback`]: which of its entries and words go onto the wire; [`lent`]: for as long as somebody awaits the
//!   answers;
//! - [`listener`], [`door`] and [`server`]: what comes in;
//! - [`entries`]: what of it a leader sends;
//! - [`describe`]: what a replica tells of itself;
//! - [`forward`]: proposals on their way to the leader;
//! - [`snapshot`]: a snapshot on its way to a follower; [`arrival`]: which one comes in there; [`past`]: what came before it;
//! - [`pace`]: the heartbeats, and when openraft's own clock runs;
//! - [`herald`]: what stands for heartbeats while the raft node waits for its disk;
//! - [`ear`]: when the leader was last heard;
//! - [`alive`], [`silence`]: notice that the leader's process has died, or that it says nothing any more;
//! - [`succession`]: then seeks the votes of the others.

pub mod alive;
pub mod arrival;
pub mod channels;
mod describe;
pub mod door;
pub mod ear;
mod entries;
pub mod forward;
pub mod herald;
mod lent;
pub mod line;
pub mod listener;
pub mod network;
mod outgoing;
pub mod pace;
pub mod past;
pub mod piggyback;
pub mod server;
pub mod silence;
pub mod snapshot;
pub mod succession;
pub mod wire;
