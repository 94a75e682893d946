//! Puts volumes on the disk, and takes them away. Acts; blocking, so call it where that is allowed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{File, Plan, Source};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what} {}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("hostPath type check failed: {path} is not a {kind}")]
    HostPath { path: String, kind: String },
    #[error("the path {0} leads out of its volume")]
    Escape(String),
}

fn at<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io { what, path: path.to_owned(), source }
}

/// Makes every volume under `dir` as planned. What is there and right is left alone, so calling it again brings
/// files up to date and touches nothing else.
pub fn set_up(dir: &Path, plans: &[Plan]) -> Result<(), Error> {
    for plan in plans {
        let place = dir.join(&plan.name);
        match &plan.source {
            Source::Directory => directory(dir, &plan.name, plan.group)?,
            Source::Memory => {}
            Source::Host { path, kind } => host_path(path, kind)?,
            Source::Files(files) => publish(&place, files, plan.group)?,
        }
    }
    Ok(())
}

/// What is there was finished, and is the containers' own since: it gets its name when it has its mode.
fn directory(dir: &Path, name: &str, group: Option<u32>) -> Result<(), Error> {
    let place = dir.join(name);
    if place.is_dir() {
        return Ok(());
    }
    // No volume's name begins with a dot.
    let fresh = dir.join(format!(".{name}.new"));
    fs::create_dir_all(&fresh).map_err(at("cannot make", &fresh))?;
    own(&fresh, group);
    // Any user of any container may write there.
    chmod(&fresh, if group.is_some() { 0o2777 } else { 0o777 })?;
    fs::rename(&fresh, &place).map_err(at("cannot make", &place))
}

fn chmod(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at("cannot set the mode of", path))
}

/// Best effort: an agent that is not root cannot give files away, and the Pod may well run without.
fn own(path: &Path, group: Option<u32>) {
    if let Some(group) = group {
        let _ = std::os::unix::fs::chown(path, None, Some(group));
    }
}

fn host_path(path: &str, kind: &str) -> Result<(), Error> {
    let place = Path::new(path);
    let found = fs::metadata(place).ok().map(|meta| meta.file_type());
    let fits = match kind {
        "" => {
            if found.is_none() {
                fs::create_dir_all(place).map_err(at("cannot make", place))?;
            }
            true
        }
        "DirectoryOrCreate" => match found {
            Some(found) => found.is_dir(),
            None => {
                fs::create_dir_all(place).map_err(at("cannot make", place))?;
                true
            }
        },
        "FileOrCreate" => match found {
            Some(found) => found.is_file(),
            None => {
                fs::File::create(place).map_err(at("cannot make", place))?;
                true
            }
        },
        "Directory" => found.is_some_and(|found| found.is_dir()),
        "File" => found.is_some_and(|found| found.is_file()),
        "Socket" => found.is_some_and(|found| found.is_socket()),
        "CharDevice" => found.is_some_and(|found| found.is_char_device()),
        "BlockDevice" => found.is_some_and(|found| found.is_block_device()),
        _ => false,
    };
    if fits { Ok(()) } else { Err(Error::HostPath { path: path.to_owned(), kind: kind.to_owned() }) }
}

/// The link that every visible file goes through: moving it exchanges all files at one moment.
const CURRENT: &str = "..data";
const NEXT: &str = "..data_tmp";

/// Readers see either all old files or all new ones, never a mixture: the files go into a directory of their own,
/// and one rename of a symbolic link makes them current. What an earlier call did not come to is done by the next one.
fn publish(place: &Path, files: &[File], group: Option<u32>) -> Result<(), Error> {
    fs::create_dir_all(place).map_err(at("cannot make", place))?;
    let version = format!("..{}", version(files));
    let current = place.join(CURRENT);
    let before = fs::read_link(&current).ok();
    if before.as_deref() != Some(Path::new(&version)) {
        write(place, &version, files, group)?;
        let next = place.join(NEXT);
        let _ = fs::remove_file(&next);
        symlink(&version, &next).map_err(at("cannot link", &next))?;
        fs::rename(&next, &current).map_err(at("cannot link", &current))?;
    }
    show(place, &version, files)
}

fn write(place: &Path, version: &str, files: &[File], group: Option<u32>) -> Result<(), Error> {
    let fresh = place.join(version);
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh).map_err(at("cannot make", &fresh))?;
    for file in files {
        let path = fresh.join(&file.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(at("cannot make", parent))?;
        }
        fs::write(&path, &file.bytes).map_err(at("cannot write", &path))?;
        own(&path, group);
        chmod(&path, if group.is_some() { file.mode | 0o040 } else { file.mode })?;
    }
    Ok(())
}

/// Every file of this version has its link, and nothing else is left.
fn show(place: &Path, version: &str, files: &[File]) -> Result<(), Error> {
    let names: BTreeSet<&str> = files.iter().filter_map(|file| file.path.split('/').next()).collect();
    for name in &names {
        let link = place.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(CURRENT).join(name), &link).map_err(at("cannot link", &link))?;
        }
    }
    for entry in fs::read_dir(place).map_err(at("cannot read", place))?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("..") {
            if name != CURRENT && name != version {
                let _ = fs::remove_dir_all(entry.path());
            }
        } else if !names.contains(&*name) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn version(files: &[File]) -> String {
    let mut hasher = Sha256::new();
    for file in files {
        hasher.update((file.path.len() as u64).to_le_bytes());
        hasher.update(&file.path);
        hasher.update(file.mode.to_le_bytes());
        hasher.update((file.bytes.len() as u64).to_le_bytes());
        hasher.update(&file.bytes);
    }
    hasher.finalize().iter().take(10).map(|byte| format!("{byte:02x}")).collect()
}

/// A path that a container will mount: made when it is missing (a subPath of a volume), and never outside of
/// `root`, whatever links a container may have put there.
pub fn prepare_mount(root: &Path, path: &Path) -> Result<(), Error> {
    if fs::symlink_metadata(path).is_err() {
        let standing = path.ancestors().skip(1).find(|ancestor| ancestor.exists());
        inside(root, standing.unwrap_or(root))?;
        fs::create_dir_all(path).map_err(at("cannot make", path))?;
        chmod(path, 0o777)?;
    }
    inside(root, path)
}

fn inside(root: &Path, path: &Path) -> Result<(), Error> {
    let root = fs::canonicalize(root).map_err(at("cannot resolve", root))?;
    let real = fs::canonicalize(path).map_err(at("cannot resolve", path))?;
    if real.starts_with(&root) { Ok(()) } else { Err(Error::Escape(path.display().to_string())) }
}

/// The file for a container's last words: any user of the container may write it.
pub fn touch_message(path: &Path) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(at("cannot make", parent))?;
    }
    fs::write(path, b"").map_err(at("cannot write", path))?;
    chmod(path, 0o666)
}

/// Everything that the agent kept for a Pod. A mount point below is left alone rather than emptied.
pub fn remove_pod(dir: &Path) -> Result<(), Error> {
    let Ok(meta) = fs::symlink_metadata(dir) else { return Ok(()) };
    let device = meta.dev();
    if let Ok(entries) = fs::read_dir(dir.join("volumes")) {
        for entry in entries.flatten() {
            if entry.metadata().is_ok_and(|meta| meta.is_dir() && meta.dev() != device) {
                return Err(Error::Escape(entry.path().display().to_string()));
            }
        }
    }
    match fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(at("cannot remove", dir)(error)),
    }
}
