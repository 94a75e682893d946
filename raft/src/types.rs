//! The types that openraft is instantiated with. Decides nothing.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::Outcome;

openraft::declare_raft_types!(
    /// One leader per term (the "standard" leader id), because the fence of a command is a term.
    pub Types:
        D = Proposal,
        R = Outcome,
        Node = Place,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
);

pub type LogId = openraft::type_config::alias::LogIdOf<Types>;
pub type Vote = openraft::type_config::alias::VoteOf<Types>;
pub type Entry = openraft::type_config::alias::EntryOf<Types>;
pub type Membership = openraft::Membership<u64, Place>;
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;
pub type Snapshot = openraft::type_config::alias::SnapshotOf<Types, crate::machine::image::Image>;
pub type Raft = openraft::Raft<Types, crate::machine::Machine>;

/// A command in its encoded form: it is encoded once where it is proposed and decoded once per replica, in `apply`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal(pub Bytes);

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Where a replica is reached. Data of the membership: it may change while the replica's id stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub peer_address: String,
    pub client_address: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.peer_address)
    }
}

pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(openraft::type_config::alias::CommittedLeaderIdOf::<Types>::new(term), index)
}

pub fn term_of(log_id: &LogId) -> u64 {
    log_id.leader_id.term
}
