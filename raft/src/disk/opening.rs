//! Opens the database in a directory, and says what is wrong where it cannot. Acts.

use std::io;
use std::path::{Path, PathBuf};

use rocksdb::{ColumnFamilyDescriptor, DB, Options};

use super::complaint::no_space;
use super::{Table, aside, directory, log_files, options, torn_end};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot make the data directory {path}")]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the damaged database in {path} cannot be set aside")]
    Aside {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the data directory {path} is in use by another process")]
    InUse { path: PathBuf },
    #[error("the database in {path} cannot be opened: {message}")]
    Open { path: PathBuf, message: String },
    #[error("the database in {path} is damaged: {message}")]
    Damaged { path: PathBuf, message: String },
}

/// As a process begins: the directory is made, and the reserve given back where there is no room without it.
pub fn first(path: &Path) -> Result<DB, Error> {
    make(path).map_err(|source| Error::Directory { path: path.into(), source })?;
    aside::resume(path).map_err(|source| Error::Aside { path: path.into(), source })?;
    let error = match open(path) {
        Err(Error::Open { message, path }) if no_space(&message) => Error::Open { message, path },
        opened => return opened,
    };
    if !directory::reserved(path).is_ok_and(|bytes| bytes > 0) {
        return Err(error);
    }
    tracing::warn!("there is no room to open the database: the reserve is given back");
    directory::reserve(path, 0).map_err(|source| Error::Directory { path: path.into(), source })?;
    open(path)
}

/// Makes the directory, so that it is there after a crash, too.
pub fn make(path: &Path) -> io::Result<()> {
    let above = |path: &Path| match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let missing: Vec<&Path> = path.ancestors().take_while(|dir| *dir != Path::new("") && !dir.exists()).collect();
    std::fs::create_dir_all(path)?;
    missing.into_iter().try_for_each(|dir| aside::sync(&above(dir)))
}

pub fn open(path: &Path) -> Result<DB, Error> {
    if lost_its_head(path) {
        return Err(Error::Damaged { path: path.into(), message: "CURRENT is missing, and tables are there".into() });
    }
    if let Some(tear) = torn_end::tear(path) {
        unused(path)?;
        tear.cut()
            .map_err(|error| Error::Open { path: path.into(), message: format!("its log cannot be cut: {error}") })?;
    }
    unflawed(path)?;
    DB::open_cf_descriptors(&database(path), path, families()).map_err(|error| failure(path, &error))
}

/// Fails where RocksDB would never come to an end, or passes over what is missing.
fn unflawed(path: &Path) -> Result<(), Error> {
    let Some(message) = log_files::flaw(path) else { return Ok(()) };
    unused(path)?;
    Err(Error::Damaged { path: path.into(), message })
}

/// Fails where the directory is another process's: RocksDB looks at that before it says that there is a database, and at nothing else.
fn unused(path: &Path) -> Result<(), Error> {
    let mut options = database(path);
    options.create_if_missing(false);
    options.set_error_if_exists(true);
    match DB::open_cf_descriptors(&options, path, families()).map_err(|error| failure(path, &error)) {
        Err(taken @ Error::InUse { .. }) => Err(taken),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// RocksDB would take it for a new database, and delete the tables.
fn lost_its_head(path: &Path) -> bool {
    let Ok(mut entries) = std::fs::read_dir(path) else { return false };
    let is_table =
        |entry: io::Result<std::fs::DirEntry>| entry.is_ok_and(|entry| directory::has_kind(&entry.path(), "sst"));
    !path.join("CURRENT").exists() && entries.any(is_table)
}

pub fn open_to_read(path: &Path) -> Result<DB, Error> {
    unflawed(path)?;
    let opened = DB::open_cf_descriptors_read_only(&database(path), path, families(), false);
    opened.map_err(|error| failure(path, &error))
}

fn database(path: &Path) -> Options {
    options::database(directory::free(path).map_or(u64::MAX, |free| free.total_bytes))
}

fn families() -> [ColumnFamilyDescriptor; Table::ALL.len()] {
    Table::ALL.map(|table| ColumnFamilyDescriptor::new(table.name(), options::table(table)))
}

fn failure(path: &Path, error: &rocksdb::Error) -> Error {
    let message = error.to_string();
    let corrupt = error.kind() == rocksdb::ErrorKind::Corruption;
    // A file that another one names. What is not there at all is made.
    let lost = message.contains("No such file") && path.join("CURRENT").exists();
    // RocksDB has no error kind of its own for a held LOCK file: it reports the system's message.
    match message.contains("/LOCK") && message.contains("lock") {
        true => Error::InUse { path: path.into() },
        false if corrupt || lost => {
            // Of its logs RocksDB says what is wrong, and not with which.
            let message = match log_files::damage(path) {
                Some(damage) => format!("{damage} ({message})"),
                None => message,
            };
            Error::Damaged { path: path.into(), message }
        }
        false => Error::Open { path: path.into(), message },
    }
}
