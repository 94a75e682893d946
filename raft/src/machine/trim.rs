//! What the history window has left behind, and what of that must stay on the disk for a while. Pure.
//!
//! A row does not repeat the value before its change where the row that has it is near. So rows stay on the disk when the
//! window has left them behind, and what they name in the log stays with them.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::row::{self, Place};
    use super::*;
    use crate::command::{Change, Previous};

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
}
