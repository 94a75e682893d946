//! The end of a raft node. Acts.

use crate::types::Raft;

/// Tells a raft node to end, and waits until it has. May be given up: then that goes on in a task of its own. openraft gives what
/// became of its node to who waits first; were that one gone, all others who ask the node for anything would panic once it ends.
pub(crate) async fn end(raft: &Raft) {
    let raft = raft.clone();
    // An error: the runtime ends.
    let _ = tokio::spawn(async move { raft.shutdown().await }).await;
}
