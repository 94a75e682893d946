//! The changes as watchers saw them: one history for all of them, every revision once, a command's changes together,
//! none left out, and fenced commands only in their own terms. Pure.

use std::collections::BTreeMap;

use raft::{Change, Previous, Revision};

use super::words::InWords;

/// What one watcher was told, from the revision it began after.
#[derive(Clone, Debug)]
pub struct Told {
    pub id: usize,
    pub prefix: String,
    pub after: Revision,
    /// How far it came; everything of its prefix up to here must be among what it was told.
    pub upto: Revision,
    pub revisions: Vec<Revision>,
}

/// The history that all agree on, as far as somebody saw it.
#[derive(Default)]
pub struct Agreed {
    changes: BTreeMap<Revision, Change>,
}

impl Agreed {
    /// Takes in what came in one piece of news.
    pub fn take(&mut self, told: &mut Told, changes: &[Change]) -> Result<(), String> {
        for change in changes {
            if change.revision <= told.upto {
                return Err(format!("{} came to a watcher that was told up to {} already", InWords(change), told.upto));
            }
            if !change.key.starts_with(told.prefix.as_bytes()) {
                return Err(format!("{} came to a watcher of {:?}", InWords(change), told.prefix));
            }
            if told.prefix.is_empty() && change.revision != told.upto + 1 {
                return Err(format!("a gap: after {} came {}", told.upto, InWords(change)));
            }
            told.upto = change.revision;
            told.revisions.push(change.revision);
            self.add(change)?;
        }
        Ok(())
    }

    pub fn add(&mut self, change: &Change) -> Result<(), String> {
        let known = self.changes.entry(change.revision).or_insert_with(|| change.clone());
        if !same(known, change) {
            return Err(format!("two changes of one revision: {} and {}", InWords(known), InWords(change)));
        }
        if known.previous == Previous::Forgotten {
            known.previous = change.previous.clone();
        }
        Ok(())
    }

    pub fn at(&self, revision: Revision) -> Option<&Change> {
        self.changes.get(&revision)
    }

    pub fn all(&self) -> impl Iterator<Item = &Change> {
        self.changes.values()
    }

    /// The changes to one key, in order.
    pub fn of<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = &'a Change> {
        self.changes.values().filter(move |change| change.key == key)
    }

    /// Nothing was kept from this watcher.
    pub fn complete(&self, told: &Told) -> Result<(), String> {
        let range = self.changes.range(told.after + 1..told.upto.max(told.after) + 1);
        let due = range.filter(|(_, change)| change.key.starts_with(told.prefix.as_bytes())).map(|(at, _)| *at);
        match due.eq(told.revisions.iter().copied()) {
            true => Ok(()),
            false => Err(format!("a watcher of {:?} was not told of all changes: {told:?}", told.prefix)),
        }
    }

    /// `fence:<term>` is the author of what a leader's task of that term writes. `began`: of a term whose leader has applied an
    /// entry of its own, the revision that its state had then. Whatever came after that revision came in that term or a later one,
    /// for the terms of a log's entries never go back.
    pub fn fences_hold(&self, began: &BTreeMap<u64, Revision>) -> Result<(), String> {
        let mut newest = (0, 0);
        for change in self.changes.values() {
            let Some(term) = change.author.strip_prefix("fence:").and_then(|term| term.parse::<u64>().ok()) else {
                continue;
            };
            if term < newest.0 {
                let (term_before, at) = newest;
                let late = InWords(change);
                return Err(format!("{late} took effect after term {term_before} had begun, at revision {at}"));
            }
            if let Some((later, at)) = began.range(term + 1..).find(|(_, at)| **at < change.revision) {
                let late = InWords(change);
                return Err(format!("{late} took effect after term {later} had begun, by revision {at}"));
            }
            newest = (term, change.revision);
        }
        Ok(())
    }

    /// A value is written once, though its proposal travelled.
    pub fn none_twice(&self, value: impl Fn(&Change) -> Option<u64>) -> Result<(), String> {
        let mut written = BTreeMap::new();
        for change in self.changes.values() {
            let Some(number) = value(change) else { continue };
            if let Some(before) = written.insert((change.key.clone(), number), change.revision) {
                return Err(format!("{} took effect twice, before at revision {before}", InWords(change)));
            }
        }
        Ok(())
    }
}

/// Who sees changes from outside does not know the value before.
fn same(one: &Change, other: &Change) -> bool {
    let forgotten = one.previous == Previous::Forgotten || other.previous == Previous::Forgotten;
    let previous = forgotten || one.previous == other.previous;
    previous && (&one.key, &one.value, &one.author) == (&other.key, &other.value, &other.author)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use raft::Versioned;

    fn change(revision: Revision, key: &str) -> Change {
        Change {
            revision,
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Some(Bytes::from_static(b"7")),
            previous: Previous::Absent,
            author: "fence:3".into(),
            proposed_at_ms: 0,
        }
    }

    fn told(prefix: &str, after: Revision) -> Told {
        Told { id: 0, prefix: prefix.into(), after, upto: after, revisions: Vec::new() }
    }

    #[test]
    fn a_watcher_that_is_told_everything_in_order() {
        let mut agreed = Agreed::default();
        let mut all = told("", 0);
        agreed.take(&mut all, &[change(1, "a/1"), change(2, "b/1")]).unwrap();
        agreed.take(&mut all, &[change(3, "a/2")]).unwrap();
        agreed.complete(&all).unwrap();
        let mut some = told("a/", 0);
        agreed.take(&mut some, &[change(1, "a/1"), change(3, "a/2")]).unwrap();
        agreed.complete(&some).unwrap();
    }

    #[test]
    fn every_broken_promise_is_noticed() {
        let take = |prefix: &str, changes: &[Change]| Agreed::default().take(&mut told(prefix, 0), changes);
        assert!(take("", &[change(1, "a"), change(1, "a")]).is_err(), "twice");
        assert!(take("", &[change(1, "a"), change(3, "a")]).is_err(), "a gap");
        assert!(take("a", &[change(3, "a"), change(2, "a")]).is_err(), "out of order");
        assert!(take("b", &[change(1, "a")]).is_err(), "not asked for");
        let mut agreed = Agreed::default();
        agreed.add(&change(1, "a")).unwrap();
        assert!(agreed.add(&change(1, "b")).is_err(), "two histories");
        let was = Previous::Was(Versioned { revision: 1, created: 1, value: Bytes::new() });
        assert!(agreed.add(&Change { previous: was, ..change(1, "a") }).is_err(), "two values before");
        let late = Told { upto: 1, ..told("a", 0) };
        assert!(agreed.complete(&late).is_err(), "left out");
    }

    #[test]
    fn a_fence_of_an_earlier_term_is_noticed() {
        let mut agreed = Agreed::default();
        agreed.add(&Change { author: "fence:4".into(), ..change(1, "a") }).unwrap();
        agreed.fences_hold(&BTreeMap::new()).unwrap();
        agreed.add(&change(2, "a")).unwrap();
        assert!(agreed.fences_hold(&BTreeMap::new()).is_err());
    }

    #[test]
    fn a_fence_of_an_earlier_term_is_noticed_before_the_later_one_has_written() {
        let mut agreed = Agreed::default();
        agreed.add(&change(1, "a")).unwrap();
        agreed.add(&change(2, "a")).unwrap();
        let hold = |began: &[(u64, Revision)]| agreed.fences_hold(&began.iter().copied().collect());
        hold(&[(2, 0), (3, 0), (4, 2), (6, 9)]).unwrap();
        assert!(hold(&[(3, 0), (4, 1)]).is_err());
        assert!(hold(&[(3, 0), (4, 2), (5, 0)]).is_err(), "whichever later term it was");
    }

    #[test]
    fn a_value_that_is_written_twice_is_noticed() {
        let mut agreed = Agreed::default();
        agreed.add(&change(1, "a")).unwrap();
        agreed.none_twice(|_| Some(7)).unwrap();
        agreed.add(&change(2, "a")).unwrap();
        assert!(agreed.none_twice(|_| Some(7)).is_err());
    }
}
