//! Where damaged tables go: into a directory beside the new ones, where a person can find them. A start after a crash goes
//! on with that before it opens anything. Acts; [`is_rocksdbs`] decides.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{Note, note};
use crate::log::mark;

/// What was there before is dropped.
const ASIDE: &str = "damaged";
/// While it is there, what lies in it and RocksDB's files beside it belong together, and are no database.
const MOVING: &str = "damaged.new";

/// Only while the database is not open. Tables that nobody relied on yet do not take the place of what went aside before:
/// they are dropped instead.
pub fn set_aside(path: &Path) -> io::Result<()> {
    if path.join(ASIDE).exists() && !path.join(MOVING).exists() && is_blank(path) {
        return drop_all(path);
    }
    match fs::create_dir(path.join(MOVING)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => sync(path)?,
    }
    go_on(path)
}

/// What a crash interrupted. Only while the database is not open.
pub fn resume(path: &Path) -> io::Result<()> {
    match path.join(MOVING).exists() {
        true => go_on(path),
        false => Ok(()),
    }
}

fn go_on(path: &Path) -> io::Result<()> {
    let (aside, moving) = (path.join(ASIDE), path.join(MOVING));
    for file in files(path)? {
        fs::rename(&file, moving.join(file.file_name().unwrap_or_default()))?;
    }
    sync(&moving)?;
    sync(path)?;
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => fs::rename(&moving, &aside)?,
    }
    sync(path)
}

/// Whatever a crash leaves of it is damaged as well, and is dropped with the next start.
fn drop_all(path: &Path) -> io::Result<()> {
    for file in files(path)? {
        fs::remove_file(file)?;
    }
    sync(path)
}

/// The tables are those of a replica that waits to be filled. One of an older version has no mark, which says nothing.
fn is_blank(path: &Path) -> bool {
    note::load(path, Note::Mark).is_ok_and(|note| note.is_some_and(|note| mark::is_blank(&note)))
}

/// RocksDB's in this directory, without the lock.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.file_name().to_str().is_some_and(is_rocksdbs) {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Is this the name of a file of RocksDB's that holds data, or tells of it? Everything else in the directory stays.
pub fn is_rocksdbs(name: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let described = ["MANIFEST-", "OPTIONS-"].iter().find_map(|kind| name.strip_prefix(kind));
    match (name, described, name.split_once('.')) {
        ("CURRENT" | "IDENTITY" | "LOG" | "LOG.old", ..) => true,
        (_, Some(rest), _) => number(rest.strip_suffix(".dbtmp").unwrap_or(rest)),
        (_, None, Some(("LOG", rest))) => rest.strip_prefix("old.").is_some_and(number),
        (_, None, Some((stem, kind))) => number(stem) && ["log", "sst", "blob", "dbtmp"].contains(&kind),
        (_, None, None) => false,
    }
}

/// Makes what became of the names in a directory durable.
pub fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
#[path = "aside_tests.rs"]
mod tests;
