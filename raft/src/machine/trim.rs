//! What the history window has left behind, and what of that must stay on the disk for a while. Pure.
//!
//! A row does not repeat the value before its change where the row that has it is near. So rows stay on the disk when the
//! window has left them behind, and what they name in the log stays with them.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ring;
use super::row::Found;
use crate::command::Revision;
use crate::store::HistoryWindow;
use crate::types::{LogId, log_id, term_of};

/// How far the history was dropped. Kept apart from what `apply` saves, because another task writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trimmed {
    /// Changes up to this revision are gone.
    pub floor: Revision,
    /// The position of the last of them; together with what ever came in it gives the size of the window.
    pub position: u64,
    /// Rows up to this revision are off the disk too; those between are there for the rows that rely on them.
    pub cleared: Revision,
    /// The log entry that made the last row off the disk: no row needs anything of the log up to there.
    entry: Option<(u64, u64)>,
}

impl Trimmed {
    /// All that was there up to the entry is gone.
    pub fn all(floor: Revision, position: u64, entry: Option<LogId>) -> Trimmed {
        Trimmed { floor, position, cleared: floor, entry: entry.map(|at| (term_of(&at), at.index)) }
    }

    /// It reaches back farther than was known: to behind `floor`. What comes before is not on the disk.
    pub fn reaching_back(self, floor: Revision, position: u64) -> Trimmed {
        Trimmed { floor, position, cleared: floor, ..self }
    }

    pub fn entry(&self) -> Option<LogId> {
        self.entry.map(|(term, index)| log_id(term, index))
    }
}

/// Where a command ended that the window left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    pub revision: Revision,
    position: u64,
    entry: LogId,
}

/// How far the window, whose end is `added`, has left these oldest rows behind; `None`: by no whole command.
pub fn expired(window: &HistoryWindow, rows: &[Found], now_ms: u64, added: u64) -> Option<Floor> {
    let over = |row: &&Found| {
        let age = Duration::from_millis(now_ms.saturating_sub(row.proposed_at_ms));
        age > window.age_max || added.saturating_sub(row.place.position) > window.bytes_max
    };
    let over = rows.iter().take_while(over).filter(|row| row.place.ends_command);
    over.last().map(|row| Floor { revision: row.revision, position: row.place.position, entry: row.place.entry() })
}

/// Floors whose rows are still on the disk.
#[derive(Default)]
pub struct Floors(VecDeque<Floor>);

impl Floors {
    /// Moves on to a new floor. What lies behind any floor farther than `near` is needed by no row that is left.
    pub fn move_on(&mut self, before: Trimmed, to: Floor, near: u64) -> Trimmed {
        self.0.push_back(to);
        let far = to.position.saturating_sub(near);
        let mut trimmed = Trimmed { floor: to.revision, position: to.position, ..before };
        while let Some(unneeded) = self.0.pop_front_if(|floor| floor.position <= far) {
            trimmed.cleared = unneeded.revision;
            trimmed.entry = Some((term_of(&unneeded.entry), unneeded.entry.index));
        }
        trimmed
    }

    pub fn forget(&mut self) {
        self.0.clear();
    }
}

/// How far back rows rely on others, as they show it themselves: more may have counted as near when they were written.
#[derive(Default)]
pub struct Reliance {
    pub bytes: u64,
    /// Revision and position of those that the next one may rely on.
    within: VecDeque<(Revision, u64)>,
}

impl Reliance {
    /// In the order of their revisions. After a crash those at the end may have earlier positions than those in front of them,
    /// which were made again; they are about to be as well, so that what they say does not matter.
    pub fn see(&mut self, row: &Found) {
        let position = row.place.position;
        let near = row.near().and_then(|near| self.within.binary_search_by_key(&near, |(revision, _)| *revision).ok());
        if let Some(near) = near {
            self.bytes = self.bytes.max(position.saturating_sub(self.within[near].1));
        }
        self.within.push_back((row.revision, position));
        let is_far = |at: u64| position.saturating_sub(at) > ring::BYTES_MAX as u64;
        while self.within.pop_front_if(|(_, at)| is_far(*at)).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::row::{self, Place};
    use super::*;
    use crate::command::{Change, Previous, Versioned};

    fn row(revision: Revision, position: u64, proposed_at_ms: u64, ends_command: bool) -> Found {
        let (key, value) = (Bytes::from_static(b"a"), None);
        let change = Change { revision, key, value, previous: Previous::Absent, author: "x".into(), proposed_at_ms };
        let row = row::encode(&change, Place::new(&log_id(1, 10 * revision), position, ends_command), 0, false);
        Found::decode(&row, &|| "it".into()).unwrap()
    }

    #[test]
    fn whole_commands_go_by_age_and_by_size() {
        let window = HistoryWindow { age_max: Duration::from_secs(1), bytes_max: 100 };
        let rows = [row(1, 0, 5_000, true), row(2, 50, 5_000, false), row(3, 60, 5_000, true), row(4, 90, 9_000, true)];
        let floor = |now_ms, added| expired(&window, &rows, now_ms, added).map(|floor| floor.revision);
        assert_eq!(floor(6_000, 100), None);
        assert_eq!(floor(6_001, 100), Some(3), "by age");
        assert_eq!(floor(6_000, 101), Some(1), "by size");
        assert_eq!(floor(6_000, 155), Some(1), "not half of a command");
        assert_eq!(floor(6_000, 161), Some(3));
    }

    #[test]
    fn rows_stay_while_others_may_rely_on_them() {
        let mut floors = Floors::default();
        let floor = |revision, position| Floor { revision, position, entry: log_id(1, 10 * revision) };
        let first = floors.move_on(Trimmed::default(), floor(3, 100), 40);
        assert_eq!((first.floor, first.cleared, first.entry()), (3, 0, None));
        let second = floors.move_on(first, floor(5, 139), 40);
        assert_eq!((second.floor, second.cleared), (5, 0));
        let third = floors.move_on(second, floor(6, 140), 40);
        assert_eq!((third.floor, third.cleared, third.entry()), (6, 3, Some(log_id(1, 30))));
    }

    #[test]
    fn how_far_back_rows_rely_is_seen_from_them() {
        let relying = |revision, position, on| {
            let was = Versioned { revision: on, created: 1, value: Bytes::from_static(b"old") };
            let (key, previous) = (Bytes::from_static(b"a"), Previous::Was(was));
            let change = Change { revision, key, value: None, previous, author: "x".into(), proposed_at_ms: 1 };
            let row = row::encode(&change, Place::new(&log_id(1, revision), position, true), 0, true);
            Found::decode(&row, &|| "it".into()).unwrap()
        };
        let mut reliance = Reliance::default();
        let far = ring::BYTES_MAX as u64;
        let cases = [
            (relying(7, 1_000, 2), 0, "on one that is gone"),
            (row(8, 1_100, 5_000, true), 0, "on none"),
            (relying(9, 1_150, 8), 50, ""),
            (relying(10, 1_200, 7), 200, ""),
            (relying(11, 1_250, 9), 200, "nearer"),
            (relying(12, 900, 11), 200, "where it stood before those in front of it were made again"),
            (row(13, 2_000 + far, 5_000, true), 200, "on none"),
            (relying(14, 2_001 + far, 13), 200, ""),
            (relying(15, 2_000 + 2 * far, 13), far, "as far as any can"),
        ];
        for (row, expected, why) in cases {
            reliance.see(&row);
            assert_eq!(reliance.bytes, expected, "revision {}: {why}", row.revision);
        }
        assert_eq!(reliance.within.len(), 3, "what nothing can rely on any more is forgotten");
    }
}
