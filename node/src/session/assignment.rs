//! Decides what becomes of a pushed assignment: taken over, waited for, or refused. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proto::session::Assignment;

use super::Work;

/// What the agent has taken over, of all sessions together.
#[derive(Default)]
pub struct Desk {
    /// "" until the first replica said it.
    cluster_id: String,
    work: Arc<Work>,
    /// How many sets were taken over.
    taken: u64,
    /// The number of the last one that was told from its beginning: every difference after it must be to it.
    base: u64,
}

/// Where one session stands in the sequence of its replica's assignments.
#[derive(Default)]
pub struct Cursor {
    /// Term and sequence of the last assignment of this session.
    last: Option<(u64, u64)>,
    /// The number of the last set that this session told from its beginning.
    base: u64,
    /// What has come of a set whose end is still to come.
    staged: Option<Staged>,
}

struct Staged {
    /// Told from its beginning, and no difference.
    whole: bool,
    items: BTreeMap<String, Bytes>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("assignment of term {term}, but term {highest} was taken over already")]
    OlderTerm { term: u64, highest: u64 },
    #[error("assignment {sequence} of term {term} does not follow on {last:?}")]
    Gap { term: u64, sequence: u64, last: Option<(u64, u64)> },
    #[error("assignment {sequence} of term {term} is a difference to a set that another session has replaced")]
    Replaced { term: u64, sequence: u64 },
}

impl Desk {
    pub fn new(cluster_id: String, work: Work) -> Desk {
        Desk { cluster_id, work: Arc::new(work), ..Desk::default() }
    }

    pub fn term(&self) -> u64 {
        self.work.term
    }

    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Of the set that was taken over last. Each has a higher one than those before it, whatever its term.
    pub fn number(&self) -> u64 {
        self.taken
    }

    /// Terms of different clusters do not compare: in another cluster the next full set counts, whatever its
    /// term. What runs goes on until then.
    pub fn meet(&mut self, cluster_id: &str) {
        if self.cluster_id != cluster_id && !cluster_id.is_empty() {
            if !self.cluster_id.is_empty() {
                self.work = Arc::new(Work { term: 0, sequence: 0, ..Work::clone(&self.work) });
            }
            self.cluster_id = cluster_id.to_owned();
        }
    }

    /// `Some`: the new complete set. `None`: more of it is to come. After a refusal the session must end. Of two sessions with
    /// one leader the later one counts, from its first complete set on: what the earlier one still brings may be older.
    pub fn take(&mut self, cursor: &mut Cursor, assignment: Assignment) -> Result<Option<Arc<Work>>, Refused> {
        let Assignment { term, sequence, full, upserts, removed, more } = assignment;
        if term < self.work.term {
            return Err(Refused::OlderTerm { term, highest: self.work.term });
        }
        let follows = cursor.last.is_some_and(|(last_term, last)| last_term == term && last + 1 == sequence);
        let is_replaced = cursor.base != self.base;
        let (whole, mut items) = match (full, follows, cursor.staged.take()) {
            (true, _, _) => (true, BTreeMap::new()),
            (false, true, Some(staged)) if staged.whole => (true, staged.items),
            (false, true, _) if is_replaced => return Err(Refused::Replaced { term, sequence }),
            (false, true, Some(staged)) => (false, staged.items),
            (false, true, None) if self.work.term == term => (false, self.work.items.clone()),
            _ => return Err(Refused::Gap { term, sequence, last: cursor.last }),
        };
        for key in &removed {
            items.remove(key);
        }
        items.extend(upserts.into_iter().map(|item| (item.key, item.json)));
        cursor.last = Some((term, sequence));
        if more {
            cursor.staged = Some(Staged { whole, items });
            return Ok(None);
        }
        self.taken += 1;
        if whole {
            (self.base, cursor.base) = (self.taken, self.taken);
        }
        self.work = Arc::new(Work { term, sequence, items, is_remembered: false });
        Ok(Some(self.work.clone()))
    }
}

#[cfg(test)]
mod tests {
    use proto::session::Item;

    use super::*;

    fn message(term: u64, sequence: u64, full: bool, upserts: &[&str], removed: &[&str]) -> Assignment {
        Assignment {
            term,
            sequence,
            full,
            upserts: upserts
                .iter()
                .map(|key| Item { key: key.to_string(), json: Bytes::from(format!("{term}.{sequence}")) })
                .collect(),
            removed: removed.iter().map(|key| key.to_string()).collect(),
            more: false,
        }
    }

    fn keys(work: &Work) -> Vec<&str> {
        work.items.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_full_set_and_its_differences_are_taken_over() {
        let (mut desk, mut cursor) = (Desk::default(), Cursor::default());
        let work = desk.take(&mut cursor, message(3, 1, true, &["pods/a/x", "pods/a/y"], &[])).unwrap().unwrap();
        assert_eq!(keys(&work), ["pods/a/x", "pods/a/y"]);
        let work = desk.take(&mut cursor, message(3, 2, false, &["pods/a/z"], &["pods/a/x"])).unwrap().unwrap();
        assert_eq!(keys(&work), ["pods/a/y", "pods/a/z"]);
        assert_eq!((work.term, work.sequence), (3, 2));
    }

    #[test]
    fn an_older_term_is_refused_even_with_a_full_set_from_another_session() {
        let mut desk = Desk::new("c".into(), Work { term: 5, ..Work::default() });
        let refused = desk.take(&mut Cursor::default(), message(4, 1, true, &["pods/a/x"], &[]));
        assert_eq!(refused.unwrap_err(), Refused::OlderTerm { term: 4, highest: 5 });
        assert!(desk.take(&mut Cursor::default(), message(5, 1, true, &["pods/a/x"], &[])).is_ok());
    }

    #[test]
    fn what_is_remembered_is_only_that_until_a_leader_has_told_the_whole() {
        let remembered = Work { term: 3, is_remembered: true, ..Work::default() };
        let (mut desk, mut cursor) = (Desk::new("c".into(), remembered), Cursor::default());
        assert!(desk.take(&mut Cursor::default(), message(3, 2, false, &[], &[])).is_err(), "no difference to it");
        let part = Assignment { more: true, ..message(3, 1, true, &["pods/a/x"], &[]) };
        desk.take(&mut cursor, part).unwrap();
        assert!(desk.work.is_remembered);
        let work = desk.take(&mut cursor, message(3, 2, false, &[], &[])).unwrap().unwrap();
        assert!(!work.is_remembered);
    }

    #[test]
    fn a_gap_is_refused_and_changes_nothing() {
        let (mut desk, mut cursor) = (Desk::default(), Cursor::default());
        desk.take(&mut cursor, message(3, 1, true, &["pods/a/x"], &[])).unwrap();
        let refused = desk.take(&mut cursor, message(3, 3, false, &[], &["pods/a/x"]));
        assert_eq!(refused.unwrap_err(), Refused::Gap { term: 3, sequence: 3, last: Some((3, 1)) });
        assert_eq!(keys(&desk.work), ["pods/a/x"]);
    }

    #[test]
    fn a_new_session_must_begin_with_a_full_set() {
        let mut desk = Desk::default();
        desk.take(&mut Cursor::default(), message(3, 1, true, &["pods/a/x"], &[])).unwrap();
        assert!(desk.take(&mut Cursor::default(), message(3, 2, false, &["pods/a/y"], &[])).is_err());
    }

    #[test]
    fn a_set_in_parts_counts_only_when_complete() {
        let (mut desk, mut cursor) = (Desk::default(), Cursor::default());
        desk.take(&mut cursor, message(3, 1, true, &["pods/a/old"], &[])).unwrap();
        let part = Assignment { more: true, ..message(4, 1, true, &["pods/a/x"], &[]) };
        assert_eq!(desk.take(&mut cursor, part).unwrap(), None);
        assert_eq!(keys(&desk.work), ["pods/a/old"]);
        let work = desk.take(&mut cursor, message(4, 2, false, &["pods/a/y"], &[])).unwrap().unwrap();
        assert_eq!(keys(&work), ["pods/a/x", "pods/a/y"]);
        assert_eq!((work.term, work.sequence), (4, 2));
    }

    #[test]
    fn a_newer_leader_wins_over_the_end_of_an_older_set() {
        let mut desk = Desk::default();
        let (mut old, mut new) = (Cursor::default(), Cursor::default());
        let part = Assignment { more: true, ..message(3, 1, true, &["pods/a/x"], &[]) };
        desk.take(&mut old, part).unwrap();
        desk.take(&mut new, message(4, 1, true, &["pods/a/z"], &[])).unwrap();
        assert!(matches!(
            desk.take(&mut old, message(3, 2, false, &["pods/a/y"], &[])),
            Err(Refused::OlderTerm { term: 3, highest: 4 })
        ));
        assert_eq!(keys(&desk.work), ["pods/a/z"]);
    }

    #[test]
    fn what_a_session_brings_after_its_successor_has_begun_is_refused() {
        let mut desk = Desk::default();
        let (mut old, mut new) = (Cursor::default(), Cursor::default());
        desk.take(&mut old, message(3, 1, true, &["pods/a/x"], &[])).unwrap();
        let part = Assignment { more: true, ..message(3, 1, true, &["pods/a/x"], &[]) };
        desk.take(&mut new, part).unwrap();
        desk.take(&mut old, message(3, 2, false, &["pods/a/y"], &[])).unwrap();
        assert_eq!(keys(&desk.work), ["pods/a/x", "pods/a/y"], "the successor's set is not complete yet");
        let part = Assignment { more: true, ..message(3, 3, false, &["pods/a/late"], &[]) };
        desk.take(&mut old, part).unwrap();
        desk.take(&mut new, message(3, 2, false, &["pods/a/z"], &[])).unwrap();
        let refused = desk.take(&mut old, message(3, 4, false, &[], &["pods/a/z"]));
        assert_eq!(refused.unwrap_err(), Refused::Replaced { term: 3, sequence: 4 });
        let refused = desk.take(&mut old, message(3, 5, false, &["pods/a/x"], &[]));
        assert!(refused.is_err());
        assert_eq!(keys(&desk.work), ["pods/a/x", "pods/a/z"]);
        assert!(desk.take(&mut new, message(3, 3, false, &[], &["pods/a/x"])).is_ok());
    }

    #[test]
    fn every_set_has_a_higher_number_than_those_before_it() {
        let mut desk = Desk::new("one".into(), Work { term: 9, ..Work::default() });
        let mut cursor = Cursor::default();
        desk.take(&mut cursor, message(9, 1, true, &["pods/a/x"], &[])).unwrap();
        let first = desk.number();
        let part = Assignment { more: true, ..message(9, 2, false, &["pods/a/y"], &[]) };
        desk.take(&mut cursor, part).unwrap();
        assert_eq!(desk.number(), first, "it is not complete");
        desk.take(&mut cursor, message(9, 3, false, &["pods/a/z"], &[])).unwrap();
        let second = desk.number();
        desk.meet("two");
        desk.take(&mut Cursor::default(), message(1, 1, true, &["pods/a/x"], &[])).unwrap();
        assert!(0 < first && first < second && second < desk.number());
    }

    #[test]
    fn another_cluster_starts_its_terms_anew() {
        let mut desk = Desk::new("one".into(), Work { term: 9, sequence: 4, ..Work::default() });
        desk.meet("one");
        assert_eq!(desk.term(), 9);
        desk.meet("two");
        assert!(desk.take(&mut Cursor::default(), message(1, 1, true, &["pods/a/x"], &[])).unwrap().is_some());
    }
}
