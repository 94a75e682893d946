//! What RocksDB means where it has no error kind for it: its messages carry the system's. Pure.

pub fn no_space(message: &str) -> bool {
    message.contains("No space left") || message.contains("Space limit reached")
}

/// A write that found no room. A full disk that shows only in a sync is a failed sync like any other.
pub fn found_no_room(message: &str) -> bool {
    no_space(message) && !message.contains("fsync") && !message.contains("fdatasync")
}

/// RocksDB's refusal of a sync for a write that failed before, or because it cannot write at all: it did not try.
pub fn untried(message: &str) -> bool {
    found_no_room(message) || message.contains("Writer has previous error") || message.contains("read only mode")
}
