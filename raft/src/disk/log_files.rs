//! RocksDB's log files, the manifest among them, looked through before RocksDB reads them, for two kinds of damage that it does not
//! name. A record of a kind that only recycled logs have, which a single bit makes of a sound one, its reader does not get past: it
//! goes round for ever (facebook/rocksdb#13333). And behind a place where nothing is, as a page leaves it that never reached the
//! platter, it goes on with the next block: a later batch would be there without an earlier one. What else is damaged RocksDB finds,
//! and does not say in which log: that is looked for then. Acts; [`flaw_of`] and [`damage_of`] decide.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::aside;
use super::log_records::{self, BLOCK};

/// No log here is recycled.
const RECYCLED: [u8; 6] = [5, 6, 7, 8, 11, 131];

/// In words, with the file. What cannot be read at all is left to RocksDB.
pub fn flaw(dir: &Path) -> Option<String> {
    all(dir).iter().find_map(|path| told(path, flaw_of))
}

/// Where RocksDB has found damage and the logs have some, in words, with the files: else it is in another file, which RocksDB names.
pub fn damage(dir: &Path) -> Option<String> {
    let damaged: Vec<String> = all(dir).iter().filter_map(|path| told(path, damage_of)).collect();
    (!damaged.is_empty()).then(|| damaged.join("; "))
}

fn told(path: &Path, wrong: fn(File) -> io::Result<Option<String>>) -> Option<String> {
    let wrong = File::open(path).and_then(wrong).ok()??;
    Some(format!("{}: {wrong}", name(path)))
}

/// The oldest first.
pub fn all(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut logs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| is_log(path)).collect();
    // A number has six digits, or more where it needs them.
    logs.sort_by_key(|path| (name(path).len(), path.clone()));
    logs
}

pub fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn is_log(path: &Path) -> bool {
    let name = name(path);
    aside::is_rocksdbs(name) && (name.ends_with(".log") || name.starts_with("MANIFEST-"))
}

fn flaw_of(log: impl Read) -> io::Result<Option<String>> {
    let mut hole = None;
    log_records::find(log, |record| {
        let (at, kind) = (record.at, record.kind());
        if RECYCLED.contains(&kind) {
            return Some(format!("the record at byte {at} is of kind {kind}, which no log has here"));
        }
        if record.is_nothing() {
            hole.get_or_insert(at);
            return None;
        }
        let hole = hole?;
        Some(format!("there is nothing at byte {hole}, and a record at byte {at} behind it"))
    })
}

/// What RocksDB takes for damage. A record that ends with the log is none: a crash has torn it, unless the log ends with its block.
fn damage_of(log: impl Read) -> io::Result<Option<String>> {
    let mut goes_on = false;
    log_records::find(log, |record| {
        let at = record.at;
        let damage = match (record.is_nothing(), record.end() > record.block.len()) {
            (true, _) if goes_on => Some(format!("there is nothing at byte {at}, where a batch goes on")),
            (true, _) => None,
            (false, true) if record.block.len() == BLOCK => {
                Some(format!("the record at byte {at} goes beyond its block"))
            }
            (false, true) => None,
            (false, false) if record.is_whole() => None,
            (false, false) => Some(format!("the record at byte {at} does not match its checksum")),
        };
        goes_on = record.is_unfinished();
        damage
    })
}

#[cfg(test)]
mod tests {
    use super::log_records::HEADER;
    use super::*;

    fn record(kind: u8, length: usize) -> Vec<u8> {
        log_records::tests::record(kind, length, 9)
    }

    fn found(log: &[u8]) -> Option<String> {
        flaw_of(log).unwrap()
    }

    fn damage(log: &[u8]) -> Option<String> {
        damage_of(log).unwrap()
    }

    /// Where the records of a sound log begin.
    const STARTS: [usize; 6] = [0, 107, BLOCK, BLOCK + 57, 2 * BLOCK, 2 * BLOCK + HEADER];

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
            assert_eq!((found(&log[..end]), damage(&log[..end])), (None, None), "cut at byte {end}");
            let mut empty = log[..end].to_vec();
            empty.resize(3 * BLOCK + 5, 0);
            assert_eq!(found(&empty), None, "nothing from byte {end} on");
        }
    }

    #[test]
    fn a_record_of_a_kind_that_no_log_has_is_a_flaw_wherever_it_is() {
        for at in STARTS {
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

    #[test]
    fn a_bit_that_turned_over_is_told_with_its_record() {
        for (place, at) in STARTS.into_iter().enumerate() {
            let end = STARTS.get(place + 1).copied().unwrap_or(sound().len());
            for byte in [at, at + 3, at + HEADER - 1, usize::midpoint(at, end)] {
                let mut log = sound();
                log[byte] ^= 16;
                let told = format!("the record at byte {at} does not match its checksum");
                assert_eq!((found(&log), damage(&log)), (None, Some(told)), "byte {byte}");
            }
        }
    }

    #[test]
    fn a_record_that_seems_to_go_beyond_the_log_is_torn_and_one_beyond_its_block_is_damaged() {
        let longer = |at: usize| {
            let mut log = sound();
            log[at + 5] ^= 0x80;
            damage(&log)
        };
        for at in [0, BLOCK, BLOCK + 57] {
            assert_eq!(longer(at), Some(format!("the record at byte {at} goes beyond its block")));
        }
        for at in [2 * BLOCK, 2 * BLOCK + HEADER] {
            assert_eq!(longer(at), None, "the record at byte {at}");
        }
    }

    #[test]
    fn nothing_where_a_batch_goes_on_is_damage_and_where_one_begins_is_none() {
        let nothing_from = |at: usize| {
            let mut log = sound();
            log[at..].fill(0);
            damage(&log)
        };
        assert_eq!(nothing_from(BLOCK), Some(format!("there is nothing at byte {BLOCK}, where a batch goes on")));
        for at in [107, BLOCK + 57, 2 * BLOCK] {
            assert_eq!(nothing_from(at), None, "from byte {at} on");
        }
    }
}
