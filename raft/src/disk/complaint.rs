//! What an error means where its kind does not tell: RocksDB's messages carry the system's. Pure.

use std::io;

/// Of the system: the disk is full, or full for this user; the process, or the machine, has as many files open as it may. The
/// same goes for each of them: somebody else may give something back, and until then it is waited for.
const LACKS: [&str; 4] = ["No space left", "quota exceeded", "Too many open files", "Space limit reached"];

pub fn no_space(message: &str) -> bool {
    LACKS.iter().any(|lack| message.contains(lack))
}

/// The kind by which want of room is known here, for an error that the system gave.
pub fn of_the_system(error: io::Error) -> io::Error {
    match no_space(&error.to_string()) {
        true => io::Error::new(io::ErrorKind::StorageFull, error),
        false => error,
    }
}

/// A write that found no room. A full disk that shows only in a sync is a failed sync like any other.
pub fn found_no_room(message: &str) -> bool {
    no_space(message) && !message.contains("fsync") && !message.contains("fdatasync")
}

/// A write that RocksDB refuses because a merge of its files came upon a place that cannot be read. It takes no more until the
/// database is opened anew.
pub fn could_not_read(message: &str) -> bool {
    message.contains("While pread")
}

/// RocksDB's refusal of a sync for a write that failed before, or because it cannot write at all: it did not try.
pub fn untried(message: &str) -> bool {
    found_no_room(message) || message.contains("Writer has previous error") || message.contains("read only mode")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_want_of_room() {
        for number in
            [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT, rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
        {
            let error = io::Error::from(number);
            let rocksdbs = format!("IO error: {}: While open a file for appending: /data/000012.log", message(&error));
            assert!(found_no_room(&rocksdbs), "{rocksdbs}");
            assert_eq!(of_the_system(error).kind(), io::ErrorKind::StorageFull);
        }
        let error = io::Error::from(rustix::io::Errno::IO);
        assert!(!no_space(&error.to_string()));
        assert_ne!(of_the_system(error).kind(), io::ErrorKind::StorageFull);
    }

    /// Without the number that std puts behind it.
    fn message(error: &io::Error) -> String {
        error.to_string().split(" (os error").next().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_place_that_a_merge_could_not_read_is_told_from_a_write_that_failed() {
        let unread = "IO error: While pread offset 8192 len 4096: /data/000012.sst: Input/output error";
        assert!(could_not_read(unread));
        for other in
            ["IO error: While fsync: /data/000013.log: Input/output error", "IO error: While appending to file"]
        {
            assert!(!could_not_read(other), "{other}");
        }
    }
}
