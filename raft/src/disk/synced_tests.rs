//! What is to be durable reaches the disk. A test that only kills a process cannot tell: what a process wrote is in the kernel, and
//! stays. So whatever asks the kernel for a sync, RocksDB too, is written down here; the calls are linked before libc's.

use std::ffi::c_int;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::*;
use crate::disk::Note;

/// Every file and directory that a sync was asked for, in order.
static SYNCED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

#[allow(unsafe_code, reason = "libc's own functions are replaced, and the kernel is asked as they ask it")]
mod calls {
    use super::*;

    fn noted(fd: RawFd, call: libc::c_long) -> c_int {
        if let Ok(path) = std::fs::read_link(format!("/proc/self/fd/{fd}")) {
            SYNCED.lock().expect("nobody panics with it").push(path);
        }
        // SAFETY: it takes no pointer.
        unsafe { libc::syscall(call, fd) as c_int }
    }

    #[unsafe(no_mangle)]
    extern "C" fn fsync(fd: c_int) -> c_int {
        noted(fd, libc::SYS_fsync)
    }

    #[unsafe(no_mangle)]
    extern "C" fn fdatasync(fd: c_int) -> c_int {
        noted(fd, libc::SYS_fdatasync)
    }
}

/// What was synced in this directory while something was done.
fn synced(dir: &Path, what: impl FnOnce()) -> Vec<String> {
    let dir = dir.canonicalize().unwrap();
    let before = SYNCED.lock().unwrap().len();
    what();
    let synced = SYNCED.lock().unwrap();
    let here = synced[before..].iter().filter_map(|path| path.strip_prefix(&dir).ok());
    here.map(|path| path.display().to_string()).collect()
}

fn write(rocks: &Rocks, key: &'static str) {
    let mut batch = Batch::default();
    batch.put(Table::Log, key, b"value".to_vec());
    rocks.write(&batch).unwrap();
}

fn sync(rocks: &Rocks) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(rocks.sync()).unwrap();
}

#[test]
fn a_sync_of_the_log_asks_the_kernel_for_it_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Rocks::open(dir.path()).unwrap();
    for key in ["a", "b"] {
        let wrote = synced(dir.path(), || write(&rocks, key));
        assert!(!wrote.iter().any(|name| name.ends_with(".log")), "a write alone costs no sync: {wrote:?}");
        let synced = synced(dir.path(), || sync(&rocks));
        assert!(synced.iter().any(|name| name.ends_with(".log")), "{synced:?}");
    }
}

#[test]
fn a_durable_note_is_synced_before_it_has_its_name_and_then_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let rocks = Rocks::open(dir.path()).unwrap();
    let save =
        |bytes: &'static [u8], durable| synced(dir.path(), || rocks.save_note(Note::Vote, bytes, durable).unwrap());
    let name = Note::Vote.name();
    assert_eq!(save(b"first", true), [format!("{name}.new"), String::new()], "a new file, and the directory");
    assert_eq!(save(b"again", true), [name], "as long as before: in place");
    assert_eq!(save(b"other", false), [""; 0]);
    assert_eq!(save(b"of another length", true), [format!("{name}.new"), String::new()]);
}

/// What the kernel had of an unsynced log when a process was killed counts as held by the replica that starts on it: it must be
/// durable by then. RocksDB writes what it finds in its log into tables when it opens, and syncs those.
#[test]
fn what_a_killed_process_left_unsynced_is_durable_once_it_is_opened_again() {
    let (dir, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rocks = Rocks::open(dir.path()).unwrap();
    write(&rocks, "a");
    // As the kernel has it at that moment.
    for file in std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
    {
        std::fs::copy(&file, killed.path().join(file.file_name().unwrap())).unwrap();
    }
    let mut reopened = None;
    let synced = synced(killed.path(), || reopened = Some(Rocks::open(killed.path()).unwrap()));
    let reopened = reopened.unwrap();
    assert_eq!(reopened.get(Table::Log, b"a").unwrap().as_deref(), Some(&b"value"[..]));
    let has = |what: &dyn Fn(&str) -> bool| synced.iter().any(|name| what(name));
    assert!(has(&|name| name.ends_with(".sst")), "the row is in a table: {synced:?}");
    assert!(has(&|name| name.starts_with("MANIFEST")), "which the manifest names: {synced:?}");
    assert!(has(&str::is_empty), "as the directory does: {synced:?}");
}
