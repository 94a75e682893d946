//! What of the state the disk has in an older form, and when that is worth a write. Pure.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::command::Change;
use crate::disk::Batch;

/// Objects are written to the disk when so much of them has changed, or so many entries were applied, which a restart
/// has to apply again; and every few seconds anyway.
const BYTES_MAX: usize = 4 << 20;
const ENTRIES_MAX: u64 = 16_384;
/// Rows of the history are written with the objects, and else when the entries that they are of take so much, which is about
/// what memory keeps of them.
const ROWS_OF_BYTES: usize = 128 << 10;

#[derive(Default)]
pub struct Unsaved {
    keys: BTreeSet<Bytes>,
    /// About what their objects take.
    bytes: usize,
    entries: u64,
    rows: Batch,
    rows_of_bytes: usize,
}

impl Unsaved {
    /// An entry of so many bytes was applied. Its rows of the history are to come here.
    pub fn entry(&mut self, bytes: usize) -> &mut Batch {
        self.rows_of_bytes += bytes;
        &mut self.rows
    }

    pub fn rows(&self) -> &Batch {
        &self.rows
    }

    pub fn rows_are_due(&self) -> bool {
        self.rows_of_bytes >= ROWS_OF_BYTES
    }

    pub fn rows_written(&mut self) {
        (self.rows, self.rows_of_bytes) = Default::default();
    }

    pub fn change(&mut self, change: &Change) {
        if self.keys.insert(change.key.clone()) {
            self.bytes += change.key.len() + change.value.as_ref().map_or(0, Bytes::len);
        }
    }

    pub fn applied(&mut self, entries: u64) {
        self.entries += entries;
    }

    pub fn keys(&self) -> &BTreeSet<Bytes> {
        &self.keys
    }

    pub fn is_due(&self) -> bool {
        self.bytes >= BYTES_MAX || self.entries >= ENTRIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Previous;
    use crate::disk::Table;

    fn change(key: &'static str, bytes: usize) -> Change {
        let value = Some(Bytes::from(vec![0; bytes]));
        let (revision, previous, author) = (1, Previous::Absent, "test".into());
        Change { revision, key: key.into(), value, previous, author, proposed_at_ms: 1 }
    }

    #[test]
    fn it_is_due_by_what_changed_or_by_what_was_applied() {
        let mut unsaved = Unsaved::default();
        (0..3).for_each(|_| unsaved.change(&change("a", BYTES_MAX / 2)));
        assert!(!unsaved.is_due(), "a key counts once");
        unsaved.change(&change("b", BYTES_MAX / 2));
        assert!(unsaved.is_due());
        let mut unsaved = Unsaved::default();
        unsaved.applied(ENTRIES_MAX - 1);
        assert!(!unsaved.is_due());
        unsaved.applied(1);
        assert!(unsaved.is_due(), "what changed nothing is applied again as well");
    }

    #[test]
    fn rows_are_due_by_the_entries_that_they_are_of() {
        let mut unsaved = Unsaved::default();
        let row = |unsaved: &mut Unsaved, bytes| unsaved.entry(bytes).put(Table::History, "a", vec![1]);
        row(&mut unsaved, ROWS_OF_BYTES - 1);
        assert!(!unsaved.rows_are_due());
        row(&mut unsaved, 1);
        assert!(unsaved.rows_are_due() && unsaved.rows().writes.len() == 2);
        unsaved.rows_written();
        assert!(!unsaved.rows_are_due() && unsaved.rows().is_empty());
    }
}
