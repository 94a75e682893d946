//! How many files the process may have open: as many as the system lets it. Acts.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Shells and service managers begin a process with 1,024, for the sake of programs that use `select`, and let it have more. A
/// connection is a file: without this, some hundred agents would be the most.
pub fn raise() {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the number of open files stays as it is");
    }
}
