//! Why this replica does not take part in full, in words. Reads only.

use std::sync::Arc;

use futures::FutureExt as _;
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::sync::watch;

use crate::accord::guard::Franchise;
use crate::disk::space::Level;
use crate::metrics::Metrics;
use crate::renewal::{Repair, Shown};
use crate::types::Raft;

/// Why the raft node has ended; `None`: it runs. Whatever else it shows then, it shows for ever.
pub fn ended(raft: &Raft) -> Option<String> {
    if let Err(fatal) = &raft.metrics().borrow_watched().running_state {
        return Some(fatal.to_string());
    }
    panicked(raft).then(|| "its raft node has panicked, a restart begins it again".into())
}

/// One that panicked could not say so: it is only gone.
pub fn panicked(raft: &Raft) -> bool {
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

    /// Its raft node is gone, and nothing else is the matter.
    pub fn has_panicked(&self) -> bool {
        self.kept_out().is_none() && panicked(&self.raft)
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
        self.unwell().is_none() && self.franchise.abstention().is_none() && *self.level.borrow() != Level::Out
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
        match *self.level.borrow() {
            Level::Ample => None,
            Level::Short => Some("there is little room on its disk".into()),
            Level::Out => Some("there is no room on its disk: it takes no part".into()),
        }
    }
}
