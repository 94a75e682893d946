//! Changes as a failure names them: what a person needs to find them in the trace. Pure.

use std::fmt;

use bytes::Bytes;
use raft::{Change, Previous};

/// The number that a value begins with, and its name.
const SHOWN: usize = 12;

/// A change in a few words.
pub struct InWords<'a>(pub &'a Change);

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { revision, key, value, previous, author, .. } = self.0;
        write!(f, "revision {revision} ({key:?} ")?;
        match value {
            Some(value) => write!(f, "= {}", Short(value))?,
            None => write!(f, "deleted")?,
        }
        match previous {
            Previous::Absent => write!(f, ", new")?,
            Previous::Was(was) => write!(f, ", was {} of revision {}", Short(&was.value), was.revision)?,
            Previous::Forgotten => {}
        }
        write!(f, ", by {author})")
    }
}

struct Short<'a>(&'a Bytes);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            0..=SHOWN => write!(f, "{:?}", self.0),
            all => write!(f, "{:?} and {} bytes more", self.0.slice(..SHOWN), all - SHOWN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::Versioned;

    #[test]
    fn a_long_value_is_cut() {
        let value = Bytes::from(format!("572 {}", ".".repeat(300)));
        let was = Versioned { revision: 662, created: 636, value: Bytes::from_static(b"569") };
        let mut change = Change {
            revision: 664,
            key: Bytes::from_static(b"reg/3/1"),
            value: Some(value),
            previous: Previous::Was(was),
            author: "client".into(),
            proposed_at_ms: 0,
        };
        let words =
            r#"revision 664 (b"reg/3/1" = b"572 ........" and 292 bytes more, was b"569" of revision 662, by client)"#;
        assert_eq!(InWords(&change).to_string(), words);
        (change.value, change.previous) = (None, Previous::Absent);
        assert_eq!(InWords(&change).to_string(), r#"revision 664 (b"reg/3/1" deleted, new, by client)"#);
    }
}
