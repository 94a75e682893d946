//! RocksDB's log files, the manifest among them, looked through before RocksDB reads them, for two kinds of damage that it does not
//! name. A record of a kind that only recycled logs have, which a single bit makes of a sound one, its reader does not get past: it
//! goes round for ever (facebook/rocksdb#13333). And behind a place where nothing is, as a page leaves it that never reached the
//! platter, it goes on with the next block: a later batch would be there without an earlier one. Acts; [`flaw_of`] decides.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::aside;

/// No record spans two of them.
const BLOCK: usize = 32 << 10;
/// Of a record: a checksum of four bytes, a length of two, a kind.
const HEADER: usize = 7;
/// No log here is recycled.
const RECYCLED: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// In words, with the file. What cannot be read at all is left to RocksDB.
pub fn flaw(dir: &Path) -> Option<String> {
    let entries = fs::read_dir(dir).ok()?;
    let mut logs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| is_log(path)).collect();
    logs.sort();
    logs.iter().find_map(|path| {
        let flaw = File::open(path).and_then(flaw_of).ok()??;
        Some(format!("{}: {flaw}", name(path)))
    })
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn is_log(path: &Path) -> bool {
    let name = name(path);
    aside::is_rocksdbs(name) && (name.ends_with(".log") || name.starts_with("MANIFEST-"))
}

/// Goes from record to record as RocksDB does, but for the checksums: where one does not match, RocksDB says so.
fn flaw_of(mut log: impl Read) -> io::Result<Option<String>> {
    let (mut block, mut before, mut hole) = (Vec::with_capacity(BLOCK), 0, None);
    loop {
        block.clear();
        if log.by_ref().take(BLOCK as u64).read_to_end(&mut block)? == 0 {
            return Ok(None);
        }
        let mut at = 0;
        while let Some(header) = block.get(at..at + HEADER) {
            let (length, kind) = (usize::from(u16::from_le_bytes([header[4], header[5]])), header[6]);
            if RECYCLED.contains(&kind) {
                let at = before + at;
                return Ok(Some(format!("the record at byte {at} is of kind {kind}, which no log has here")));
            }
            if (length, kind) == (0, 0) {
                hole.get_or_insert(before + at);
                break;
            }
            if let Some(hole) = hole {
                let at = before + at;
                return Ok(Some(format!("there is nothing at byte {hole}, and a record at byte {at} behind it")));
            }
            at += HEADER + length;
        }
        before += block.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, length: usize) -> Vec<u8> {
        let [low, high, ..] = length.to_le_bytes();
        let mut record = vec![1, 2, 3, 4, low, high, kind];
        record.resize(HEADER + length, 9);
        record
    }

    fn found(log: &[u8]) -> Option<String> {
        flaw_of(log).unwrap()
    }

    /// Two blocks and the beginning of a third: one is full, in the second there is no room for another record.
    fn sound() -> Vec<u8> {
        let records = [
            record(1, 100),
            record(2, BLOCK - 107 - HEADER),
            record(4, 50),
            record(1, BLOCK - 57 - HEADER - 6),
            vec![0; 6],
            record(1, 0),
            record(1, 900),
        ];
        records.concat()
    }

    #[test]
    fn a_sound_log_has_no_flaw_nor_has_one_with_a_torn_end() {
        let log = sound();
        for end in [0, 1, HEADER, 60, BLOCK - 1, BLOCK, BLOCK + 3, 2 * BLOCK - 3, 2 * BLOCK, log.len() - 1, log.len()] {
            assert_eq!(found(&log[..end]), None, "cut at byte {end}");
            let mut empty = log[..end].to_vec();
            empty.resize(3 * BLOCK + 5, 0);
            assert_eq!(found(&empty), None, "nothing from byte {end} on");
        }
    }

    #[test]
    fn a_record_of_a_kind_that_no_log_has_is_a_flaw_wherever_it_is() {
        for at in [0, 107, BLOCK, BLOCK + 57, 2 * BLOCK, 2 * BLOCK + HEADER] {
            for kind in RECYCLED {
                let mut log = sound();
                log[at + HEADER - 1] = kind;
                let told = format!("the record at byte {at} is of kind {kind}, which no log has here");
                assert_eq!(found(&log), Some(told));
            }
        }
    }

    #[test]
    fn nothing_in_one_block_and_a_record_in_a_later_one_is_a_flaw() {
        let hole = |from: usize, to: usize| {
            let mut log = sound();
            log[from..to].fill(0);
            found(&log)
        };
        let told = |hole: usize, at: usize| {
            Some(format!("there is nothing at byte {hole}, and a record at byte {at} behind it"))
        };
        assert_eq!(hole(107, 300), told(107, BLOCK));
        assert_eq!(hole(BLOCK, 2 * BLOCK), told(BLOCK, 2 * BLOCK));
        assert_eq!(hole(0, 2 * BLOCK), told(0, 2 * BLOCK));
        assert_eq!(hole(2 * BLOCK, 2 * BLOCK + 10), None, "what comes in the same block is dropped with it");
        assert_eq!(hole(200, 300), None, "within a record, whose checksum tells");
    }
}
