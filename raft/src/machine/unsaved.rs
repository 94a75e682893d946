//! What of the state the disk has in an older form, and when that is worth a write. Pure.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::command::Change;

/// Objects are written to the disk when so much of them has changed, or so many entries were applied, which a restart
/// has to apply again; and every few seconds anyway.
const BYTES_MAX: usize = 4 << 20;
const ENTRIES_MAX: u64 = 16_384;

#[derive(Default)]
pub struct Unsaved {
    keys: BTreeSet<Bytes>,
    /// About what their objects take.
    bytes: usize,
    entries: u64,
}

impl Unsaved {
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
}
