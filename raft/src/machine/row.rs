//! One change as it lies on the disk. Pure.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::{Change, Previous, Revision, Versioned};
use crate::record;
use crate::types::{LogId, log_id};

/// Where a change stands among all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Term and index of the log entry that made it.
    entry: (u64, u64),
    /// All bytes that came into the history before it.
    pub position: u64,
    /// The last change of its command: a reader stops only here, so that a command's changes arrive together.
    pub ends_command: bool,
}

impl Place {
    pub fn new(entry: &LogId, position: u64, ends_command: bool) -> Place {
        Place { entry: (crate::types::term_of(entry), entry.index), position, ends_command }
    }

    pub fn entry(&self) -> LogId {
        log_id(self.entry.0, self.entry.1)
    }
}

/// The row of a change. Its value stays in the log: it is the `nth` one that the entry's command writes. What stood there
/// before is `near` when the row of that revision is kept as long as this one is read, and has a value: then this one need
/// not repeat it.
pub fn encode(change: &Change, place: Place, nth: usize, near: bool) -> Vec<u8> {
    let before = match &change.previous {
        Previous::Was(was) if near => Before::Near { revision: was.revision, created: was.created },
        _ => before(change),
    };
    let value = change.value.as_ref().map_or(Held::Nowhere, |_| Held::InLog(nth as u32));
    let values = if near { 0 } else { change.previous.len() };
    record::encode_sized(&row(change, value, before, place), 64 + change.key.len() + change.author.len() + values)
}

/// The row of a change that relies on nothing beside it.
pub fn encode_whole(change: &Change, place: Place) -> Vec<u8> {
    let value = change.value.as_ref().map_or(Held::Nowhere, Held::Here);
    let values = change.value.as_ref().map_or(0, Bytes::len) + change.previous.len();
    let row = row(change, value, before(change), place);
    record::encode_sized(&row, 64 + change.key.len() + change.author.len() + values)
}

fn before(change: &Change) -> Before<&Versioned> {
    match &change.previous {
        Previous::Absent => Before::Absent,
        Previous::Forgotten => Before::Forgotten,
        Previous::Was(was) => Before::Was(was),
    }
}

fn row<'a>(change: &'a Change, value: Held<&'a Bytes>, before: Before<&'a Versioned>, place: Place) -> Row<'a> {
    let Change { revision, key, value: _, previous: _, author, proposed_at_ms } = change;
    Row { revision: *revision, key, value, before, author, proposed_at_ms: *proposed_at_ms, place }
}

#[derive(Serialize)]
struct Row<'a> {
    revision: Revision,
    key: &'a Bytes,
    value: Held<&'a Bytes>,
    before: Before<&'a Versioned>,
    author: &'a str,
    proposed_at_ms: u64,
    place: Place,
}

/// Where the value lies that was written.
#[derive(Serialize, Deserialize)]
pub enum Held<V> {
    /// It was a deletion.
    Nowhere,
    /// Which of the values it is that the entry's command writes.
    InLog(u32),
    Here(V),
}

#[derive(Serialize, Deserialize)]
enum Before<V> {
    Absent,
    Was(V),
    Near { revision: Revision, created: Revision },
    Forgotten,
}

/// The same, read back.
#[derive(Deserialize)]
pub struct Found {
    pub revision: Revision,
    key: Bytes,
    pub value: Held<Bytes>,
    before: Before<Versioned>,
    author: String,
    pub proposed_at_ms: u64,
    pub place: Place,
}

impl Found {
    pub fn decode(row: &[u8], what: &dyn Fn() -> String) -> std::io::Result<Found> {
        record::decode(row, what)
    }

    /// The revision whose row tells the value that stood there before.
    pub fn near(&self) -> Option<Revision> {
        match self.before {
            Before::Near { revision, .. } => Some(revision),
            _ => None,
        }
    }

    /// `put`: the value that [`Found::value`] names. `before`: that of the row that [`Found::near`] names.
    pub fn change(self, put: Option<Bytes>, before: Option<Bytes>) -> Change {
        let Found { revision, key, before: stood, author, proposed_at_ms, .. } = self;
        let previous = match (stood, before) {
            (Before::Absent, _) => Previous::Absent,
            (Before::Was(was), _) => Previous::Was(was),
            (Before::Near { revision, created }, Some(value)) => Previous::Was(Versioned { revision, created, value }),
            (Before::Near { .. }, None) | (Before::Forgotten, _) => Previous::Forgotten,
        };
        Change { revision, key, value: put, previous, author, proposed_at_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(previous: Previous) -> Change {
        let (key, value) = (Bytes::from_static(b"a"), Some(vec![8; 1000].into()));
        Change { revision: 9, key, value, previous, author: "somebody".into(), proposed_at_ms: 5 }
    }

    #[test]
    fn a_change_comes_back_as_it_was() {
        let place = Place::new(&log_id(2, 30), 700, true);
        let was = Versioned { revision: 7, created: 3, value: Bytes::from_static(b"old") };
        for previous in [Previous::Absent, Previous::Forgotten, Previous::Was(was)] {
            for near in [false, true] {
                let change = change(previous.clone());
                let found = Found::decode(&encode(&change, place, 4, near), &|| "it".into()).unwrap();
                assert!(found.place == place && matches!(found.value, Held::InLog(4)));
                let named = near && matches!(previous, Previous::Was(_));
                assert_eq!(found.near(), named.then_some(7));
                let before = named.then(|| Bytes::from_static(b"old"));
                assert_eq!(found.change(change.value.clone(), before), change);
            }
        }
    }

    #[test]
    fn a_whole_row_has_the_change_in_it() {
        let place = Place::new(&log_id(2, 30), 700, true);
        let was = Versioned { revision: 7, created: 3, value: Bytes::from_static(b"old") };
        for previous in [Previous::Absent, Previous::Forgotten, Previous::Was(was)] {
            let change = change(previous);
            let found = Found::decode(&encode_whole(&change, place), &|| "it".into()).unwrap();
            assert!(found.place == place && found.near().is_none());
            let Held::Here(value) = &found.value else { panic!("the value is elsewhere") };
            let value = value.clone();
            assert_eq!(found.change(Some(value), None), change);
            let deletion = Change { value: None, ..change };
            let found = Found::decode(&encode_whole(&deletion, place), &|| "it".into()).unwrap();
            assert!(matches!(found.value, Held::Nowhere));
            assert_eq!(found.change(None, None), deletion);
        }
    }

    #[test]
    fn neither_the_value_nor_what_is_near_is_repeated() {
        let was = Versioned { revision: 7, created: 3, value: vec![7; 1000].into() };
        let (change, place) = (change(Previous::Was(was)), Place::new(&log_id(2, 30), 700, true));
        assert!((1000..1100).contains(&encode(&change, place, 0, false).len()));
        assert!(encode(&change, place, 0, true).len() < 60);
    }
}
