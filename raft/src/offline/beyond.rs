//! Where a cluster goes on that was restored or recovered: above every revision that a client may hold. Pure.

use crate::command::Revision;

/// Farther than a cluster comes in years of writes.
pub const REVISION_JUMP: u64 = 1_000_000_000;

/// Above what the data knows by at least the jump, and above all that became of an earlier restore or recovery, of this data or of other
/// data of the same cluster: that went on from *its* microsecond, and no cluster takes a write in each. If a clock was far ahead once,
/// only the jump protects.
pub fn all_known(revision: Revision, jump: u64, at_ms: Option<u64>) -> Revision {
    (revision + jump).max(at_ms.unwrap_or_default().saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON_MS: u64 = 1_767_225_600_000;

    #[test]
    fn what_is_restored_later_begins_above_all_that_was_restored_before_though_its_data_is_older() {
        let (old, new) = (500, 90_000_000);
        let recovered = all_known(new, REVISION_JUMP, Some(NOON_MS));
        let after_a_year_of_writes = recovered + 365 * 86_400 * 10_000;
        let restored = all_known(old, REVISION_JUMP, Some(NOON_MS + 365 * 86_400_000));
        assert!(restored > after_a_year_of_writes, "{restored} {after_a_year_of_writes}");
        assert!(all_known(after_a_year_of_writes, REVISION_JUMP, Some(NOON_MS)) > after_a_year_of_writes);
    }

    #[test]
    fn where_the_time_is_not_known_the_jump_counts() {
        assert_eq!(all_known(26, REVISION_JUMP, None), 1_000_000_026);
        assert_eq!(all_known(26, 5, Some(0)), 31);
    }
}
