//! The past as replicas showed it: every state, key and row of a key's changes that somebody read back is what the changes
//! make of it. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft::{Change, Revision, Versioned};

use super::changes::Agreed;
use super::replicas::checksum;
use super::words::InWords;

/// What a replica showed of the time right after a revision.
#[derive(Clone, Debug)]
pub struct Look {
    pub replica: u64,
    pub revision: Revision,
    pub shown: Shown,
}

#[derive(Clone, Debug)]
pub enum Shown {
    /// The whole state, as its checksum.
    State(u32),
    Key(Bytes, Option<Versioned>),
    /// The changes to a key up to this revision, all of those after an older one.
    Changes {
        key: Bytes,
        revisions: Vec<Revision>,
        after: Revision,
    },
}

/// `agreed` has every change up to the newest look.
pub fn check(agreed: &Agreed, looks: &[Look]) -> Result<(), String> {
    let mut due: Vec<&Look> = looks.iter().collect();
    due.sort_by_key(|look| look.revision);
    let mut due = due.into_iter().peekable();
    let mut stands = BTreeMap::new();
    let (first, rest) = (std::iter::once(None), agreed.all().map(Some));
    for change in first.chain(rest) {
        if let Some(change) = change {
            apply(&mut stands, change)?;
        }
        let revision = change.map_or(0, |change| change.revision);
        while let Some(look) = due.next_if(|look| look.revision <= revision) {
            compare(agreed, &stands, look)?;
        }
    }
    due.next().map_or(Ok(()), |look| Err(format!("{look:?} is of a revision that nobody made")))
}

/// What stood there before is what the change says of it.
fn apply(stands: &mut BTreeMap<Bytes, Versioned>, change: &Change) -> Result<(), String> {
    use raft::Previous;
    let before = stands.get(&change.key).cloned();
    let expected = before.clone().map_or(Previous::Absent, Previous::Was);
    if change.previous != expected {
        return Err(format!("{} comes after {expected:?}", InWords(change)));
    }
    match &change.value {
        Some(value) => {
            let (revision, created) = (change.revision, before.map_or(change.revision, |was| was.created));
            stands.insert(change.key.clone(), Versioned { revision, created, value: value.clone() });
        }
        None => drop(stands.remove(&change.key)),
    }
    Ok(())
}

fn compare(agreed: &Agreed, stands: &BTreeMap<Bytes, Versioned>, look: &Look) -> Result<(), String> {
    let is_true = match &look.shown {
        Shown::State(shown) => *shown == checksum(stands.iter()),
        Shown::Key(key, shown) => shown.as_ref() == stands.get(key),
        Shown::Changes { key, revisions, after } => {
            let made = agreed.all().filter(|change| change.key == *key).map(|change| change.revision);
            let asked = made.skip_while(|made| made <= after).take_while(|made| *made <= look.revision);
            asked.eq(revisions.iter().copied())
        }
    };
    match is_true {
        true => Ok(()),
        false => Err(format!("the changes do not make what was shown: {look:?}")),
    }
}

#[cfg(test)]
mod tests {
    use raft::Previous;

    use super::*;

    fn was(revision: Revision, created: Revision) -> Versioned {
        Versioned { revision, created, value: format!("{revision}").into() }
    }

    /// Of one key: written, written anew, deleted, written.
    fn agreed(previous: [Previous; 4]) -> Agreed {
        let mut agreed = Agreed::default();
        for (n, previous) in previous.into_iter().enumerate() {
            let revision = n as Revision + 1;
            let value = (revision != 3).then(|| format!("{revision}").into());
            let (key, author) = (Bytes::from_static(b"a"), String::new());
            agreed.add(&Change { revision, key, value, previous, author, proposed_at_ms: 0 }).unwrap();
        }
        agreed
    }

    fn sound() -> Agreed {
        agreed([Previous::Absent, Previous::Was(was(1, 1)), Previous::Was(was(2, 1)), Previous::Absent])
    }

    fn look(revision: Revision, shown: Shown) -> Look {
        Look { replica: 1, revision, shown }
    }

    fn key(shown: Option<Versioned>) -> Shown {
        Shown::Key(Bytes::from_static(b"a"), shown)
    }

    fn changes(after: Revision, revisions: &[Revision]) -> Shown {
        Shown::Changes { key: Bytes::from_static(b"a"), revisions: revisions.to_vec(), after }
    }

    #[test]
    fn what_the_changes_make() {
        let state = |objects: &[(Bytes, Versioned)]| checksum(objects.iter().map(|(key, object)| (key, object)));
        let one = [(Bytes::from_static(b"a"), was(2, 1))];
        let looks = [
            look(0, key(None)),
            look(2, key(Some(was(2, 1)))),
            look(2, Shown::State(state(&one))),
            look(3, key(None)),
            look(3, Shown::State(state(&[]))),
            look(4, key(Some(was(4, 4)))),
            look(3, changes(0, &[1, 2, 3])),
            look(4, changes(0, &[1, 2, 3, 4])),
            look(4, changes(2, &[3, 4])),
            look(4, changes(4, &[])),
        ];
        check(&sound(), &looks).unwrap();
    }

    #[test]
    fn every_lie_about_the_past_is_noticed() {
        for bad in [
            look(1, key(None)),
            look(1, key(Some(was(2, 1)))),
            look(4, key(Some(was(4, 1)))),
            look(2, Shown::State(0)),
            look(4, changes(0, &[1, 2, 3])),
            look(4, changes(1, &[2, 4])),
            look(4, changes(0, &[4])),
            look(4, changes(2, &[2, 3, 4])),
            look(3, changes(0, &[1, 2, 3, 4])),
            look(4, changes(3, &[])),
            look(5, key(None)),
        ] {
            assert!(check(&sound(), std::slice::from_ref(&bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_change_that_is_wrong_about_what_stood_there_is_noticed() {
        for wrong in [Previous::Absent, Previous::Forgotten, Previous::Was(was(1, 0))] {
            let agreed = agreed([Previous::Absent, wrong, Previous::Was(was(2, 1)), Previous::Absent]);
            assert!(check(&agreed, &[]).is_err());
        }
    }
}
