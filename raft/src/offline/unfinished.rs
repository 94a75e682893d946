//! A restore that was interrupted leaves part of a cluster's beginning behind, which must not pass for a new replica's directory. A
//! file in it says so from before the first write until after the last sync. Acts.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

const MARK: &str = "restore-unfinished";

pub fn is(dir: &Path) -> bool {
    dir.join(MARK).exists()
}

/// As long as this is held nobody else restores into the directory; `None`: somebody does so now. Where the file system has no such
/// locks, everybody is let in.
pub fn alone(dir: &Path) -> io::Result<Option<File>> {
    fs::create_dir_all(dir)?;
    let held = File::open(dir)?;
    match held.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(None),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Some(held)),
    }
}

/// What an earlier attempt left goes. The caller is alone.
pub fn begin(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    File::create(dir.join(MARK))?.sync_all()?;
    sync(dir)?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match (entry.file_name() == MARK, entry.file_type()?.is_dir()) {
            (true, _) => {}
            (false, true) => fs::remove_dir_all(entry.path())?,
            (false, false) => fs::remove_file(entry.path())?,
        }
    }
    sync(dir)
}

pub fn end(dir: &Path) -> io::Result<()> {
    fs::remove_file(dir.join(MARK))?;
    sync(dir)
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
