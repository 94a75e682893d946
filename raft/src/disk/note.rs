//! The notes in files of their own, beside RocksDB's. Acts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::Note;
use super::complaint::of_the_system;

/// Of the disk: written whole or not at all.
const SECTOR: usize = 512;

/// Those of one directory. Their files stay open: they are written with every sync, also when no other file can be opened.
pub struct Notes {
    dir: PathBuf,
    open: [Mutex<Option<Held>>; Note::ALL.len()],
}

struct Held {
    file: File,
    length: u64,
}

impl Notes {
    pub fn new(dir: &Path) -> Notes {
        Notes { dir: dir.into(), open: Default::default() }
    }

    pub fn save(&self, note: Note, bytes: &[u8], durable: bool) -> io::Result<()> {
        let mut held = self.open[note as usize].lock().expect("no holder of a note panics");
        save(&self.dir, note, &mut held, bytes, durable).map_err(of_the_system)
    }
}

/// Either the old note or the new one is there at any time. One that is as long as the old one and fits into a sector takes
/// its place, which costs a fifth of a new file. Should a disk tear a sector, the note's checksum tells.
fn save(dir: &Path, note: Note, held: &mut Option<Held>, bytes: &[u8], durable: bool) -> io::Result<()> {
    let place = dir.join(note.name());
    if held.is_none() {
        *held = open(&place)?;
    }
    if let Some(Held { file, length }) = held
        && bytes.len() <= SECTOR
        && *length == bytes.len() as u64
    {
        file.write_all_at(bytes, 0)?;
        return if durable { file.sync_data() } else { Ok(()) };
    }
    let fresh = dir.join(fresh(note));
    let mut file = File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, place)?;
    *held = Some(Held { file, length: bytes.len() as u64 });
    File::open(dir)?.sync_all()
}

fn open(place: &Path) -> io::Result<Option<Held>> {
    match OpenOptions::new().write(true).open(place) {
        Ok(file) => Ok(Some(Held { length: file.metadata()?.len(), file })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
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
        let notes = Notes::new(dir.path());
        notes.save(Note::Vote, b"one", true).unwrap();
        notes.save(Note::Mark, b"far", false).unwrap();
        for newer in [&b"two"[..], b"a longer one", b"four"] {
            for durable in [true, false] {
                notes.save(Note::Vote, newer, durable).unwrap();
                assert_eq!(load(dir.path(), Note::Vote).unwrap().as_deref(), Some(newer));
                // As after a restart.
                Notes::new(dir.path()).save(Note::Vote, newer, durable).unwrap();
                assert_eq!(load(dir.path(), Note::Vote).unwrap().as_deref(), Some(newer));
            }
        }
        assert_eq!(load(dir.path(), Note::Mark).unwrap().as_deref(), Some(&b"far"[..]));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}

#[cfg(test)]
#[path = "torn_note_tests.rs"]
mod torn_tests;
