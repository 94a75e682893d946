//! What was acknowledged is in the history that all agree on. Pure.

use bytes::Bytes;
use raft::{Change, Revision};

use super::changes::Agreed;
use super::words::InWords;

/// What somebody was told had been done.
#[derive(Clone, Debug)]
pub enum Acknowledged {
    /// This value, which nobody else writes, was put at this revision.
    Put { value: u64, at: Revision },
    /// Right after this revision the key is absent: it was deleted with it, or to delete it had found nothing, which makes no
    /// revision of its own.
    Gone { key: Bytes, at: Revision },
    /// The key was deleted with this revision. `after`: by its first change after that one.
    Deleted { key: Bytes, after: Option<Revision>, at: Revision },
}

/// `agreed` has every change up to the newest that was acknowledged. `number`: the value that a change puts.
pub fn check(all: &[Acknowledged], agreed: &Agreed, number: impl Fn(&Change) -> Option<u64>) -> Result<(), String> {
    all.iter().try_for_each(|one| is_there(one, agreed, &number))
}

fn is_there(one: &Acknowledged, agreed: &Agreed, number: impl Fn(&Change) -> Option<u64>) -> Result<(), String> {
    match one {
        Acknowledged::Put { value, at } => {
            let found = agreed.at(*at);
            match found.and_then(number) == Some(*value) {
                true => Ok(()),
                false => Err(format!("{value} was acknowledged at revision {at}, where there is {}", told(found))),
            }
        }
        Acknowledged::Gone { at, .. } if *at > 0 && agreed.at(*at).is_none() => {
            Err(format!("{one:?} was acknowledged, and nobody made that revision"))
        }
        Acknowledged::Gone { key, at } => {
            let last = agreed.of(key).take_while(|change| change.revision <= *at).last();
            match last.filter(|change| change.value.is_some()) {
                None => Ok(()),
                Some(stands) => Err(format!("{one:?} was acknowledged, and there stands {}", InWords(stands))),
            }
        }
        Acknowledged::Deleted { key, after, at } => {
            let from = after.map_or(*at, |after| after + 1);
            let first = agreed.of(key).find(|change| change.revision >= from);
            match first.is_some_and(|change| change.value.is_none() && change.revision == *at) {
                true => Ok(()),
                false => Err(format!("{one:?} was acknowledged, and the next change is {}", told(first))),
            }
        }
    }
}

fn told(change: Option<&Change>) -> String {
    change.map_or("none".into(), |change| InWords(change).to_string())
}

#[cfg(test)]
mod tests {
    use raft::Previous;

    use super::*;

    const KEY: Bytes = Bytes::from_static(b"a");

    /// Of one key: written, deleted, written, and another key written at last.
    fn agreed() -> Agreed {
        let mut agreed = Agreed::default();
        for (revision, key, value) in [(1, "a", "1"), (2, "a", ""), (3, "a", "3"), (4, "b", "4")] {
            let (key, previous, author) = (Bytes::from(key), Previous::Forgotten, String::new());
            let value = Some(Bytes::from(value)).filter(|value| !value.is_empty());
            agreed.add(&Change { revision, key, value, previous, author, proposed_at_ms: 0 }).unwrap();
        }
        agreed
    }

    fn judged(all: &[Acknowledged]) -> Result<(), String> {
        let number = |change: &Change| std::str::from_utf8(change.value.as_ref()?).ok()?.parse::<u64>().ok();
        check(all, &agreed(), number)
    }

    fn put(value: u64, at: Revision) -> Acknowledged {
        Acknowledged::Put { value, at }
    }

    fn gone(key: &'static str, at: Revision) -> Acknowledged {
        Acknowledged::Gone { key: key.into(), at }
    }

    fn deleted(after: Option<Revision>, at: Revision) -> Acknowledged {
        Acknowledged::Deleted { key: KEY, after, at }
    }

    #[test]
    fn what_is_in_the_history() {
        judged(&[put(1, 1), put(3, 3), put(4, 4)]).unwrap();
        judged(&[gone("a", 2)]).unwrap();
        judged(&[gone("b", 0), gone("b", 3), gone("c", 4)]).expect("to delete what is absent makes no revision");
        judged(&[deleted(None, 2)]).unwrap();
        judged(&[deleted(Some(1), 2)]).unwrap();
    }

    #[test]
    fn what_was_lost_is_noticed() {
        for bad in [put(1, 2), put(3, 1), put(5, 5)] {
            assert!(judged(std::slice::from_ref(&bad)).is_err(), "{bad:?}");
        }
        for bad in [gone("a", 1), gone("a", 3), gone("a", 4), gone("b", 4), gone("c", 5)] {
            assert!(judged(std::slice::from_ref(&bad)).is_err(), "{bad:?}");
        }
        for bad in [deleted(None, 1), deleted(None, 3), deleted(None, 4), deleted(None, 5)] {
            assert!(judged(std::slice::from_ref(&bad)).is_err(), "it was not deleted then: {bad:?}");
        }
        assert!(judged(&[deleted(Some(0), 2)]).is_err(), "it was written before");
        assert!(judged(&[deleted(Some(2), 2)]).is_err(), "it was written next");
    }
}
