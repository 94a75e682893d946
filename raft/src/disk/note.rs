//! The notes in files of their own, beside RocksDB's. Acts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::Note;

/// Of the disk: written whole or not at all.
const SECTOR: usize = 512;

/// Either the old note or the new one is there at any time. One that is as long as the old one and fits into a sector takes
/// its place, which costs a fifth of a new file. Should a disk tear a sector, the note's checksum tells.
pub fn save(dir: &Path, note: Note, bytes: &[u8], durable: bool) -> io::Result<()> {
    let place = dir.join(note.name());
    match OpenOptions::new().write(true).open(&place) {
        Ok(file) if bytes.len() <= SECTOR && file.metadata()?.len() == bytes.len() as u64 => {
            file.write_all_at(bytes, 0)?;
            return if durable { file.sync_data() } else { Ok(()) };
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let fresh = dir.join(fresh(note));
    let mut file = File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, place)?;
    File::open(dir)?.sync_all()
}

/// What a note is called until it takes the old one's place.
pub fn fresh(note: Note) -> String {
    format!("{}.new", note.name())
}

pub fn load(dir: &Path, note: Note) -> io::Result<Option<Vec<u8>>> {
    match fs::read(dir.join(note.name())) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_each_note_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path(), Note::Vote).unwrap(), None);
        save(dir.path(), Note::Vote, b"one", true).unwrap();
        save(dir.path(), Note::Mark, b"far", false).unwrap();
        for newer in [&b"two"[..], b"a longer one", b"four"] {
            for durable in [true, false] {
                save(dir.path(), Note::Vote, newer, durable).unwrap();
                assert_eq!(load(dir.path(), Note::Vote).unwrap().as_deref(), Some(newer));
            }
        }
        assert_eq!(load(dir.path(), Note::Mark).unwrap().as_deref(), Some(&b"far"[..]));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
