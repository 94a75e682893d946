//! What the objects answer. Plain data: the JSON that goes over the wire is spliced together as late as possible.

use api::object;
use api::status::Status;
use bytes::Bytes;

use super::room::Lent;

/// The annotation of a bookmark that ends what was there at first.
pub const INITIAL_END: &str = "k8s.io/initial-events-end";

/// One object at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// JSON as it is stored: without `metadata.resourceVersion`.
    pub stored: Bytes,
    /// The revision of its last change; 0 for what a dry run would have made.
    pub revision: u64,
}

impl Object {
    pub fn new(stored: impl Into<Bytes>, revision: u64) -> Object {
        Object { stored: stored.into(), revision }
    }

    /// As clients see it: with `metadata.resourceVersion`, except after a dry run that would have made it.
    pub fn json(&self) -> Bytes {
        match self.revision {
            0 => self.stored.clone(),
            revision => object::with_revision(&self.stored, revision).into(),
        }
    }

    /// As [`Object::json`], appended: for lists.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self.revision {
            0 => out.extend_from_slice(&self.stored),
            revision => object::write_with_revision(out, &self.stored, revision),
        }
    }
}

/// What a write answers.
#[derive(Clone, Debug)]
pub struct Written {
    pub object: Object,
    /// For `Warning` headers: unknown fields, deprecations.
    pub warnings: Vec<String>,
}

/// A page of a list.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The list's own `resourceVersion`.
    pub revision: u64,
    pub items: Vec<Object>,
    /// "" on the last page.
    pub continue_token: String,
    /// How many follow. Unknown with selectors, and on the last page.
    pub remaining: Option<u64>,
    /// For the items that the store itself no longer has in memory.
    pub(crate) lent: Lent,
}

/// What is left of a deleted object.
#[derive(Clone, Debug)]
pub enum Deleted {
    /// It is marked: finalizers or a grace period hold it.
    Marked(Object),
    /// It is gone; this is how it looked last.
    Removed(Object),
}

/// The changes to one object, oldest first.
#[derive(Clone, Debug)]
pub struct Changes {
    pub changes: Vec<Changed>,
    /// Those after this revision are all there; older ones are forgotten, not readable, or more than were asked for.
    pub oldest: u64,
}

#[derive(Clone, Debug)]
pub struct Changed {
    pub event: Event,
    pub revision: u64,
    pub author: String,
    pub at_ms: u64,
}

/// One line of a watch.
#[derive(Clone, Debug)]
pub enum Event {
    Added(Object),
    Modified(Object),
    /// The last state, with the revision of the deletion.
    Deleted(Object),
    /// Nothing else happened up to this revision.
    Bookmark {
        revision: u64,
        initial_end: bool,
    },
    /// The watch ends here.
    Error(Box<Status>),
}
