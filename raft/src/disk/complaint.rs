//! What RocksDB means where it has no error kind for it: its messages carry the system's. Pure.

pub fn no_space(message: &str) -> bool {
    message.contains("No space left") || message.contains("Space limit reached")
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
    use super::could_not_read;

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
