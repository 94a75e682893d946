//! What may be asked of the objects, whichever door it came through. Plain data.

use std::fmt;
use std::time::Duration;

pub use api::deletion::{Options as DeleteOptions, Propagation};
pub use api::field_validation::Directive as FieldValidation;
use api::kinds::Kind;
pub use api::patch::PatchType;
use api::selector::{FieldSelector, LabelSelector};
pub use api::yaml::Format;
use bytes::Bytes;

use crate::auth::Identity;

/// A kind's collection, or with a name one object of it, or a part of that object.
#[derive(Clone)]
pub struct Target {
    pub kind: &'static Kind,
    /// "" for cluster-scoped kinds, and for all namespaces of a list, a watch or a deletion of a collection.
    pub namespace: String,
    /// "" for a collection.
    pub name: String,
    /// "status", "scale", "binding", "eviction", or "" for the object itself.
    pub subresource: String,
}

impl Target {
    pub fn collection(kind: &'static Kind, namespace: &str) -> Target {
        Target { kind, namespace: namespace.into(), name: String::new(), subresource: String::new() }
    }

    pub fn object(kind: &'static Kind, namespace: &str, name: &str) -> Target {
        Target { name: name.into(), ..Target::collection(kind, namespace) }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { kind, namespace, name, subresource } = self;
        write!(f, "{}/{namespace}/{name}/{subresource}", kind.plural)
    }
}

/// How new a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// Linearizable: sees every write acknowledged before the request ("" in the protocol).
    #[default]
    Newest,
    /// Cheaper: what this replica has, but a little old at most ("0").
    Any,
    NotOlderThan(u64),
    /// As it stood right after this revision (REST: lists only, `resourceVersionMatch=Exact`).
    Exactly(u64),
}

#[derive(Clone, Debug)]
pub struct Get {
    pub target: Target,
    pub freshness: Freshness,
    pub user: Identity,
}

#[derive(Clone, Debug)]
pub struct History {
    pub target: Target,
    /// At most so many changes; 0: as many as a person wants to see.
    pub limit: usize,
    pub user: Identity,
}

/// Which objects of a collection are meant.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub labels: LabelSelector,
    pub fields: FieldSelector,
}

impl Selection {
    /// Reads the two selectors as a request gives them; "" selects everything. 400 for what cannot be understood.
    pub fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Selection, api::status::Status> {
        let refuse = |error: api::selector::Error| api::status::Status::bad_request(error.to_string());
        Ok(Selection {
            labels: LabelSelector::parse(labels).map_err(refuse)?,
            fields: FieldSelector::parse_for(kind.group, kind.plural, fields).map_err(refuse)?,
        })
    }
}

#[derive(Clone, Debug)]
pub struct List {
    pub target: Target,
    pub selection: Selection,
    /// At most so many; 0: all.
    pub limit: usize,
    /// The token of the page before; "" for the first page.
    pub continue_token: String,
    pub freshness: Freshness,
    pub user: Identity,
}

/// From where a watch tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchStart {
    /// What is there first, as ADDED, then the changes ("" is linearizable, "0" may be a little old).
    Present(Freshness),
    /// Only what changes after this revision.
    After(u64),
    /// Only what changes from now on.
    Now,
}

#[derive(Clone, Debug)]
pub struct Watch {
    pub target: Target,
    pub selection: Selection,
    pub start: WatchStart,
    pub bookmarks: bool,
    /// Marks the end of what was there at first with a bookmark (`sendInitialEvents=true`, `initial_end` over gRPC).
    pub initial_end: bool,
    /// The watch ends by itself after this long, or after a day.
    pub timeout: Option<Duration>,
    pub user: Identity,
}

#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub field_manager: String,
    pub field_validation: FieldValidation,
}

#[derive(Clone, Debug)]
pub struct Body {
    pub format: Format,
    pub bytes: Bytes,
}

impl Body {
    pub fn json(bytes: impl Into<Bytes>) -> Body {
        Body { format: Format::Json, bytes: bytes.into() }
    }
}

/// A new object, or with the subresources "binding" and "eviction" what is to happen to the named Pod.
#[derive(Clone, Debug)]
pub struct Create {
    pub target: Target,
    pub body: Body,
    pub options: WriteOptions,
    pub user: Identity,
}

/// Replaces an object. A `metadata.resourceVersion` or `metadata.uid` in the body is a precondition.
#[derive(Clone, Debug)]
pub struct Update {
    pub target: Target,
    pub body: Body,
    pub options: WriteOptions,
    pub user: Identity,
}

#[derive(Clone, Debug)]
pub struct Patch {
    pub target: Target,
    pub patch_type: PatchType,
    pub body: Body,
    pub options: WriteOptions,
    pub user: Identity,
}

#[derive(Clone, Debug)]
pub struct Delete {
    pub target: Target,
    pub options: DeleteOptions,
    pub user: Identity,
}

#[derive(Clone, Debug)]
pub struct DeleteCollection {
    pub target: Target,
    pub selection: Selection,
    pub options: DeleteOptions,
    pub user: Identity,
}
