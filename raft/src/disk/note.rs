//! A few bytes in a file of their own, beside the tables, so that damage to these leaves them. Acts.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

const NAME: &str = "vote";

/// Durable on return; either the old note or the new one is there at any time.
pub fn save(dir: &Path, note: &[u8]) -> io::Result<()> {
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
        save(dir.path(), b"two").unwrap();
        assert_eq!(load(dir.path()).unwrap().as_deref(), Some(&b"two"[..]));
    }
}
