//! What a command does to the state. Pure and deterministic: no clock, no randomness, no hash order.

use std::collections::BTreeMap;

use bytes::Bytes;
use proto::mutants::{self, Mutant};

use crate::command::{Action, Change, Command, Op, Outcome, Precondition, Previous, Revision, Versioned};
use crate::state::State;

/// Applies all ops of a command or none. Returns its outcome and the changes it made, one per revision.
/// `term` is the term of the command's log entry.
pub fn apply(state: &mut State, term: u64, command: Command) -> (Outcome, Vec<Change>) {
    if command.fence.is_some_and(|fence| fence != term) && !mutants::on(Mutant::FenceIgnored) {
        return (Outcome::Fenced { term }, Vec::new());
    }
    if let Some(key) = first_conflict(state, &command) {
        let current = state.get(&key).cloned();
        let changes = match mutants::on(Mutant::HalfACommandStays) {
            true => {
                let ahead = command.ops.into_iter().take_while(|op| op.key != key);
                let change = |op: Op| change(state, op.key, op.action, &command.author, command.proposed_at_ms);
                ahead.filter_map(change).collect()
            }
            false => Vec::new(),
        };
        return (Outcome::Conflict { key, current }, changes);
    }
    let (mut revisions, mut changes) = (Vec::with_capacity(command.ops.len()), Vec::new());
    for op in command.ops {
        changes.extend(change(state, op.key, op.action, &command.author, command.proposed_at_ms));
        revisions.push(state.revision());
    }
    (Outcome::Applied { revisions }, changes)
}

/// The key of the first op whose precondition does not hold, each seen after the ops before it.
fn first_conflict(state: &State, command: &Command) -> Option<Bytes> {
    if command.ops.iter().all(|op| op.precondition == Precondition::Any) {
        return None;
    }
    // What the ops so far leave behind: the revision a key would then have, or none.
    let mut ahead: BTreeMap<&[u8], Option<Revision>> = BTreeMap::new();
    let mut revision = state.revision();
    for op in &command.ops {
        let key = &op.key[..];
        let stands = ahead.get(key).copied().unwrap_or_else(|| state.get(key).map(|found| found.revision));
        let holds = match op.precondition {
            Precondition::Any => true,
            Precondition::Absent => stands.is_none() || mutants::on(Mutant::AbsenceIgnored),
            Precondition::AtRevision(wanted) => {
                stands == Some(wanted) || (stands.is_some() && mutants::on(Mutant::RevisionIgnored))
            }
        };
        if !holds {
            return Some(op.key.clone());
        }
        match (&op.action, stands) {
            (Action::Put(_), _) => {
                revision += 1;
                ahead.insert(key, Some(revision));
            }
            (Action::Delete, Some(_)) => {
                revision += 1;
                ahead.insert(key, None);
            }
            (Action::Delete, None) | (Action::Check, _) => {}
        }
    }
    None
}

fn change(state: &mut State, key: Bytes, action: Action, author: &str, at_ms: u64) -> Option<Change> {
    let revision = state.revision() + 1;
    let (value, previous) = match action {
        Action::Check => return None,
        Action::Delete => (None, state.remove(&key[..])?.into()),
        Action::Put(value) => {
            let previous = state.put(&key, value.clone(), revision).map_or(Previous::Absent, Previous::Was);
            (Some(value), previous)
        }
    };
    state.set_revision(revision);
    Some(Change { revision, key, value, previous, author: author.to_owned(), proposed_at_ms: at_ms })
}

impl From<Versioned> for Previous {
    fn from(was: Versioned) -> Previous {
        Previous::Was(was)
    }
}

/// Takes a change back. `Err`: the value before it is not known any more.
pub fn undo(state: &mut State, change: &Change) -> Result<(), Forgotten> {
    match &change.previous {
        Previous::Absent => drop(state.remove(&change.key[..])),
        Previous::Was(was) => drop(state.insert(change.key.clone(), was.clone())),
        Previous::Forgotten => return Err(Forgotten),
    }
    state.set_revision(change.revision - 1);
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
pub struct Forgotten;

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
