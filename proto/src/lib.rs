//! The wire: the messages, and the seams they travel over. Read in this order:
//!
//! - [`seam`]: what a process may not do by itself (sockets, wall clock, randomness), so that the
//!   simulation can stand in for it;
//! - [`tls`]: identities, and the two kinds of connection (mutual among peers, certificate optional for clients);
//! - [`pki`]: makes the certificates of a cluster;
//! - [`channel`]: a gRPC channel over the seam, to one address or to whichever of several answers;
//! - [`api`], [`admin`], [`session`], [`peer`]: the generated messages.

pub mod channel;
pub mod gather;
pub mod mutants;
pub mod pki;
pub mod seam;
pub mod tls;

#[allow(clippy::all)]
pub mod api {
    tonic::include_proto!("kontiki.v1");
}
#[allow(clippy::all)]
pub mod admin {
    tonic::include_proto!("kontiki.admin.v1");
}
#[allow(clippy::all)]
pub mod session {
    tonic::include_proto!("kontiki.node.v1");
}
#[allow(clippy::all)]
pub mod peer {
    tonic::include_proto!("kontiki.peer.v1");
}

/// The name of the binary metadata entry that carries a Kubernetes `Status` (JSON) with a gRPC error.
pub const STATUS_METADATA: &str = "kontiki-status-bin";

/// So long the SDK waits for a replica's answer to an administrator. A replica takes less: who waits no more takes a change that was
/// made for one of which nothing is known.
pub const ADMIN_ANSWER_MAX: std::time::Duration = std::time::Duration::from_secs(12);
