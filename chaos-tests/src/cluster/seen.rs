//! What was seen of a cluster, in one place for all hosts of a world. Decides nothing but whether a replica was to be removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use raft::{Change, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::plan::{NEWCOMER, Plan};
use crate::check::changes::{Agreed, Told};
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
    pub plan: Arc<Plan>,
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
    /// Watches of those who begin them late.
    pub late_watches: Vec<Told>,
    /// How often a watch, or the next page of a list, met a history that was gone.
    pub gone: u64,
    /// What scribes saw of the history, where they are.
    pub agreed: Agreed,
    /// Every change of the run, as one replica's history or all scribes have it; none if its beginning is unknown.
    pub history: Vec<Change>,
    /// How often a replica has begun anew by itself.
    pub renewals: u64,
    /// The further replica, as the operator has taken it in.
    pub joined: Option<Joined>,
    /// The members and whether each votes, as the operator was told last with a majority behind it; and the same at the further
    /// replica's own doors.
    pub members: BTreeMap<u64, bool>,
    pub members_at_newcomer: BTreeMap<u64, bool>,
    /// Replicas that have ended, for they are no members any more.
    pub removed: BTreeSet<u64>,
    pub relief: Relief,
    pub violations: Vec<String>,
    pub operations: u64,
    pub unknown: u64,
}

/// A further replica, as it is configured.
#[derive(Clone, Debug)]
pub struct Joined {
    pub id: u64,
    pub cluster_id: String,
    /// As of when it joined.
    pub members: Vec<server::Member>,
}

/// How far a node that is relieved has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Relief {
    #[default]
    Serves,
    /// It has no Pod any more, and gets none.
    Drained,
    SwitchedOff,
    /// Nothing is left of it.
    Deleted,
}

impl Shared {
    pub fn new(trace: Arc<Mutex<Trace>>, epoch: Instant, plan: &Plan) -> Shared {
        let mut registers = seen::Shared::new(trace.clone(), epoch, plan.decays());
        let (inner, quiet, stop) = <(_, Arc<AtomicBool>, _)>::default();
        registers.quiet = quiet.clone();
        let (rots, log_bytes) = (plan.decays(), plan.log_bytes());
        Shared { inner, trace, plan: Arc::new(plan.clone()), registers, quiet, stop, rots, log_bytes }
    }

    pub fn lock(&self) -> MutexGuard<'_, Seen> {
        self.inner.lock().expect("no holder of what was seen panics")
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet.load(Relaxed)
    }

    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.trace.lock().expect("no holder of the trace panics").line(now_ms(), what);
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

    /// The replica on this host has ended, and says that it is no member any more.
    pub fn hear_removed(&self, host: HostId, id: u64, why: &str) {
        self.note(format_args!("replica {id} on host {host} was removed: {why}"));
        self.lock().removed.insert(id);
        let is_due = |(from_ms, leaves): (u64, HostId)| leaves == host && now_ms() >= from_ms;
        // A further replica may have joined under another id before, and have been overruled.
        if host != NEWCOMER && !self.plan.leaves().is_some_and(is_due) {
            self.violated(format!("replica {id} says that it was removed, and nobody wanted that: {why}"));
        }
    }

    pub fn judge(&self, verdict: Result<(), String>) {
        if let Err(why) = verdict {
            self.violated(why);
        }
    }
}

/// Of the world's time.
pub fn now_ms() -> u64 {
    os::now().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::plan::{Fault, Kind};

    #[test]
    fn only_who_was_to_go_may_say_that_it_was_removed() {
        let violations = |at_ms, kind, host| {
            let plan = Plan { seed: 0, faults: vec![Fault { at_ms, for_ms: 0, kind }], ends_ms: 30_000 };
            let shared = Shared::new(Arc::default(), Instant::now(), &plan);
            shared.hear_removed(host, 7, "so they say");
            let seen = shared.lock();
            assert!(seen.removed.contains(&7));
            seen.violations.len()
        };
        assert_eq!(violations(0, Kind::Replace(1), 1), 0);
        assert_eq!(violations(0, Kind::Replace(1), 2), 1, "another one");
        assert_eq!(violations(1, Kind::Replace(1), 1), 1, "nobody wanted it yet");
        assert_eq!(violations(0, Kind::Slow(1), 1), 1, "nobody ever did");
        assert_eq!(violations(0, Kind::Replace(1), NEWCOMER), 0, "it was overruled, and joins again");
    }
}
