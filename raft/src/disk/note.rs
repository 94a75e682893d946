//! A few bytes in a file of their own, beside the tables, so that damage to these leaves them. Acts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const NAME: &str = "vote";
/// Of the disk: written whole or not at all.
const SECTOR: usize = 512;

/// Durable on return; either the old note or the new one is there at any time. One that is as long as the old one and
/// fits into a sector takes its place, which costs a fifth of a new file. Should a disk tear a sector, the note's checksum
/// tells, and what is in the tables counts.
pub fn save(dir: &Path, note: &[u8]) -> io::Result<()> {
    match OpenOptions::new().write(true).open(dir.join(NAME)) {
        Ok(file) if note.len() <= SECTOR && file.metadata()?.len() == note.len() as u64 => {
            file.write_all_at(note, 0)?;
            return file.sync_data();
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let fresh = dir.join("vote.new");
    let mut file = File::create(&fresh)?;
    file.write_all(note)?;
    file.sync_all()?;
    fs::rename(&fresh, dir.join(NAME))?;
    File::open(dir)?.sync_all()
}

pub fn load(dir: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(dir.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_note_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap(), None);
        save(dir.path(), b"one").unwrap();
        for newer in [&b"two"[..], b"a longer one", b"four"] {
            save(dir.path(), newer).unwrap();
            assert_eq!(load(dir.path()).unwrap().as_deref(), Some(newer));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
