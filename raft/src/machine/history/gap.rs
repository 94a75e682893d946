//! What came before a snapshot that filled this replica: others have it, and [`crate::fetch`] asks them. It comes oldest first, and
//! nobody sees any of it before all is there, up to the snapshot. Acts.

use std::io;

use bytes::Bytes;

use super::super::row::{self, Place};
use super::super::rows::key;
use super::tell::Told;
use super::{History, Inner};
use crate::command::Revision;
use crate::disk::{Batch, Disk, Table};
use crate::log::rows::read_meta;
use crate::record;

const FILLED: Bytes = Bytes::from_static(b"filled");

/// Changes up to `upto` that are to be fetched, as far as others have them. None is wanted of those up to `after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub after: Revision,
    pub upto: Revision,
}

pub(super) fn found(disk: &dyn Disk) -> io::Result<Option<Revision>> {
    read_meta(disk, &FILLED)
}

pub(super) fn put(batch: &mut Batch, filled: Revision) {
    batch.put(Table::Meta, FILLED, record::encode(&filled));
}

impl History {
    pub fn gap(&self) -> Option<Gap> {
        let inner = self.inner();
        inner.filled.map(|upto| Gap { after: inner.forgotten, upto })
    }

    /// Puts down what others have told. `false`: it is not wanted any more.
    pub fn stage(&self, upto: Revision, changes: &[Told]) -> io::Result<bool> {
        let (position, entry) = match &*self.inner() {
            inner if inner.is_open(upto) => (inner.trimmed.position, inner.trimmed.entry()),
            _ => return Ok(false),
        };
        // A snapshot has an entry.
        let Some(entry) = entry else { return Ok(false) };
        let mut batch = Batch::default();
        for Told { change, behind, ends_command } in changes {
            let place = Place::new(&entry, position.saturating_sub(*behind), *ends_command);
            batch.put(Table::History, key(change.revision), row::encode_whole(change, place));
        }
        self.disk.write(&batch)?;
        Ok(true)
    }

    /// All changes after `after` were put down, the first of which lay so many bytes behind the snapshot: they are there for everybody.
    /// `false`: they are not wanted any more.
    pub fn close_gap(&self, upto: Revision, after: Revision, behind: u64) -> io::Result<bool> {
        let _alone = self.dropping();
        let trimmed = match &*self.inner() {
            inner if inner.is_open(upto) => inner.trimmed,
            _ => return Ok(false),
        };
        let mut batch = Batch::default();
        batch.delete(Table::Meta, FILLED);
        let position = trimmed.position.saturating_sub(behind);
        self.store(trimmed.reaching_back(after, position), batch, |inner| inner.filled = None)?;
        Ok(true)
    }

    /// What was put down of an attempt goes again: it takes room, and nobody may ever need it.
    pub fn unstage(&self, upto: Revision) -> io::Result<()> {
        let _alone = self.dropping();
        if self.inner().filled != Some(upto) {
            return Ok(());
        }
        self.disk.write(&without_staged(upto))
    }

    /// Nobody has more, or what others have is not wanted any more.
    pub fn leave_gap(&self, upto: Revision) -> io::Result<()> {
        let _alone = self.dropping();
        if self.inner().filled != Some(upto) {
            return Ok(());
        }
        let mut batch = without_staged(upto);
        batch.delete(Table::Meta, FILLED);
        self.disk.write(&batch)?;
        self.inner().filled = None;
        Ok(())
    }

    /// `false`: the window has left the snapshot behind, and with it all that came before.
    pub fn wants(&self, gap: &Gap) -> bool {
        self.inner().is_open(gap.upto)
    }
}

/// What came before the snapshot is nothing but what was put down, seen or not.
fn without_staged(upto: Revision) -> Batch {
    let mut batch = Batch::default();
    batch.delete_range(Table::History, key(0), key(upto + 1));
    batch
}

impl Inner {
    fn is_open(&self, upto: Revision) -> bool {
        self.filled == Some(upto) && self.trimmed.floor == upto
    }
}

#[cfg(test)]
#[path = "gap_tests.rs"]
mod tests;
