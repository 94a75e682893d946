//! What was acknowledged is in the history that all agree on. Pure.

use std::collections::BTreeMap;

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
    /// The key was deleted by a change of its own, of which no revision was told. `after`: by the key's first change after that
    /// revision.
    Deleted { key: Bytes, after: Option<Revision> },
}

/// `agreed` has every change up to the newest that was acknowledged. `number`: the value that a change puts.
pub fn check(all: &[Acknowledged], agreed: &Agreed, number: impl Fn(&Change) -> Option<u64>) -> Result<(), String> {
    all.iter().try_for_each(|one| is_there(one, agreed, &number))?;
    deletions_are_there(all, agreed)
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
        Acknowledged::Deleted { after: None, .. } => Ok(()),
        Acknowledged::Deleted { key, after: Some(after) } => {
            let next = agreed.of(key).find(|change| change.revision > *after);
            match next.is_some_and(|change| change.value.is_none()) {
                true => Ok(()),
                false => Err(format!("{one:?} was acknowledged, and the next change is {}", told(next))),
            }
        }
    }
}

/// Each has a change of its own.
fn deletions_are_there(all: &[Acknowledged], agreed: &Agreed) -> Result<(), String> {
    let mut deletions: BTreeMap<&Bytes, usize> = BTreeMap::new();
    for one in all {
        if let Acknowledged::Deleted { key, .. } = one {
            *deletions.entry(key).or_default() += 1;
        }
    }
    for (key, due) in deletions {
        let made = agreed.of(key).filter(|change| change.value.is_none()).count();
        if made < due {
            return Err(format!("{due} deletions of {key:?} were acknowledged, and the history has {made}"));
        }
    }
    Ok(())
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

    fn deleted(after: Option<Revision>) -> Acknowledged {
        Acknowledged::Deleted { key: KEY, after }
    }

    #[test]
    fn what_is_in_the_history() {
        judged(&[put(1, 1), put(3, 3), put(4, 4)]).unwrap();
        judged(&[gone("a", 2)]).unwrap();
        judged(&[gone("b", 0), gone("b", 3), gone("c", 4)]).expect("to delete what is absent makes no revision");
        judged(&[deleted(None)]).unwrap();
        judged(&[deleted(Some(1))]).unwrap();
    }

    #[test]
    fn what_was_lost_is_noticed() {
        for bad in [put(1, 2), put(3, 1), put(5, 5)] {
            assert!(judged(std::slice::from_ref(&bad)).is_err(), "{bad:?}");
        }
        for bad in [gone("a", 1), gone("a", 3), gone("a", 4), gone("b", 4), gone("c", 5)] {
            assert!(judged(std::slice::from_ref(&bad)).is_err(), "{bad:?}");
        }
        assert!(judged(&[deleted(Some(3))]).is_err(), "nothing came after");
        assert!(judged(&[deleted(Some(2))]).is_err(), "it was written next");
        assert!(judged(&[deleted(None), deleted(Some(1))]).is_err(), "two were told of one deletion");
    }
}
