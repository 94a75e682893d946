//! What was seen of a cluster, in one place for all hosts of a world. Decides nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use raft::{Change, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::plan::Plan;
use crate::check::changes::Told;
use crate::check::diagnosis::Diagnosis;
use crate::check::settled::Wish;
use crate::sim::links::HostId;
use crate::sim::os;
use crate::sim::trace::Trace;
use crate::store::seen;

/// Cheap to clone.
#[derive(Clone)]
pub struct Shared {
    inner: Arc<Mutex<Seen>>,
    trace: Arc<Mutex<Trace>>,
    /// What those see who read and write through one replica each.
    pub registers: seen::Shared,
    /// The user has nothing more to change.
    pub quiet: Arc<AtomicBool>,
    /// Every process is to end.
    pub stop: CancellationToken,
    /// A record on some disk rots.
    pub rots: bool,
    /// How much of the log each replica keeps for those who lag, if not as much as in production.
    pub log_bytes: Option<u64>,
}

#[derive(Default)]
pub struct Seen {
    /// Of the replicas that run.
    pub stores: BTreeMap<HostId, Store>,
    /// The newest wish, and whether the cluster has acknowledged it.
    pub wish: Option<(Wish, bool)>,
    /// Every watch of the user, by what it was told. The last of each prefix is open.
    pub watches: Vec<Told>,
    /// Every change of the run, as one replica's history has it; none if every history lacks its beginning.
    pub history: Vec<Change>,
    /// How often a replica has begun anew by itself.
    pub renewals: u64,
    pub violations: Vec<String>,
    pub operations: u64,
    pub unknown: u64,
}

impl Shared {
    pub fn new(trace: Arc<Mutex<Trace>>, epoch: Instant, plan: &Plan) -> Shared {
        let mut registers = seen::Shared::new(trace.clone(), epoch, plan.decays());
        let (inner, quiet, stop) = <(_, Arc<AtomicBool>, _)>::default();
        registers.quiet = quiet.clone();
        Shared { inner, trace, registers, quiet, stop, rots: plan.decays(), log_bytes: plan.log_bytes() }
    }

    pub fn lock(&self) -> MutexGuard<'_, Seen> {
        self.inner.lock().expect("no holder of what was seen panics")
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet.load(Relaxed)
    }

    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.trace.lock().expect("no holder of the trace panics").line(os::now().as_millis() as u64, what);
    }

    /// What is found again and again is said once.
    pub fn violated(&self, why: String) {
        let violations = &mut self.lock().violations;
        if !violations.contains(&why) {
            self.note(format_args!("VIOLATED {why}"));
            violations.push(why);
        }
    }

    pub fn hear_diagnosis(&self, store: &Store) {
        if !self.rots {
            self.judge(Diagnosis::of(store).check(0, false));
        }
    }

    pub fn judge(&self, verdict: Result<(), String>) {
        if let Err(why) = verdict {
            self.violated(why);
        }
    }
}
