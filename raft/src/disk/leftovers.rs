//! The ranges that were deleted and still take room on the disk: RocksDB forgets deleted rows only when it happens to
//! compact their files. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Batch, Table, Write};

/// By table, one range that covers all that was deleted in it: the log and the history lose their beginnings, piece by
/// piece, so it covers little else.
#[derive(Debug, Default)]
pub struct Leftovers {
    ranges: BTreeMap<Table, (Bytes, Bytes)>,
}

impl Leftovers {
    pub fn note(&mut self, batch: &Batch) {
        for write in &batch.writes {
            let Write::DeleteRange(table, from, to) = write else { continue };
            let range = self.ranges.entry(*table).or_insert_with(|| (from.clone(), to.clone()));
            if *from < range.0 {
                range.0 = from.clone();
            }
            if *to > range.1 {
                range.1 = to.clone();
            }
        }
    }

    /// They count as cleared away from now on.
    pub fn take(&mut self) -> Vec<(Table, Bytes, Bytes)> {
        std::mem::take(&mut self.ranges).into_iter().map(|(table, (from, to))| (table, from, to)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_table_become_one_range() {
        let mut leftovers = Leftovers::default();
        let mut batch = Batch::default();
        batch.put(Table::Meta, Bytes::from_static(b"x"), vec![1]);
        batch.delete(Table::Objects, Bytes::from_static(b"y"));
        for (from, to) in [(b"c", b"d"), (b"a", b"c"), (b"d", b"f")] {
            batch.delete_range(Table::Log, Bytes::from_static(from), Bytes::from_static(to));
        }
        batch.delete_range(Table::History, Bytes::from_static(b"k"), Bytes::from_static(b"l"));
        leftovers.note(&batch);
        let range = |table, from, to| (table, Bytes::from_static(from), Bytes::from_static(to));
        assert_eq!(leftovers.take(), [range(Table::Log, b"a", b"f"), range(Table::History, b"k", b"l")]);
        assert!(leftovers.take().is_empty());
    }
}
