//! Which ids were ever used: a high-water mark and one mark per removed replica, as keys of the replicated state, so
//! that snapshots and backups carry them. Pure.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::command::{Action, Op, Precondition, Versioned};
use crate::state::State;

/// No Kubernetes API group is named so: a group of one's own needs a dot.
const PREFIX: &str = "kontiki/replicas/";
const LAST: &str = "kontiki/replicas/last-id";
const REMOVED: &str = "kontiki/replicas/removed/";

/// The highest id that was ever given, as far as it was written down.
pub fn last(state: &State) -> u64 {
    state.get(LAST.as_bytes()).map_or(0, |found| number(&found.value))
}

pub fn removed(state: &State) -> BTreeSet<u64> {
    state.range(REMOVED.as_bytes(), None).map(|(key, _)| number(&key[REMOVED.len()..])).collect()
}

pub fn is_removed(state: &State, id: u64) -> bool {
    state.get(mark(id).as_bytes()).is_some()
}

/// Raises the high-water mark; refused where another change came between.
pub fn raise(state: &State, to: u64) -> Op {
    let key = Bytes::from_static(LAST.as_bytes());
    let precondition = match state.get(&key) {
        Some(found) => Precondition::AtRevision(found.revision),
        None => Precondition::Absent,
    };
    Op { key, precondition, action: Action::Put(to.to_string().into()) }
}

pub fn bar(id: u64) -> Op {
    Op { key: mark(id).into(), precondition: Precondition::Any, action: Action::Put(Bytes::from_static(b"removed")) }
}

/// In a data directory that becomes a cluster of one: these are out for ever.
pub fn close(state: &mut State, highest: u64, others: impl Iterator<Item = u64>) {
    let highest = highest.max(last(state));
    put(state, LAST.to_owned(), highest.to_string());
    others.for_each(|id| put(state, mark(id), "removed".into()));
}

/// In the beginning of another cluster: its ids are its own.
pub fn forget(state: &mut State) {
    let keys: Vec<Bytes> = state.range(PREFIX.as_bytes(), None).map(|(key, _)| key.clone()).collect();
    keys.iter().for_each(|key| drop(state.remove(&key[..])));
}

fn put(state: &mut State, key: String, value: String) {
    let revision = state.revision() + 1;
    state.set_revision(revision);
    state.insert(key.into(), Versioned { revision, created: revision, value: value.into() });
}

/// Given once, no member now, and not marked: a leader died before it could mark them.
pub fn unmarked<'a>(state: &State, members: &'a BTreeSet<u64>) -> impl Iterator<Item = u64> + use<'a> {
    let removed = removed(state);
    (1..=last(state)).filter(move |id| !members.contains(id) && !removed.contains(id))
}

fn mark(id: u64) -> String {
    format!("{REMOVED}{id}")
}

fn number(text: &[u8]) -> u64 {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}
