//! How often those who use a disk have met what is wrong with it. Decides nothing.

/// Each only grows, also when the disk is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// Calls that found no room, that could not be written or read, and syncs that failed or took longer.
    pub full: u64,
    pub fail_sync: u64,
    pub fail_write: u64,
    pub fail_reads: u64,
    pub slower: u64,
    /// Looks at the free room that found little.
    pub little_room: u64,
    /// Crashes that took what was durable.
    pub lost_ends: u64,
    /// Notes that are neither the old nor the new one since they were saved.
    pub torn_notes: u64,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use proto::seam::Random;
    use raft::{Batch, Table};

    use super::super::{Faults, Platters};
    use super::*;
    use crate::sim::os;

    fn batch() -> Batch {
        let mut batch = Batch::default();
        batch.put(Table::Log, Bytes::from_static(b"a"), "a".into());
        batch
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_disk_is_met_by_who_uses_it_then() {
        let platters = Platters::new(Random::from_seed(1));
        assert!(!platters.replace(), "there was nothing on it");
        let disk = platters.open();
        disk.write(&batch()).unwrap();
        disk.sync().await.unwrap();
        assert_eq!((disk.free().unwrap().is_some(), platters.met()), (false, Met::default()));
        platters.set(|faults| {
            *faults = Faults { full: true, fail_sync: true, little_room: true, slower_ms: 1, ..Faults::default() };
        });
        assert_eq!(platters.met(), Met::default(), "nobody has met it");
        assert!(disk.write(&batch()).is_err() && disk.sync().await.is_err() && disk.free().unwrap().is_some());
        let met = Met { full: 1, fail_sync: 1, little_room: 1, slower: 1, ..Met::default() };
        assert_eq!(platters.met(), met);
        platters.set(|faults| *faults = Faults { fail_write: true, ..Faults::default() });
        assert!(disk.write(&batch()).is_err());
        platters.will_lose_end();
        platters.crash();
        platters.crash();
        let met = Met { fail_write: 1, lost_ends: 1, ..met };
        assert_eq!(platters.met(), met);
        platters.set(|faults| *faults = Faults::default());
        platters.open().write(&batch()).unwrap();
        assert!(platters.replace());
        assert_eq!(platters.met(), met, "what was met is not undone");
    }

    #[test]
    fn a_read_that_fails_is_met_and_one_that_works_is_not() {
        let platters = Platters::new(Random::from_seed(1));
        let disk = platters.open();
        platters.set(|faults| faults.fail_reads = true);
        os::set_now(Duration::from_secs(1));
        let failed = (0..30).filter(|key| disk.get(Table::Log, &[*key]).is_err()).count();
        assert_eq!((failed, platters.met().fail_reads), (1, 1), "one of them all, for no time goes by");
    }
}
