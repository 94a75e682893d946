//! One change as it lies on the disk. Pure.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::{Change, Previous, Revision, Versioned};
use crate::record;

/// The row of a change. What stood there before is `near` when the row of that revision is kept as long as this one is
/// read, and has the value: then this one need not repeat it.
pub fn encode(change: &Change, near: bool, ends_command: bool) -> Vec<u8> {
    let before = match &change.previous {
        Previous::Absent => Before::Absent,
        Previous::Forgotten => Before::Forgotten,
        Previous::Was(was) if near => Before::Near { revision: was.revision, created: was.created },
        Previous::Was(was) => Before::Was(was),
    };
    let Change { revision, key, value, previous: _, author, proposed_at_ms } = change;
    let row = Row { revision: *revision, key, value, before, author, proposed_at_ms: *proposed_at_ms, ends_command };
    let values = value.as_ref().map_or(0, Bytes::len) + if near { 0 } else { change.previous.len() };
    record::encode_sized(&row, 64 + key.len() + author.len() + values)
}

#[derive(Serialize)]
struct Row<'a> {
    revision: Revision,
    key: &'a Bytes,
    value: &'a Option<Bytes>,
    before: Before<&'a Versioned>,
    author: &'a str,
    proposed_at_ms: u64,
    ends_command: bool,
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
    pub value: Option<Bytes>,
    before: Before<Versioned>,
    author: String,
    pub proposed_at_ms: u64,
    /// The last change of its command: a reader stops only here, so that a command's changes arrive together.
    pub ends_command: bool,
}

impl Found {
    pub fn decode(row: &[u8], what: &dyn Fn() -> String) -> std::io::Result<Found> {
        record::decode(row, what)
    }

    /// The revision whose row has the value that stood there before.
    pub fn near(&self) -> Option<Revision> {
        match self.before {
            Before::Near { revision, .. } => Some(revision),
            _ => None,
        }
    }

    /// `value`: of the row that [`Found::near`] names.
    pub fn change(self, value: Option<Bytes>) -> Change {
        let Found { revision, key, value: put, before, author, proposed_at_ms, .. } = self;
        let previous = match (before, value) {
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
        let (key, value) = (Bytes::from_static(b"a"), Some(Bytes::from_static(b"new")));
        Change { revision: 9, key, value, previous, author: "somebody".into(), proposed_at_ms: 5 }
    }

    #[test]
    fn a_change_comes_back_as_it_was() {
        let was = Versioned { revision: 7, created: 3, value: Bytes::from_static(b"old") };
        for previous in [Previous::Absent, Previous::Forgotten, Previous::Was(was)] {
            for near in [false, true] {
                let change = change(previous.clone());
                let found = Found::decode(&encode(&change, near, true), &|| "it".into()).unwrap();
                assert!(found.ends_command);
                let named = near && matches!(previous, Previous::Was(_));
                assert_eq!(found.near(), named.then_some(7));
                assert_eq!(found.change(named.then(|| Bytes::from_static(b"old"))), change);
            }
        }
    }

    #[test]
    fn what_is_near_is_not_repeated() {
        let was = Versioned { revision: 7, created: 3, value: vec![7; 1000].into() };
        let change = change(Previous::Was(was));
        assert!(encode(&change, false, true).len() > 1000);
        assert!(encode(&change, true, true).len() < 60);
    }
}
