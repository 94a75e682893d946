//! Why this replica does not take part in full, in words. Reads only.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::error::Fatal;
use tokio::sync::watch;

use crate::accord::guard::Franchise;
use crate::disk::space::Level;
use crate::metrics::Metrics;
use crate::renewal::{Repair, Shown};
use crate::types::Raft;

/// A sync that lasts longer is told: the disk hangs.
const HANGS: Duration = Duration::from_secs(5);

/// Why a replica takes no part any more.
#[derive(Clone, Debug, thiserror::Error)]
#[error("this replica takes no part: {0}")]
pub struct Unwell(pub String);

/// Why the raft node has ended; `None`: it runs. Whatever else it shows then, it shows for ever.
pub fn ended(raft: &Raft) -> Option<String> {
    if let Err(fatal) = &raft.metrics().borrow_watched().running_state {
        return Some(fatal.to_string());
    }
    panicked(raft).then(|| "its raft node has panicked, a restart begins it again".into())
}

/// Not because it was told to.
fn ended_by_itself(raft: &Raft) -> bool {
    let state = raft.metrics().borrow_watched().running_state.clone();
    match state {
        Ok(()) => panicked(raft),
        Err(ended) => !matches!(ended, Fatal::Stopped),
    }
}

/// One that panicked could not say so: it is only gone.
fn panicked(raft: &Raft) -> bool {
    let mut metrics = raft.metrics();
    let said_nothing = metrics.borrow_and_update().running_state.is_ok();
    said_nothing && matches!(metrics.changed().now_or_never(), Some(Err(_)))
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Trouble {
    pub raft: Raft,
    pub franchise: Franchise,
    pub level: watch::Receiver<Level>,
    pub metrics: Arc<Metrics>,
    pub shown: Shown,
}

impl Trouble {
    /// What keeps this replica from serving; `None`: it serves.
    pub fn unwell(&self) -> Option<String> {
        self.kept_out().or_else(|| ended(&self.raft))
    }

    /// Its raft node has ended unasked, and nothing else is the matter that would be told, or be repaired.
    pub fn has_broken_down(&self) -> bool {
        self.kept_out().is_none() && self.metrics.rot().is_none() && ended_by_itself(&self.raft)
    }

    /// What it stays for as it is: to tell of it, or to be repaired.
    fn kept_out(&self) -> Option<String> {
        if let Some(why) = self.metrics.device_failure() {
            return Some(format!("its disk failed: {why}"));
        }
        if let Some(why) = self.metrics.disk_failure() {
            return Some(format!("its data is damaged: {why}"));
        }
        self.franchise.guard.why()
    }

    /// Does it vote, acknowledge and serve, as far as it is itself concerned?
    pub fn serves(&self) -> bool {
        self.unwell().is_none() && self.franchise.abstention().is_none() && self.held_up().is_none()
    }

    /// Why its raft node, which may be in the middle of a write, acknowledges nothing at present.
    pub fn held_up(&self) -> Option<String> {
        if *self.level.borrow() == Level::Out {
            return Some("there is no room on its disk: it takes no part".into());
        }
        let owed = self.metrics.sync_owed();
        (owed >= HANGS).then(|| format!("its disk has not answered for {} s: it takes no part", owed.as_secs()))
    }

    pub fn repair(&self) -> Repair {
        match (self.metrics.rot().is_some(), self.shown.get()) {
            (false, _) => Repair::None,
            // Nobody here would open the store again.
            (true, Repair::None) => Repair::Waits,
            (true, shown) => shown,
        }
    }

    /// Damage that was found, and what becomes of it. Not where a person has to look at something else first.
    fn damage(&self, part: &str) -> Option<String> {
        if self.franchise.guard.why().is_some() || self.metrics.device_failure().is_some() {
            return None;
        }
        let what = self.metrics.rot()?;
        let repair = self.metrics.repair_waits().map_or("a restart repairs it".into(), |why| {
            format!("it begins anew and is filled by the others as soon as it may; {why}")
        });
        Some(format!("its data is damaged ({what}){part}: {repair}"))
    }

    /// Everything there is to say, the lesser troubles too.
    pub fn why(&self) -> Option<String> {
        if let Some(why) = self.unwell() {
            return self.damage(", and it takes no part").or(Some(why));
        }
        if let Some(why) = self.franchise.abstention() {
            return Some(format!("it {why}"));
        }
        if let Some(damage) = self.damage("") {
            return Some(damage);
        }
        let short = || (*self.level.borrow() == Level::Short).then(|| "there is little room on its disk".into());
        self.held_up().or_else(short)
    }
}
