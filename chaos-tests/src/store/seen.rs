//! What the users of the store saw, in one place for all hosts of a world, and what must come of it. Pure, but for the time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use raft::{Change, Revision, State, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::check::acknowledged::Acknowledged;
use crate::check::changes::{Agreed, Told};
use crate::check::linear::{self, Effect, Value};
use crate::check::past::Look;
use crate::check::recency::Seen as Recent;
use crate::check::set::{Add, Reading};
use crate::sim::trace::Trace;

/// Under these the store keeps what it has to remember of its members.
const OWN_KEYS: &[u8] = b"kontiki/";

/// Cheap to clone.
#[derive(Clone)]
pub struct Shared {
    inner: Arc<Mutex<Seen>>,
    trace: Arc<Mutex<Trace>>,
    epoch: Instant,
    next_value: Arc<AtomicU64>,
    /// Users end what they have begun, and begin nothing more.
    pub quiet: Arc<AtomicBool>,
    /// Those who write, until they have ended what they began.
    writers: TaskTracker,
    /// Every process is to end.
    pub stop: CancellationToken,
    /// A record on some disk rots.
    pub rots: bool,
}

#[derive(Default)]
pub struct Seen {
    pub stores: BTreeMap<u64, Store>,
    pub open_failures: BTreeMap<u64, String>,
    pub registers: BTreeMap<String, Vec<linear::Operation>>,
    pub recent: Vec<Recent>,
    pub adds: Vec<Add>,
    pub readings: Vec<Reading>,
    /// What writes were told that returned.
    pub acknowledged: Vec<Acknowledged>,
    /// Of each term whose leader had applied an entry of its own, the revision of its state then.
    pub began: BTreeMap<u64, Revision>,
    /// Values whose proposals were refused: they must never appear.
    pub refused: Vec<u64>,
    pub agreed: Agreed,
    pub told: Vec<Told>,
    /// Watches that nobody serves at present.
    pub idle_watches: Vec<Told>,
    /// How often a door told a watcher how far it is.
    pub bookmarks: u64,
    /// What was read of the past.
    pub looks: Vec<Look>,
    /// The id that the further replica got last.
    pub newcomer: Option<u64>,
    /// Replicas through which the last write went.
    pub finished: BTreeMap<u64, Revision>,
    /// From where to where each replica's own history goes.
    pub histories: BTreeMap<u64, (Revision, Revision)>,
    /// What each replica held in the end.
    pub finals: BTreeMap<u64, State>,
    /// How often a replica has begun anew by itself.
    pub renewals: u64,
    pub violations: Vec<String>,
    pub operations: u64,
    pub unknown: u64,
}

/// How an operation on a register ended.
pub enum Ended {
    /// It took effect, or saw what the effect says, at this revision if it told one.
    Done(Effect, Option<Revision>),
    Unknown,
    /// It certainly took no effect.
    Refused,
}

/// An operation under way. Dropped before its end (its host crashed), its outcome is unknown.
pub struct Pending {
    shared: Shared,
    key: String,
    intent: Effect,
    invoked: u64,
    done: bool,
}

impl Shared {
    pub fn new(trace: Arc<Mutex<Trace>>, epoch: Instant, rots: bool) -> Shared {
        let (inner, next_value, quiet, writers, stop) = Default::default();
        Shared { inner, trace, epoch, next_value, quiet, writers, stop, rots }
    }

    pub fn lock(&self) -> MutexGuard<'_, Seen> {
        self.inner.lock().expect("no holder of what was seen panics")
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet.load(Relaxed)
    }

    /// Whoever writes holds one, so that nobody sums up before its last word. It goes with its host.
    pub fn writing(&self) -> TaskTrackerToken {
        self.writers.token()
    }

    pub fn writers(&self) -> usize {
        self.writers.len()
    }

    /// Microseconds since the world's beginning, by this host's clock.
    pub fn now(&self) -> u64 {
        Instant::now().duration_since(self.epoch).as_micros() as u64
    }

    /// Never the same twice.
    pub fn value(&self) -> u64 {
        self.next_value.fetch_add(1, Relaxed) + 1
    }

    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.trace.lock().expect("no holder of the trace panics").line(self.now() / 1000, what);
    }

    /// What is found again and again is said once.
    pub fn violated(&self, why: String) {
        self.note(format_args!("VIOLATED {why}"));
        let violations = &mut self.lock().violations;
        if !violations.contains(&why) {
            violations.push(why);
        }
    }

    pub fn judge(&self, verdict: Result<(), String>) {
        if let Err(why) = verdict {
            self.violated(why);
        }
    }

    pub fn begin(&self, key: &str, intent: Effect) -> Pending {
        Pending { shared: self.clone(), key: key.into(), intent, invoked: self.now(), done: false }
    }
}

impl Pending {
    pub fn invoked(&self) -> u64 {
        self.invoked
    }

    pub fn end(mut self, ended: Ended) {
        self.done = true;
        self.record(ended);
    }

    fn record(&self, ended: Ended) {
        let now = self.shared.now();
        let Pending { shared, key, intent, invoked, .. } = self;
        let mut seen = shared.lock();
        seen.operations += 1;
        let (returned, effect) = match ended {
            Ended::Done(effect, revision) => {
                // To delete what is absent makes no revision.
                let made = written(effect).is_some();
                let recent = revision.map(|revision| Recent { invoked: *invoked, returned: now, revision, made });
                seen.recent.extend(recent);
                seen.acknowledged.extend(revision.and_then(|at| acknowledged(key, effect, at)));
                // Who is told instead what stands there is told that nothing came of his write.
                seen.refused.extend(written(*intent).filter(|_| effect.is_reading()));
                shared.note(format_args!("{key} {invoked} {effect:?} at {revision:?}"));
                (Some(now), effect)
            }
            Ended::Refused => {
                seen.refused.extend(written(*intent));
                shared.note(format_args!("{key} {invoked} {intent:?} refused"));
                return;
            }
            Ended::Unknown => {
                seen.unknown += 1;
                // The tasks of a host that crashes end in no order of their own: only what ended by itself is told.
                if self.done {
                    shared.note(format_args!("{key} {invoked} {intent:?} unknown"));
                }
                (None, *intent)
            }
        };
        // An unknown read tells nothing.
        if returned.is_some() || !effect.is_reading() {
            let operation = linear::Operation { invoked: *invoked, returned, effect };
            seen.registers.entry(key.clone()).or_default().push(operation);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.done {
            self.record(Ended::Unknown);
        }
    }
}

impl Seen {
    /// An add begins, and is remembered before it is sent. `member`: a value that nobody added before. Returns the add's number.
    pub fn adding(&mut self, member: u64, invoked: u64) -> usize {
        self.adds.push(Add { member, invoked, returned: None, refused: false });
        self.adds.len() - 1
    }

    /// The add with this number has returned, and made this revision if it told one.
    pub fn added(&mut self, number: usize, now: u64, revision: Option<Revision>) {
        let add = &mut self.adds[number];
        add.returned = Some(now);
        let (invoked, value) = (add.invoked, add.member);
        self.recent.extend(revision.map(|revision| Recent { invoked, returned: now, revision, made: true }));
        self.acknowledged.extend(revision.map(|at| Acknowledged::Put { value, at }));
    }
}

/// What the history must have of what was acknowledged with this revision.
fn acknowledged(key: &str, effect: Effect, at: Revision) -> Option<Acknowledged> {
    match (written(effect), effect.is_reading()) {
        (Some(value), _) => Some(Acknowledged::Put { value, at }),
        (None, false) => Some(Acknowledged::Gone { key: key.to_owned().into(), at }),
        (None, true) => None,
    }
}

pub fn written(effect: Effect) -> Value {
    match effect {
        Effect::Read(_) | Effect::Stands { .. } => None,
        Effect::Write(value) | Effect::Replace(value) => value,
        Effect::Swap { new, .. } => new,
    }
}

/// The number that a value begins with.
pub fn number(value: &[u8]) -> Option<u64> {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&value[..digits]).ok()?.parse().ok()
}

/// The value that a client wrote. What the store writes itself are numbers too, but not those.
pub fn number_of(change: &Change) -> Option<u64> {
    let value = change.value.as_ref().filter(|_| !change.key.starts_with(OWN_KEYS))?;
    number(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Shared {
        Shared::new(Arc::default(), Instant::now(), false)
    }

    #[test]
    fn whatever_is_acknowledged_with_a_revision_is_kept() {
        let shared = shared();
        shared.begin("a", Effect::Write(Some(1))).end(Ended::Done(Effect::Write(Some(1)), Some(5)));
        shared.begin("a", Effect::Write(None)).end(Ended::Done(Effect::Write(None), Some(6)));
        shared.begin("a", Effect::Read(None)).end(Ended::Done(Effect::Read(None), Some(6)));
        let mut seen = shared.lock();
        let number = seen.adding(7, 0);
        let add = &seen.adds[number];
        assert_eq!((add.member, add.returned, add.refused), (7, None, false), "it may take effect without an answer");
        seen.added(number, 1, Some(8));
        let kept = format!("{:?}", seen.acknowledged);
        let expected = [
            Acknowledged::Put { value: 1, at: 5 },
            Acknowledged::Gone { key: "a".into(), at: 6 },
            Acknowledged::Put { value: 7, at: 8 },
        ];
        assert_eq!(kept, format!("{expected:?}"));
        assert_eq!(seen.recent.len(), 4);
    }

    #[test]
    fn who_is_told_what_stands_there_is_told_that_nothing_came_of_his_write() {
        let shared = shared();
        let swap = Effect::Swap { expected: Some(1), new: Some(2) };
        shared.begin("a", swap).end(Ended::Done(Effect::Read(Some(3)), None));
        shared.begin("a", Effect::Write(Some(4))).end(Ended::Done(Effect::Stands { not: None }, None));
        shared.begin("a", swap).end(Ended::Done(swap, Some(5)));
        shared.begin("a", Effect::Write(Some(6))).end(Ended::Refused);
        assert_eq!(shared.lock().refused, [2, 4, 6]);
    }
}
