//! How much room a replica wants on its disk, and what it may still write when there is little. Pure.

use crate::command::{Action, Command};
use crate::state::State;

/// The file system that the data lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// What a process without privileges may still take.
    pub bytes: u64,
    pub total_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Ample,
    /// What makes the state grow is refused; the rest goes on.
    Short,
    /// A write waits for room: this replica takes no part until it went through.
    Out,
}

impl Level {
    pub fn number(self) -> u64 {
        self as u64
    }

    /// The inverse of [`Level::number`]; what a newer version might send counts as the worst.
    pub fn numbered(number: u64) -> Level {
        match number {
            0 => Level::Ample,
            1 => Level::Short,
            _ => Level::Out,
        }
    }
}

/// All in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Set aside while there is plenty, given back when a write finds no room.
    pub reserve: u64,
    /// Below this much free room the state may not grow.
    pub short: u64,
    /// From this much on it may again.
    pub enough: u64,
}

const MIB: u64 = 1 << 20;

impl Limits {
    /// In proportion to a small disk; a large one need not keep more than what a compaction takes.
    pub fn of(total_bytes: u64) -> Limits {
        let short = (total_bytes / 16).clamp(4 * MIB, 256 * MIB);
        Limits { reserve: (total_bytes / 32).clamp(2 * MIB, 96 * MIB), short, enough: short + short / 2 }
    }

    /// `waits`: a write does not go through for lack of room.
    pub fn level(&self, was: Level, free: u64, waits: bool) -> Level {
        match was {
            _ if waits => Level::Out,
            _ if free < self.short => Level::Short,
            Level::Short | Level::Out if free < self.enough => Level::Short,
            _ => Level::Ample,
        }
    }

    /// Should the reserve be held? Given back shortly before nothing is left, so that writes need not fail first.
    pub fn holds_reserve(&self, held: bool, free: u64) -> bool {
        match held {
            true => free >= self.reserve / 4,
            false => free >= self.enough + self.reserve,
        }
    }
}

/// How much larger an object may become while room is short: enough for a status, a lease or a mark of deletion.
const GROWTH_BYTES_MAX: usize = 1024;

/// What of a command may not be done while room is short, in words; `None`: all of it may. Deletes may, and small
/// changes of what exists.
pub fn growth(command: &Command, state: &State) -> Option<String> {
    command.ops.iter().find_map(|op| {
        let Action::Put(value) = &op.action else { return None };
        let key = String::from_utf8_lossy(&op.key);
        match state.get(&op.key) {
            None => Some(format!("{key} would be new")),
            Some(found) if value.len() > found.value.len() + GROWTH_BYTES_MAX => {
                Some(format!("{key} would grow from {} to {} bytes", found.value.len(), value.len()))
            }
            Some(_) => None,
        }
    })
}

/// How short of room is the cluster as a whole? `own`: the leader's disk; `None`: a voter that does not answer, so
/// that nothing can be written to it. A majority with room is enough for everything, but the leader must have it too.
pub fn cluster(own: Level, others: &[Option<Level>]) -> Level {
    let mut all: Vec<Level> = others.iter().map(|level| level.unwrap_or(Level::Out)).chain([own]).collect();
    all.sort_unstable();
    // Voters that are merely silent are no lack of room.
    let worst = others.iter().copied().flatten().max().unwrap_or_default();
    own.max(all[all.len() / 2].min(worst))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::command::{Op, Precondition, Versioned};

    #[test]
    fn the_level_has_two_thresholds() {
        let limits = Limits::of(1 << 40);
        assert_eq!((limits.short, limits.enough, limits.reserve), (256 * MIB, 384 * MIB, 96 * MIB));
        let level = |was, free_mib: u64, waits| limits.level(was, free_mib * MIB, waits);
        assert_eq!(level(Level::Ample, 300, false), Level::Ample);
        assert_eq!(level(Level::Ample, 255, false), Level::Short);
        assert_eq!(level(Level::Short, 300, false), Level::Short, "it does not flap");
        assert_eq!(level(Level::Short, 384, false), Level::Ample);
        assert_eq!(level(Level::Ample, 0, true), Level::Out);
        assert_eq!(level(Level::Out, 300, false), Level::Short, "after the wait there is still little");
        assert_eq!(level(Level::Out, 400, false), Level::Ample);
    }

    #[test]
    fn the_reserve_is_taken_when_there_is_plenty_and_given_back_before_the_end() {
        let limits = Limits::of(64 * MIB);
        assert_eq!((limits.short, limits.reserve), (4 * MIB, 2 * MIB));
        assert!(!limits.holds_reserve(false, 7 * MIB));
        assert!(limits.holds_reserve(false, 8 * MIB));
        assert!(limits.holds_reserve(true, MIB), "held while it is merely short");
        assert!(!limits.holds_reserve(true, MIB / 4));
    }

    #[test]
    fn the_limits_keep_their_order_on_every_disk() {
        for shift in 20..50 {
            let Limits { reserve, short, enough } = Limits::of(1 << shift);
            assert!(reserve < short && short < enough, "{shift}");
        }
    }

    #[test]
    fn deletes_and_small_changes_are_no_growth() {
        let old = Versioned { revision: 1, created: 1, value: Bytes::from(vec![0; 500]) };
        let mut state = State::default();
        state.insert(Bytes::from_static(b"a"), old);
        let command = |key: &'static [u8], action| Command {
            fence: None,
            proposed_at_ms: 0,
            author: String::new(),
            ops: vec![Op { key: Bytes::from_static(key), precondition: Precondition::Any, action }],
        };
        let put = |bytes: usize| Action::Put(Bytes::from(vec![0; bytes]));
        assert_eq!(growth(&command(b"a", Action::Delete), &state), None);
        assert_eq!(growth(&command(b"a", Action::Check), &state), None);
        assert_eq!(growth(&command(b"a", put(500 + GROWTH_BYTES_MAX)), &state), None);
        let grown = growth(&command(b"a", put(501 + GROWTH_BYTES_MAX)), &state).unwrap();
        assert_eq!(grown, "a would grow from 500 to 1525 bytes");
        assert_eq!(growth(&command(b"b", put(1)), &state).as_deref(), Some("b would be new"));
    }

    #[test]
    fn one_full_follower_does_not_stop_a_cluster_and_two_do() {
        use Level::{Ample, Out, Short};
        let of = |own, others: &[Level]| cluster(own, &others.iter().copied().map(Some).collect::<Vec<_>>());
        assert_eq!(of(Ample, &[Ample, Out]), Ample);
        assert_eq!(of(Ample, &[Short, Out]), Short);
        assert_eq!(of(Ample, &[Out, Out]), Out);
        assert_eq!(of(Short, &[Ample, Ample]), Short, "the leader's own disk must take it");
        assert_eq!(of(Ample, &[]), Ample);
        assert_eq!(of(Ample, &[Short, Short, Ample, Ample]), Ample);
        assert_eq!(of(Ample, &[Out]), Out, "both of two are needed");
        assert_eq!(cluster(Ample, &[None, Some(Short)]), Short, "without the silent one the short one is needed");
        assert_eq!(cluster(Ample, &[None, None]), Ample, "nobody is short");
    }
}
