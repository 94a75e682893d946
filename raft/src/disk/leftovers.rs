//! Where rows that are needed no more still take room on the disk: RocksDB lets deleted ones go only when it happens to compact
//! their files, and of forgotten ones it is not told. Pure.

use std::collections::BTreeMap;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{Batch, Table, Write};

/// Rows deleted one by one are worth a compaction when they are at least one for so many that stay: then what is written
/// anew is in proportion to what was deleted.
const STAY_PER_DELETED: u64 = 4;

/// By table, the last key of what was forgotten.
pub type Heads = BTreeMap<Table, Bytes>;

#[derive(Debug, Default)]
pub struct Leftovers {
    /// By table, one range that covers all that was deleted in it. There may be rows in it that stay.
    ranges: BTreeMap<Table, Range>,
    /// As it was written and is not known to be durable, and as it is durable.
    forgotten: Heads,
    durable: Heads,
    /// There may be files to drop for what is durable.
    is_dirty: bool,
}

#[derive(Debug)]
pub struct Range {
    pub from: Bytes,
    pub to: Bytes,
    /// Was a range deleted here? Otherwise only rows one by one, so many.
    whole: bool,
    single: u64,
}

impl Leftovers {
    pub fn note(&mut self, batch: &Batch) {
        for write in &batch.writes {
            match write {
                Write::DeleteRange(table, from, to) => self.add(*table, from, to, None),
                Write::Delete(table, key) => self.add(*table, key, &behind(key), Some(1)),
                // What lies there together with rows that stay goes with them, later.
                Write::Forget(table, upto) => {
                    self.add(*table, &Bytes::new(), upto, None);
                    self.forgotten.insert(*table, upto.clone());
                }
                Write::Put(..) => {}
            }
        }
    }

    /// What was forgotten so far and is not known to be durable; a sync that begins now makes it so.
    pub fn forgotten(&self) -> Heads {
        self.forgotten.clone()
    }

    pub fn synced(&mut self, heads: Heads) {
        for (table, upto) in heads {
            if self.forgotten.get(&table) == Some(&upto) {
                self.forgotten.remove(&table);
            }
            self.durable.insert(table, upto);
            self.is_dirty = true;
        }
    }

    /// Files have become others: there may be more to drop than before.
    pub fn compacted(&mut self) {
        self.is_dirty = true;
    }

    /// What can be dropped, once.
    pub fn droppable(&mut self) -> Heads {
        match std::mem::take(&mut self.is_dirty) {
            true => self.durable.clone(),
            false => Heads::new(),
        }
    }

    /// `single`: so many rows one by one, and not the whole range.
    fn add(&mut self, table: Table, from: &Bytes, to: &Bytes, single: Option<u64>) {
        let new = || Range { from: from.clone(), to: to.clone(), whole: false, single: 0 };
        let range = self.ranges.entry(table).or_insert_with(new);
        if *from < range.from {
            range.from = from.clone();
        }
        if *to > range.to {
            range.to = to.clone();
        }
        range.whole |= single.is_none();
        range.single += single.unwrap_or(0);
    }

    /// What is worth a compaction; it counts as cleared away from now on. `rows`: how many a table has, roughly.
    pub fn take(&mut self, rows: impl Fn(Table) -> u64) -> Vec<(Table, Range)> {
        let worth = |table: &Table, range: &mut Range| range.whole || range.single * STAY_PER_DELETED >= rows(*table);
        self.ranges.extract_if(.., worth).collect()
    }
}

/// The first key behind this one.
fn behind(key: &Bytes) -> Bytes {
    let mut behind = BytesMut::with_capacity(key.len() + 1);
    behind.put_slice(key);
    behind.put_u8(0);
    behind.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(taken: Vec<(Table, Range)>) -> Vec<(Table, Bytes, Bytes)> {
        taken.into_iter().map(|(table, range)| (table, range.from, range.to)).collect()
    }

    fn expected(table: Table, from: &'static [u8], to: &'static [u8]) -> (Table, Bytes, Bytes) {
        (table, Bytes::from_static(from), Bytes::from_static(to))
    }

    #[test]
    fn pieces_of_a_table_become_one_range() {
        let mut leftovers = Leftovers::default();
        let mut batch = Batch::default();
        batch.put(Table::Meta, Bytes::from_static(b"x"), vec![1]);
        for (from, to) in [(b"c", b"d"), (b"a", b"c"), (b"d", b"f")] {
            batch.delete_range(Table::Log, Bytes::from_static(from), Bytes::from_static(to));
        }
        batch.delete_range(Table::History, Bytes::from_static(b"k"), Bytes::from_static(b"l"));
        leftovers.note(&batch);
        let taken = leftovers.take(|_| 1_000);
        assert_eq!(ends(taken), [expected(Table::Log, b"a", b"f"), expected(Table::History, b"k", b"l")]);
        assert!(leftovers.take(|_| 1_000).is_empty());
    }

    #[test]
    fn what_was_forgotten_is_dropped_once_that_is_durable() {
        let mut leftovers = Leftovers::default();
        let forget = |upto: &'static [u8]| {
            let mut batch = Batch::default();
            batch.forget(Table::Log, Bytes::from_static(upto));
            batch
        };
        let head = |upto: &'static [u8]| Heads::from([(Table::Log, Bytes::from_static(upto))]);
        leftovers.note(&forget(b"c"));
        let begun = leftovers.forgotten();
        leftovers.note(&forget(b"e"));
        assert_eq!(leftovers.droppable(), Heads::new());
        leftovers.synced(begun);
        assert_eq!((leftovers.droppable(), leftovers.forgotten()), (head(b"c"), head(b"e")));
        leftovers.synced(head(b"e"));
        assert_eq!((leftovers.droppable(), leftovers.forgotten()), (head(b"e"), Heads::new()));
        assert_eq!(leftovers.droppable(), Heads::new());
        leftovers.compacted();
        assert_eq!(leftovers.droppable(), head(b"e"), "from files that could not go before");
        assert_eq!(ends(leftovers.take(|_| 1_000)), [expected(Table::Log, b"", b"e")]);
    }

    #[test]
    fn rows_deleted_one_by_one_are_cleared_away_when_they_are_many() {
        let mut leftovers = Leftovers::default();
        let delete = |key: &'static [u8]| {
            let mut batch = Batch::default();
            batch.delete(Table::Objects, Bytes::from_static(key));
            batch
        };
        leftovers.note(&delete(b"b"));
        assert!(leftovers.take(|_| 8).is_empty(), "one for eight");
        leftovers.note(&delete(b"a"));
        assert_eq!(ends(leftovers.take(|_| 8)), [expected(Table::Objects, b"a", b"b\0")]);
        assert!(leftovers.take(|_| 0).is_empty());
    }
}
