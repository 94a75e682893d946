//! An immutable view of all keys at one revision. Decides nothing.

use std::ops::Bound;

use bytes::Bytes;
use imbl::OrdMap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::command::{Revision, Versioned};

/// XXH3 has a fixed definition, so replicas of different versions agree on it.
fn digest(key: &[u8], object: &Versioned) -> u64 {
    let named = xxh3_64_with_seed(key, object.revision);
    xxh3_64_with_seed(&object.value, named.wrapping_add(object.created.rotate_left(32)))
}

/// An object, with its digest at hand for when it goes.
#[derive(Clone, Debug)]
struct Held {
    object: Versioned,
    digest: u64,
}

impl Held {
    fn new(key: &[u8], object: Versioned) -> Held {
        let digest = digest(key, &object);
        Held { object, digest }
    }
}

/// Cheap to clone: clones share their parts.
#[derive(Clone, Debug, Default)]
pub struct State {
    objects: OrdMap<Bytes, Held>,
    revision: Revision,
    /// Of the objects' digests, wrapping: the same for the same objects, however they came about.
    sum: u64,
}

impl State {
    /// A new value under a key as of a revision. What stood there.
    pub(crate) fn put(&mut self, key: &Bytes, value: Bytes, revision: Revision) -> Option<Versioned> {
        let Some(held) = self.objects.get_mut(key) else {
            return self.insert(key.clone(), Versioned { revision, created: revision, value });
        };
        let object = Versioned { revision, created: held.object.created, value };
        let was = std::mem::replace(held, Held::new(key, object));
        self.sum = self.sum.wrapping_add(held.digest).wrapping_sub(was.digest);
        Some(was.object)
    }

    pub(crate) fn insert(&mut self, key: Bytes, object: Versioned) -> Option<Versioned> {
        let held = Held::new(&key, object);
        self.sum = self.sum.wrapping_add(held.digest);
        let was = self.objects.insert(key, held)?;
        self.sum = self.sum.wrapping_sub(was.digest);
        Some(was.object)
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<Versioned> {
        let was = self.objects.remove(key)?;
        self.sum = self.sum.wrapping_sub(was.digest);
        Some(was.object)
    }

    pub(crate) fn set_revision(&mut self, revision: Revision) {
        self.revision = revision;
    }

    /// All of them, in order.
    pub(crate) fn objects(&self) -> impl ExactSizeIterator<Item = (&Bytes, &Versioned)> {
        self.objects.iter().map(|(key, held)| (key, &held.object))
    }

    /// Equal on replicas whose objects and revision are equal. The same in every version and on every machine.
    pub fn digest(&self) -> u64 {
        xxh3_64_with_seed(&self.sum.to_le_bytes(), self.revision)
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }

    pub fn get(&self, key: &[u8]) -> Option<&Versioned> {
        self.objects.get(key).map(|held| &held.object)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Keys that begin with `prefix` and sort after `after` (exclusive), in order.
    pub fn range<'a>(
        &'a self,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> Box<dyn Iterator<Item = (&'a Bytes, &'a Versioned)> + Send + 'a> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let within = self.objects.range::<_, [u8]>((from, Bound::Unbounded));
        let prefix = prefix.to_vec();
        let held = within.take_while(move |(key, _)| key.starts_with(&prefix));
        Box::new(held.map(|(key, held)| (key, &held.object)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Action, Command, Op, Precondition};
    use crate::machine::apply::apply;

    fn keys(state: &State, prefix: &str, after: Option<&str>) -> Vec<String> {
        let range = state.range(prefix.as_bytes(), after.map(str::as_bytes));
        range.map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect()
    }

    #[test]
    fn a_range_holds_the_prefix_and_resumes_after_a_key() {
        let one = Versioned { revision: 1, created: 1, value: Bytes::new() };
        let objects = ["a/1", "a/2", "a/3", "b/1"].map(|key| (Bytes::from_static(key.as_bytes()), one.clone()));
        let mut state = State::default();
        objects.into_iter().for_each(|(key, object)| drop(state.insert(key, object)));
        assert_eq!(keys(&state, "a/", None), ["a/1", "a/2", "a/3"]);
        assert_eq!(keys(&state, "a/", Some("a/1")), ["a/2", "a/3"]);
        assert_eq!(keys(&state, "a/", Some("a/25")), ["a/3"], "a key in between need not exist");
        assert_eq!(keys(&state, "b/", Some("a/9")), ["b/1"], "a position before the prefix means its beginning");
        assert!(keys(&state, "a/", Some("b/1")).is_empty(), "a position behind the prefix means its end");
        assert_eq!(keys(&state, "", None).len(), 4);
    }

    #[test]
    fn the_digest_tells_states_apart_and_forgets_the_way() {
        let object = |revision, created, value: &'static str| Versioned { revision, created, value: value.into() };
        let of = |objects: &[(&'static str, Versioned)]| {
            let mut state = State::default();
            for (key, object) in objects {
                state.insert(Bytes::from_static(key.as_bytes()), object.clone());
            }
            state
        };
        let (a, b) = (("a", object(1, 1, "x")), ("b", object(2, 2, "y")));
        let both = of(&[a.clone(), b.clone()]);
        assert_eq!(of(&[b.clone(), a.clone()]).digest(), both.digest(), "the order does not count");
        let mut detour = of(&[("c", object(1, 1, "z")), ("a", object(3, 1, "other")), b.clone(), a.clone()]);
        detour.remove(b"c");
        assert_eq!(detour.digest(), both.digest());
        for other in [
            of(&[a.clone(), ("b", object(2, 2, "z"))]),
            of(&[a.clone(), ("b", object(2, 1, "y"))]),
            of(&[a.clone(), ("b", object(3, 2, "y"))]),
            of(&[a.clone(), ("c", object(2, 2, "y"))]),
            of(&[("a", b.1.clone()), ("b", a.1.clone())]),
            of(&[a]),
        ] {
            assert_ne!(other.digest(), both.digest());
        }
        let mut later = both.clone();
        later.set_revision(9);
        assert_ne!(later.digest(), both.digest(), "the revision counts");
    }

    /// One of two equal states is given a sum, and digests of objects that no command is about, which nothing in it tells. Whatever
    /// looked at more than a command changes would find that, and put it right.
    #[test]
    fn what_a_command_costs_the_digest_is_what_it_changes_however_large_the_state_is() {
        const OBJECTS: u64 = 20_000;
        const UNTOLD: u64 = 0x5eed;
        let name = |n: u64| Bytes::from(format!("key-{n}"));
        let mut state = State::default();
        for n in 1..=OBJECTS {
            state.insert(name(n), Versioned { revision: n, created: n, value: Bytes::from_static(b"x") });
        }
        state.set_revision(OBJECTS);
        let mut other = state.clone();
        other.sum = other.sum.wrapping_add(UNTOLD);
        for n in 10..=OBJECTS {
            let held = other.objects.get_mut(&name(n)).unwrap();
            held.digest = held.digest.wrapping_add(n);
        }
        let op = |key: &str, action| Op { key: key.to_owned().into(), precondition: Precondition::Any, action };
        let put = |key| op(key, Action::Put(Bytes::from_static(b"y")));
        for ops in [
            vec![put("key-1")],
            vec![put("new")],
            vec![op("key-2", Action::Delete)],
            vec![op("key-3", Action::Check)],
            vec![put("key-4"), op("key-5", Action::Delete), put("key-5"), put("key-4"), op("absent", Action::Delete)],
        ] {
            let command = Command { fence: None, proposed_at_ms: 1, author: "test".into(), ops };
            apply(&mut state, 1, command.clone());
            apply(&mut other, 1, command);
            assert_eq!(other.sum.wrapping_sub(state.sum), UNTOLD);
            assert_eq!(other.digest(), xxh3_64_with_seed(&other.sum.to_le_bytes(), other.revision));
        }
        let mut anew = State::default();
        state.objects().for_each(|(key, object)| drop(anew.insert(key.clone(), object.clone())));
        assert_eq!(anew.sum, state.sum, "and it is right");
    }
}
