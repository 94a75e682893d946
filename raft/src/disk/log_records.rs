//! The records of RocksDB's log files, the manifest among them, as RocksDB's reader goes through them. Pure.

use std::io::{self, Read};

/// No record spans two of them.
pub const BLOCK: usize = 32 << 10;
/// Of a record: a checksum of four bytes, a length of two, a kind.
pub const HEADER: usize = 7;
/// Of a record that another one goes on.
const UNFINISHED: [u8; 2] = [2, 3];

/// As its header has it.
pub struct Record<'a> {
    /// Where it begins in the log.
    pub at: usize,
    /// What the log has of the block that it lies in.
    pub block: &'a [u8],
    /// Where it begins in the block.
    pub start: usize,
}

impl Record<'_> {
    pub fn kind(&self) -> u8 {
        self.block[self.start + HEADER - 1]
    }

    fn length(&self) -> usize {
        let at = self.start + 4;
        usize::from(u16::from_le_bytes([self.block[at], self.block[at + 1]]))
    }

    /// There is no record, here or in the rest of the block.
    pub fn is_nothing(&self) -> bool {
        (self.length(), self.kind()) == (0, 0)
    }

    /// In the block, or beyond what there is of it.
    pub fn end(&self) -> usize {
        if self.is_nothing() { self.block.len() } else { self.start + HEADER + self.length() }
    }

    /// All of it is there, and matches its checksum.
    pub fn is_whole(&self) -> bool {
        let record = self.block.get(self.start..self.end()).filter(|_| !self.is_nothing());
        record.is_some_and(|record| record[..4] == sum(&record[HEADER - 1..]))
    }

    /// A batch goes on in the next one.
    pub fn is_unfinished(&self) -> bool {
        UNFINISHED.contains(&self.kind())
    }
}

/// Goes from record to record until `look` has found what it looks for; behind one that is not whole, on with the next block.
pub fn find<T>(mut log: impl Read, mut look: impl FnMut(&Record<'_>) -> Option<T>) -> io::Result<Option<T>> {
    let (mut block, mut before) = (Vec::with_capacity(BLOCK), 0);
    loop {
        block.clear();
        if log.by_ref().take(BLOCK as u64).read_to_end(&mut block)? == 0 {
            return Ok(None);
        }
        let mut start = 0;
        while start + HEADER <= block.len() {
            let record = Record { at: before + start, block: &block, start };
            let found = look(&record);
            if found.is_some() {
                return Ok(found);
            }
            start = if record.is_whole() { record.end() } else { block.len() };
        }
        before += block.len();
    }
}

/// Of a record's kind and rest: CRC-32C, turned and moved on.
fn sum(of: &[u8]) -> [u8; 4] {
    crc32c::crc32c(of).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// With so many bytes, all alike.
    pub fn record(kind: u8, length: usize, of: u8) -> Vec<u8> {
        let [low, high, ..] = length.to_le_bytes();
        let mut record = vec![0, 0, 0, 0, low, high, kind];
        record.resize(HEADER + length, of);
        let sum = sum(&record[HEADER - 1..]);
        record[..4].copy_from_slice(&sum);
        record
    }

    fn starts(log: &[u8]) -> Vec<usize> {
        let mut starts = Vec::new();
        let found = find(log, |record| {
            starts.push(record.at);
            None::<()>
        });
        assert_eq!(found.unwrap(), None);
        starts
    }

    #[test]
    fn behind_one_that_is_not_whole_it_goes_on_with_the_next_block() {
        let log = [record(1, 100, 9), record(2, BLOCK - 107 - HEADER, 9), record(4, 50, 9), record(1, 0, 9)].concat();
        assert_eq!(starts(&log), [0, 107, BLOCK, BLOCK + 57]);
        for (byte, left) in [(0, vec![0, BLOCK, BLOCK + 57]), (BLOCK + 30, vec![0, 107, BLOCK])] {
            let mut wrong = log.clone();
            wrong[byte] ^= 1;
            assert_eq!(starts(&wrong), left);
        }
        assert_eq!(starts(&log[..BLOCK + 60]), [0, 107, BLOCK], "too little for a header");
        let found = find(&log[..], |record| record.is_unfinished().then_some(record.at));
        assert_eq!(found.unwrap(), Some(107));
    }
}
