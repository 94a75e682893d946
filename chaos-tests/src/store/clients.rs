//! Clients of a replica: registers with compare-and-set, pairs that change together, a set that grows. Acts.

use std::time::Duration;

use bytes::Bytes;
use proto::seam::{Clock, Random};
use raft::{Action, Command, Op, Outcome, Precondition, ProposeError, Revision, State, Store};

use super::seen::{Ended, Shared, number};
use crate::check::linear::{Effect, Value};
use crate::check::set::Reading;

/// Registers change their names this often, so that no history of one becomes long.
const WINDOW_US: u64 = 4_000_000;
const KEYS: u64 = 3;
/// In a crowd, one of so many turns is a burst of so many writes at once, which travel together.
const BURST_EVERY: u64 = 16;
const BURST: usize = 20;
const PAUSE_MS: (u64, u64) = (10, 120);
/// They change in one command, or not at all.
const PAIR: [&str; 2] = ["pair/one", "pair/two"];
/// Values are padded up to this, so that messages and snapshots have some size.
const PADDING_MAX: u64 = 400;

pub struct Client {
    pub store: Store,
    pub shared: Shared,
    pub random: Random,
    pub clock: std::sync::Arc<dyn Clock>,
    pub in_crowd: bool,
}

impl Client {
    pub async fn run(self) {
        let _writing = self.shared.writing();
        while !self.shared.is_quiet() {
            let pause = PAUSE_MS.0 + self.random.below(PAUSE_MS.1);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            if self.in_crowd && self.random.below(BURST_EVERY) == 0 {
                self.burst().await;
            }
            let key = register(&self.shared, &self.random);
            match self.random.below(100) {
                0..30 => self.read(&key).await,
                30..55 => self.write(&key, &[&key]).await,
                55..75 => self.swap(&key, &[&key]).await,
                75..80 => self.delete(&key).await,
                80..85 => self.write("pair", &PAIR).await,
                85..90 => self.swap("pair", &PAIR).await,
                90..94 => self.read_pair().await,
                94..98 => self.add().await,
                _ => self.read_set().await,
            }
        }
    }

    fn bytes(&self, value: u64) -> Bytes {
        let padding = self.random.below(PADDING_MAX) as usize;
        format!("{value} {}", ".".repeat(padding)).into()
    }

    fn command(&self, ops: Vec<Op>) -> Command {
        Command { fence: None, proposed_at_ms: self.clock.now_ms(), author: "client".into(), ops }
    }

    /// A linearizable view, or none in time.
    async fn view(&self) -> Option<State> {
        self.store.barrier().await.ok()?;
        Some(self.store.state())
    }

    async fn read(&self, key: &str) {
        let pending = self.shared.begin(key, Effect::Read(None));
        pending.end(match self.view().await {
            Some(state) => Ended::Done(Effect::Read(value(&state, key).0), Some(state.revision())),
            None => Ended::Unknown,
        });
    }

    /// One value into one key, or into several at once.
    async fn write(&self, name: &str, keys: &[&str]) {
        let new = self.shared.value();
        let bytes = self.bytes(new);
        let put = |key: &&str| op(key, Precondition::Any, Action::Put(bytes.clone()));
        self.propose(name, Effect::Write(Some(new)), keys.iter().map(put).collect()).await;
    }

    /// Each into a key of its own.
    async fn burst(&self) {
        let write = |_| async {
            let key = format!("crowd/{}", self.shared.value());
            self.write(&key, &[&key]).await;
        };
        futures::future::join_all((0..BURST).map(write)).await;
    }

    async fn delete(&self, key: &str) {
        self.propose(key, Effect::Write(None), vec![op(key, Precondition::Any, Action::Delete)]).await;
    }

    /// Reads, perhaps what is no longer so, and writes if it still is: one value into one key, or into several at once, of which only
    /// the last one bears the condition.
    async fn swap(&self, name: &str, keys: &[&str]) {
        let state = match self.random.below(2) {
            0 => self.store.state(),
            _ => match self.view().await {
                Some(state) => state,
                None => return,
            },
        };
        let Some((last, others)) = keys.split_last() else { return };
        let (expected, revision) = value(&state, last);
        let precondition = revision.map_or(Precondition::Absent, Precondition::AtRevision);
        let new = self.shared.value();
        let bytes = self.bytes(new);
        let mut ops: Vec<Op> =
            others.iter().map(|key| op(key, Precondition::Any, Action::Put(bytes.clone()))).collect();
        ops.push(op(last, precondition, Action::Put(bytes)));
        self.propose(name, Effect::Swap { expected, new: Some(new) }, ops).await;
    }

    async fn propose(&self, name: &str, intent: Effect, ops: Vec<Op>) {
        let pending = self.shared.begin(name, intent);
        let condition = ops.last().map(|op| op.precondition);
        let proposed = self.store.propose(self.command(ops)).await;
        pending.end(match proposed {
            Ok(Outcome::Applied { revisions }) => Ended::Done(intent, revisions.last().copied()),
            Ok(Outcome::Conflict { key, current }) => {
                let found = current.as_ref().map(|found| found.revision);
                if condition.is_none_or(|condition| holds(&condition, found)) {
                    self.shared
                        .violated(format!("a command was refused for {key:?} at {found:?}, as its condition had it"));
                }
                // A refusal is a reading of what stands there.
                Ended::Done(Effect::Read(current.as_ref().and_then(|found| number(&found.value))), None)
            }
            Ok(Outcome::Fenced { term }) => {
                self.shared.violated(format!("a command without a fence was fenced in term {term}"));
                Ended::Unknown
            }
            Err(ProposeError::Unknown(_)) => Ended::Unknown,
            Err(ProposeError::Refused(_) | ProposeError::NoSpace(_)) => Ended::Refused,
        });
    }

    /// Both keys of the pair change in one command, so no view shows one without the other.
    async fn read_pair(&self) {
        let pending = self.shared.begin("pair", Effect::Read(None));
        pending.end(match self.view().await {
            Some(state) => {
                let [one, two] = PAIR.map(|key| value(&state, key).0);
                if one != two {
                    self.shared.violated(format!("half a command: {one:?} and {two:?} in a pair"));
                }
                Ended::Done(Effect::Read(one), Some(state.revision()))
            }
            None => Ended::Unknown,
        });
    }

    async fn add(&self) {
        let (member, invoked) = (self.shared.value(), self.shared.now());
        let number = self.shared.lock().adding(member, invoked);
        let key = format!("set/{member}");
        let put = op(&key, Precondition::Absent, Action::Put(self.bytes(member)));
        let proposed = self.store.propose(self.command(vec![put])).await;
        let now = self.shared.now();
        let mut seen = self.shared.lock();
        seen.operations += 1;
        match proposed {
            Ok(Outcome::Applied { revisions }) => seen.added(number, now, revisions.last().copied()),
            Ok(other) => seen.violations.push(format!("adding {member} the first time gave {other:?}")),
            Err(ProposeError::Refused(_) | ProposeError::NoSpace(_)) => seen.adds[number].refused = true,
            Err(ProposeError::Unknown(_)) => seen.unknown += 1,
        }
    }

    async fn read_set(&self) {
        let invoked = self.shared.now();
        let Some(state) = self.view().await else { return };
        let members = state.range(b"set/", None).filter_map(|(_, found)| number(&found.value)).collect();
        let reading = Reading { invoked, returned: self.shared.now(), members };
        let mut seen = self.shared.lock();
        seen.operations += 1;
        seen.readings.push(reading);
    }
}

/// One of those that are written at present.
pub fn register(shared: &Shared, random: &Random) -> String {
    format!("reg/{}/{}", shared.now() / WINDOW_US, random.below(KEYS))
}

pub fn op(key: &str, precondition: Precondition, action: Action) -> Op {
    Op { key: Bytes::copy_from_slice(key.as_bytes()), precondition, action }
}

/// Does a condition hold for a key that was changed last at this revision, or is absent?
fn holds(condition: &Precondition, found: Option<Revision>) -> bool {
    match condition {
        Precondition::Any => true,
        Precondition::Absent => found.is_none(),
        Precondition::AtRevision(revision) => found == Some(*revision),
    }
}

fn value(state: &State, key: &str) -> (Value, Option<Revision>) {
    match state.get(key.as_bytes()) {
        Some(found) => (number(&found.value), Some(found.revision)),
        None => (None, None),
    }
}
