//! What reaches the agent's loop. Types only.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::probe::Verdict;
use crate::runtime::{Container, ContainerId};
use crate::sync::{Note, Outcome, ProbeKind, Slot};

#[derive(Debug)]
pub enum News {
    /// The state of a container as of `at` (when the engine was asked); `None`: it is gone.
    Seen {
        at: Instant,
        id: ContainerId,
        container: Option<Box<Container>>,
    },
    /// All containers that were there at `at`. Everything else that was seen before is gone. `unseen`: those of them
    /// that could not be looked at, with the uids of their Pods.
    Listed {
        at: Instant,
        ids: BTreeSet<ContainerId>,
        unseen: BTreeMap<ContainerId, String>,
    },
    StepDone {
        uid: String,
        slot: Slot,
        outcome: Outcome,
    },
    PreStopDone {
        uid: String,
        container: String,
        id: ContainerId,
    },
    Signalled {
        uid: String,
        container: String,
        id: ContainerId,
        delivered: bool,
    },
    Said {
        uid: String,
        note: Note,
    },
    Probed {
        uid: String,
        container: String,
        id: ContainerId,
        kind: ProbeKind,
        verdict: Verdict,
    },
}
