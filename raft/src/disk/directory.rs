//! The directory that the database lies in: its files, the room around them, and the reserve. Acts.

use std::io;
use std::path::Path;

use super::Free;

/// Room that is set aside; RocksDB takes no notice of the file.
const RESERVE: &str = "reserve";

pub fn free(path: &Path) -> io::Result<Free> {
    let found = rustix::fs::statvfs(path)?;
    Ok(Free { bytes: found.f_bavail * found.f_frsize, total_bytes: found.f_blocks * found.f_frsize })
}

/// As much as that, and nothing of it with 0.
pub fn reserve(path: &Path, bytes: u64) -> io::Result<()> {
    let path = path.join(RESERVE);
    if bytes == 0 {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
    }
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
    match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // A file system that cannot set room aside: then there is no reserve.
        Err(rustix::io::Errno::OPNOTSUPP) => std::fs::remove_file(&path),
        Err(error) => {
            let _ = std::fs::remove_file(&path);
            Err(error.into())
        }
    }
}

pub fn reserved(path: &Path) -> io::Result<u64> {
    match std::fs::metadata(path.join(RESERVE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        found => found.map(|found| found.len()),
    }
}

/// Of all files, but for the reserve.
pub fn bytes(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let entries = entries.flatten().filter(|entry| entry.file_name() != RESERVE);
    entries.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
}

/// What RocksDB's log takes, all of which a reopening may have to write once more.
pub fn log_bytes(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let logs = entries.flatten().filter(|entry| has_kind(&entry.path(), "log"));
    logs.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
}

pub fn has_kind(path: &Path, kind: &str) -> bool {
    path.extension().is_some_and(|found| found == kind)
}
