//! How far the objects on the disk have come: the log is needed from there on after a restart, and the history as well.
//! Decides nothing.

use std::sync::Mutex;

use crate::command::Revision;
use crate::types::LogId;

/// The objects are written now and then, each key once however often it changed since. What came later is made again from
/// the log, which must not be dropped before.
#[derive(Default)]
pub struct Reach {
    at: Mutex<Reached>,
}

#[derive(Clone, Copy, Default)]
pub struct Reached {
    pub applied: Option<LogId>,
    pub revision: Revision,
    /// Nothing was applied since.
    pub whole: bool,
}

impl Reach {
    pub fn now(&self) -> Reached {
        *self.at.lock().expect("no holder of the reach panics")
    }

    pub fn set(&self, applied: Option<LogId>, revision: Revision) {
        *self.at.lock().expect("no holder of the reach panics") = Reached { applied, revision, whole: true };
    }

    /// Something was applied that the objects on the disk lack.
    pub fn falls_behind(&self) {
        self.at.lock().expect("no holder of the reach panics").whole = false;
    }
}
