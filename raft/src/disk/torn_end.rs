//! What a loss of power leaves of RocksDB's log: its length is known, and some pages of what was not synced never reached the
//! platter, so that whole sectors of a record are empty. RocksDB takes that for damage. It is none: the log ended before that
//! record, and how far it was durable the mark says ([`crate::log::mark`]). What is cut off is kept beside the tables, for a person
//! to look at. Acts; [`tear_of`] decides.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{aside, log_files, log_records};

/// What a disk writes at once.
const SECTOR: usize = 512;
/// The end that was cut off last.
const KEPT: &str = "log.torn";

/// Where the newest log is to end.
pub struct Tear {
    path: PathBuf,
    at: u64,
}

/// What cannot be read at all is left to RocksDB. So are older logs: what the newest has would be there without what was cut from them.
pub fn tear(dir: &Path) -> Option<Tear> {
    let path = log_files::all(dir).into_iter().rfind(|path| path.extension().is_some_and(|kind| kind == "log"))?;
    let at = File::open(&path).and_then(tear_of).ok()??;
    Some(Tear { path, at })
}

impl Tear {
    /// Durable on return. Nobody else may use the database.
    pub fn cut(&self) -> io::Result<()> {
        let mut log = fs::OpenOptions::new().read(true).write(true).open(&self.path)?;
        let bytes = log.metadata()?.len();
        let (log_name, at) = (log_files::name(&self.path), self.at);
        tracing::warn!(
            log = log_name,
            bytes,
            at,
            kept = KEPT,
            "the end of the log never reached the disk, as after a loss of power: cut"
        );
        self.keep_end(&mut log)?;
        log.set_len(self.at)?;
        log.sync_all()
    }

    fn keep_end(&self, log: &mut File) -> io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new(""));
        let mut kept = File::create(dir.join(KEPT))?;
        log.seek(SeekFrom::Start(self.at))?;
        io::copy(log, &mut kept)?;
        kept.sync_all()?;
        aside::sync(dir)
    }
}

/// The start of the first record that is not whole, if a sector of it is empty.
fn tear_of(log: impl Read) -> io::Result<Option<u64>> {
    let tear = log_records::find(log, |record| {
        let lacks = || {
            // What comes behind it in its last sector reached the platter with it, or did not.
            let end = record.end().next_multiple_of(SECTOR).min(record.block.len());
            lacks_a_sector(&record.block[..end], record.start)
        };
        (!record.is_whole()).then(|| lacks().then_some(record.at as u64))
    })?;
    Ok(tear.flatten())
}

/// Does a sector have nothing of what lies in the block from `start` on? Blocks begin with a sector.
fn lacks_a_sector(block: &[u8], start: usize) -> bool {
    let sectors = block.chunks(SECTOR).enumerate().skip(start / SECTOR);
    let mut parts = sectors.map(|(number, sector)| &sector[start.saturating_sub(number * SECTOR)..]);
    parts.any(|part| part.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use super::log_records::tests::record;
    use super::log_records::{BLOCK, HEADER};
    use super::*;

    fn found(log: &[u8]) -> Option<u64> {
        tear_of(log).unwrap()
    }

    /// A record of each length, and where they begin.
    fn log(lengths: &[usize]) -> (Vec<u8>, Vec<usize>) {
        let records: Vec<_> = lengths.iter().map(|length| record(1, *length, 9)).collect();
        let starts = records.iter().scan(0, |at, record| Some(std::mem::replace(at, *at + record.len()))).collect();
        (records.concat(), starts)
    }

    #[test]
    fn a_record_with_an_empty_sector_is_torn_wherever_that_is() {
        let (sound, starts) = log(&[700, 3 * SECTOR, 100]);
        assert_eq!(found(&sound), None);
        let first_of_second = starts[1].next_multiple_of(SECTOR);
        for sector in [first_of_second, first_of_second + SECTOR] {
            let mut torn = sound.clone();
            torn[sector..sector + SECTOR].fill(0);
            assert_eq!(found(&torn), Some(starts[1] as u64), "{sector}");
            torn[first_of_second - 1] ^= 1;
            assert_eq!(found(&torn), Some(starts[1] as u64), "whatever else is wrong with it");
        }
        let mut torn = sound.clone();
        torn[starts[2]..].fill(0);
        assert_eq!(found(&torn), Some(starts[2] as u64), "there is nothing of the last one");
    }

    #[test]
    fn a_record_whose_last_sector_has_the_next_one_is_wrong_and_not_torn() {
        let (sound, starts) = log(&[700, 3 * SECTOR, 100]);
        let mut wrong = sound.clone();
        wrong[starts[2] / SECTOR * SECTOR..starts[2]].fill(0);
        assert_eq!(found(&wrong), None, "no disk writes half a sector");
        wrong[starts[2]..].fill(0);
        assert_eq!(found(&wrong), Some(starts[1] as u64));
    }

    #[test]
    fn what_was_cut_off_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (mut torn, starts) = log(&[700, 3 * SECTOR, 100]);
        torn[1024..1536].fill(0);
        let (older, newest) = (dir.path().join("999999.log"), dir.path().join("1000000.log"));
        fs::write(&older, &torn).unwrap();
        fs::write(&newest, &torn).unwrap();
        fs::write(dir.path().join(KEPT), "of an earlier one, which was longer".repeat(100)).unwrap();
        tear(dir.path()).unwrap().cut().unwrap();
        let (left, cut) = torn.split_at(starts[1]);
        assert_eq!(fs::read(&newest).unwrap(), left);
        assert_eq!(fs::read(dir.path().join(KEPT)).unwrap(), cut);
        assert_eq!(fs::read(&older).unwrap(), torn);
        assert!(tear(dir.path()).is_none());
    }

    #[test]
    fn a_record_that_is_wrong_in_every_sector_or_ends_with_the_file_is_not_torn() {
        let (sound, starts) = log(&[700, 3 * SECTOR, 100]);
        for byte in starts[1]..starts[2] {
            let mut wrong = sound.clone();
            wrong[byte] ^= 1;
            assert_eq!(found(&wrong), None, "{byte}");
        }
        for end in 0..sound.len() {
            assert_eq!(found(&sound[..end]), None, "cut at {end}");
        }
        let mut wrong = sound;
        wrong[starts[1].next_multiple_of(SECTOR)..][..SECTOR - 1].fill(0);
        assert_eq!(found(&wrong), None, "a byte of every sector is there");
    }

    #[test]
    fn nothing_where_values_are_is_no_tear() {
        assert_eq!(found(&record(1, 3 * SECTOR, 0)), None);
        // Nor is what is left of a block that no record fits into.
        let (mut sound, _) = log(&[BLOCK - HEADER - 3]);
        sound.extend([0; 3]);
        sound.extend(record(1, 10, 9));
        assert_eq!(found(&sound), None);
    }
}
