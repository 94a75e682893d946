//! A plan's writes as one fenced command. Pure, given the stamps.

use bytes::Bytes;
use control::Write;
use jiff::Timestamp;
use raft::{Action, Command, Op, Precondition};

/// What the proposer adds: identity, time and the term.
pub struct Stamp<'a> {
    pub term: u64,
    pub author: String,
    pub now_ms: u64,
    pub uid: &'a mut dyn FnMut() -> String,
}

pub fn command(writes: Vec<Write>, stamp: Stamp) -> Command {
    let now = time(stamp.now_ms);
    let ops = writes.into_iter().map(|write| op(write, now, stamp.uid)).collect();
    Command { fence: Some(stamp.term), proposed_at_ms: stamp.now_ms, author: stamp.author, ops }
}

/// Gives back a claim of an object that the same command deletes.
pub fn release(claim: &api::Key) -> Op {
    Op { key: Bytes::from(claim.encode()), precondition: Precondition::Any, action: Action::Delete }
}

pub fn time(now_ms: u64) -> Timestamp {
    i64::try_from(now_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}

fn op(write: Write, now: Timestamp, uid: &mut dyn FnMut() -> String) -> Op {
    let (key, precondition, action) = match write {
        Write::Create { key, object } => {
            let stamped = api::object::stamp(&object, &uid(), now);
            (key, Precondition::Absent, Action::Put(Bytes::from(stamped)))
        }
        Write::Update { key, object, at } => (key, Precondition::AtRevision(at), Action::Put(Bytes::from(object))),
        Write::Delete { key, at } => (key, Precondition::AtRevision(at), Action::Delete),
        Write::Check { key, at } => (key, Precondition::AtRevision(at), Action::Check),
    };
    Op { key: Bytes::from(key.encode()), precondition, action }
}
