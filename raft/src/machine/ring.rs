//! The newest changes of the history, in memory: watchers that keep up are served from here. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use proto::mutants::{self, Mutant};

use super::history::Stretch;
use super::rows;
use crate::command::{Change, Revision};

/// Beyond this the oldest changes are only on the disk, once they are there.
pub const BYTES_MAX: usize = 4 << 20;

#[derive(Default)]
pub struct Ring {
    changes: VecDeque<Kept>,
    bytes: usize,
}

struct Kept {
    change: Arc<Change>,
    /// What had come in before it.
    position: u64,
    /// See [`super::row::Place::ends_command`].
    ends_command: bool,
}

impl Ring {
    /// All changes of a command, as if they began where the first does: none counts as nearer than it is.
    pub fn extend(&mut self, changes: Vec<Change>, position: u64) {
        let last = changes.last().map(|change| change.revision);
        for change in changes {
            if mutants::on(Mutant::DeleteLeavesNoEvent) && change.value.is_none() {
                continue;
            }
            self.bytes += weight(&change);
            let ends_command = Some(change.revision) == last;
            self.changes.push_back(Kept { change: Arc::new(change), position, ends_command });
        }
    }

    /// Down to its size, but for what is newer than this.
    pub fn shrink(&mut self, upto: Revision) {
        while self.bytes > BYTES_MAX && self.changes.front().is_some_and(|kept| kept.change.revision <= upto) {
            self.drop_oldest();
        }
    }

    /// Changes after `after` up to `upto` to keys that begin with `prefix`, whole commands only. `None`: it does not reach
    /// back so far.
    pub fn stretch(&self, after: Revision, upto: Revision, prefix: &[u8]) -> Option<Stretch> {
        let skip = (after + 1).checked_sub(self.changes.front()?.change.revision)?;
        let (mut changes, mut bytes) = (Vec::new(), 0);
        for kept in self.changes.iter().skip(skip as usize).take((upto - after) as usize) {
            if kept.change.key.starts_with(prefix) {
                bytes += weight(&kept.change);
                changes.push(kept.change.clone());
            }
            if kept.ends_command && bytes >= rows::READ_BYTES {
                return Some((changes, kept.change.revision));
            }
        }
        Some((changes, upto))
    }

    /// Of the change of this revision, if it is here.
    pub fn position(&self, revision: Revision) -> Option<u64> {
        let index = revision.checked_sub(self.changes.front()?.change.revision)?;
        self.changes.get(index as usize).filter(|kept| kept.change.revision == revision).map(|kept| kept.position)
    }

    pub fn drop_upto(&mut self, floor: Revision) {
        while self.changes.front().is_some_and(|kept| kept.change.revision <= floor) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        self.bytes -= self.changes.pop_front().map_or(0, |kept| weight(&kept.change));
    }

    pub fn clear(&mut self) {
        if !mutants::on(Mutant::RingKeptAcrossSnapshot) {
            self.changes.clear();
            self.bytes = 0;
        }
    }
}

/// Bytes a change keeps in memory, roughly.
pub fn weight(change: &Change) -> usize {
    let Change { key, value, previous, author, .. } = change;
    256 + key.len() + author.len() + value.as_ref().map_or(0, bytes::Bytes::len) + previous.len()
}
