//! The state machine at one log position: what a snapshot carries. Decides nothing.

use std::sync::Arc;

use super::objects::Staged;

use crate::state::State;
use crate::types::{LogId, SnapshotMeta, StoredMembership};

/// Cheap to clone and to make: it shares the state's parts, so a snapshot stops no apply.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub state: State,
    pub last_applied: Option<LogId>,
    pub membership: StoredMembership,
    /// Where the receiver has put the objects on its disk already; `None` on the side that made the image.
    pub staged: Option<Arc<Staged>>,
}

impl Image {
    pub fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.last_applied, last_membership: self.membership.clone() }
    }
}
