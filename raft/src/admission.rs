//! Where a proposal enters the leader's log, unless there is no room for it. Acts; [`crate::disk::space`] decides.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use crate::accord::guard::Guard;
use crate::command::{Command, Outcome};
use crate::disk::space::{self, Level};
use crate::intake::Intake;
use crate::machine::published::Published;

/// What became of a proposal.
#[derive(Debug)]
pub enum Answer {
    Outcome(Outcome),
    /// Certain: nothing was appended.
    NotTaken,
    /// Certain: nothing was appended, and nothing will be before there is more room.
    NoSpace(String),
    /// Certain: nothing was appended, and nothing will be.
    Refused(String),
    /// It may or may not take effect.
    Unknown(String),
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Admission {
    pub intake: Intake,
    pub guard: Arc<Guard>,
    /// Of the disk here.
    pub own: watch::Receiver<Level>,
    /// Of the cluster, while this replica leads.
    pub cluster: watch::Receiver<Level>,
    pub published: Arc<Published>,
}

impl Admission {
    /// Proposes to the raft node of this very replica.
    pub async fn propose(&self, command: Bytes) -> Answer {
        if self.guard.why().is_some() {
            return Answer::NotTaken;
        }
        if let Some(why) = self.bars(&command) {
            return Answer::NoSpace(why);
        }
        self.intake.append(command).await
    }

    /// Does the raft node here wait for its disk?
    pub fn is_held_up(&self) -> bool {
        *self.own.borrow() == Level::Out
    }

    fn bars(&self, command: &Bytes) -> Option<String> {
        let (own, cluster) = (*self.own.borrow(), *self.cluster.borrow());
        match own.max(cluster) {
            Level::Ample => None,
            Level::Short => {
                // One that cannot be read is refused where it would be applied.
                let command = Command::decode(command).ok()?;
                let why = space::growth(&command, &self.published.state())?;
                Some(format!("there is little room on the disks, and {why}"))
            }
            Level::Out => Some("there is no room on the disks".into()),
        }
    }
}
