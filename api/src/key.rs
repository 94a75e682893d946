//! Where an object stands in the store. Pure.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use crate::kinds;

/// Names one object: `<group>/<plural>/<namespace>/<name>`, with "core" for the core group and an empty
/// namespace for cluster-scoped kinds. No part contains a slash, so the order of keys is the order of
/// (group, plural, namespace, name).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// "" is the core group.
    pub group: Cow<'static, str>,
    /// The plural: "pods".
    pub resource: Cow<'static, str>,
    /// "" for cluster-scoped kinds.
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(group: &str, resource: &str, namespace: &str, name: &str) -> Key {
        // Kinds that are known share their words, which makes most comparisons short.
        let (group, resource) = match kinds::find_resource(group, resource) {
            Some(kind) => (kind.group.into(), kind.plural.into()),
            None => (group.to_owned().into(), resource.to_owned().into()),
        };
        Key { group, resource, namespace: namespace.into(), name: name.into() }
    }

    /// Group and plural.
    pub fn kind(&self) -> (&str, &str) {
        (&self.group, &self.resource)
    }

    pub fn encode(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    /// `None` for keys that are no objects (such as claims).
    pub fn decode(bytes: &[u8]) -> Option<Key> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut parts = text.split('/');
        let (group, resource, namespace, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || group == CLAIMS {
            return None;
        }
        Some(Key::new(if group == "core" { "" } else { group }, resource, namespace, name))
    }

    /// The prefix of all objects of a kind, in one namespace or (with "") in all.
    pub fn prefix(group: &str, resource: &str, namespace: &str) -> Vec<u8> {
        let group = if group.is_empty() { "core" } else { group };
        match namespace {
            "" => format!("{group}/{resource}/"),
            _ => format!("{group}/{resource}/{namespace}/"),
        }
        .into_bytes()
    }
}

impl Ord for Key {
    /// A large part of what the leader does: its view is ordered by keys, most of them of one kind.
    fn cmp(&self, other: &Key) -> Ordering {
        word(&self.group, &other.group)
            .then_with(|| word(&self.resource, &other.resource))
            .then_with(|| self.namespace.cmp(&other.namespace))
            .then_with(|| self.name.cmp(&other.name))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn word(one: &str, other: &str) -> Ordering {
    if std::ptr::eq(one, other) { Ordering::Equal } else { one.cmp(other) }
}

/// Keys under this group are claims: names taken by an object (a service IP, a node port), put with
/// `Absent` in the same command as the object, so that nothing can be allocated twice.
pub const CLAIMS: &str = "claims";

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = if self.group.is_empty() { "core" } else { &self.group };
        write!(f, "{group}/{}/{}/{}", self.resource, self.namespace, self.name)
    }
}
