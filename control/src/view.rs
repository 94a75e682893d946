//! The typed state that controllers plan from, kept current change by change. Pure, decides nothing.
//!
//! - [`entry`]: one object as controllers see it;
//! - [`index`]: who owns what, and which pod is where;
//! - [`queries`]: what controllers ask.

mod entry;
mod index;
mod queries;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::Key;
use jiff::Timestamp;

pub use entry::{Change, Entry, Object};
use index::Index;

/// All objects at one revision, with the indexes that controllers need. Every iterator is in the order of keys.
#[derive(Debug)]
pub struct View {
    /// The newest revision that was taken in.
    pub revision: u64,
    /// Set by the driver before each plan; plans read no clock.
    pub now: Timestamp,
    /// What the sessions know of each node; never stored.
    pub liveness: BTreeMap<String, Liveness>,
    entries: BTreeMap<Arc<Key>, Entry>,
    index: Index,
}

/// What the replica that leads has heard of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Liveness {
    /// Since the last heartbeat, on a clock that makes no steps, as of when the driver looked. [`View::now`] may have
    /// made one since then, so the two are not to be compared.
    pub silent_for: Duration,
    pub engine_ready: bool,
    pub engine_message: String,
}

impl Default for View {
    fn default() -> View {
        View::new()
    }
}

impl View {
    /// Nothing, at revision 0 and the Unix epoch.
    pub fn new() -> View {
        View {
            revision: 0,
            now: Timestamp::UNIX_EPOCH,
            liveness: BTreeMap::new(),
            entries: BTreeMap::new(),
            index: Index::default(),
        }
    }

    /// Takes one stored object in (`None`: it is gone at `revision`). A value that does not parse as its kind is
    /// kept as [`Object::Other`], with whatever of its metadata can be read. `None` when this is no news: an older
    /// revision than what is known, or the deletion of something unknown.
    pub fn take_in(&mut self, key: &Key, revision: u64, value: Option<&[u8]>) -> Option<Change> {
        let known = self.entries.get(key);
        if known.is_some_and(|entry| entry.revision > revision || entry.revision == revision && value.is_some()) {
            return None;
        }
        self.revision = self.revision.max(revision);
        let before = known.cloned();
        if let Some(entry) = &before {
            self.index.remove(entry);
            self.entries.remove(key);
        }
        let after = value.map(|value| {
            let shared = before.as_ref().map_or_else(|| Arc::new(key.clone()), |entry| entry.key.clone());
            Entry::parse(shared, revision, value)
        });
        if let Some(entry) = &after {
            self.index.add(entry);
            self.entries.insert(entry.key.clone(), entry.clone());
        }
        (before.is_some() || after.is_some()).then(|| Change { key: key.clone(), before, after })
    }

    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests;
