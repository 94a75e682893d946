//! The verbs over objects of any kind, for REST and gRPC alike: authorize, admit, propose. Acts; what an object may
//! be is `api`'s to decide.

pub mod answer;
mod body;
mod continuation;
mod create;
mod delete;
mod failure;
mod modify;
pub(crate) mod offer;
mod past;
mod read;
pub mod request;
mod review;
pub mod room;
mod scale;
mod select;
mod services;
mod subresources;
mod update;
mod watch;

use api::selector::FieldSelector;
use api::status::{Resource, Status};
use jiff::Timestamp;
use proto::seam::Env;
use raft::{Command, Op, Outcome, Store};

pub use answer::{Changes, Deleted, Event, Object, Page, Written};
pub use request::{
    Body, Create, Delete, DeleteCollection, FieldValidation, Freshness, Get, History, List, Patch, Selection, Target,
    Update, Watch, WatchStart, WriteOptions,
};
pub use review::{Review, review};
pub use watch::Events;

use crate::auth::{self, Attributes, Grant, Identity};
use room::Room;

/// Cheap to clone.
#[derive(Clone)]
pub struct Objects {
    store: Store,
    env: Env,
    room: Room,
}

impl Objects {
    pub fn new(store: Store, env: Env) -> Objects {
        Objects::with_room(store, env, room::BYTES_MAX)
    }

    /// As [`Objects::new`], where lists of the past may hold so many bytes together.
    pub fn with_room(store: Store, env: Env, bytes_max: u32) -> Objects {
        Objects { store, env, room: Room::new("the lists of the past that are being answered", bytes_max) }
    }

    fn now(&self) -> Timestamp {
        now(&self.env)
    }

    /// For doors that do something else with an object than the verbs here, such as reading its logs.
    pub fn may(&self, verb: &str, target: &Target, user: &Identity) -> Result<(), Status> {
        match self.authorize(verb, target, user, None)? {
            Grant::Full => Ok(()),
            Grant::Limited(_) => Err(failure::beyond_limit(target, user)),
        }
    }

    /// 401 or 403 for who may not; 405 for verbs that the kind does not have.
    fn authorize(
        &self,
        verb: &str,
        target: &Target,
        user: &Identity,
        fields: Option<&FieldSelector>,
    ) -> Result<Grant, Status> {
        let Target { namespace, name, subresource, .. } = target;
        let kind = target.kind;
        let resource = Resource { group: kind.group, plural: kind.plural };
        let attributes = Attributes { verb, resource, subresource, namespace, name, fields };
        let grant = auth::authorize(user, &attributes)?;
        // A slash would reach into another namespace's or kind's keys.
        if namespace.contains('/') || name.contains('/') {
            return Err(Status::not_found(kind, name));
        }
        let verbs = match subresource.as_str() {
            "" => kind.verbs,
            part => match kind.subresources.iter().find(|known| known.name() == part) {
                Some(known) => known.verbs(),
                None => return Err(Status::no_such_path()),
            },
        };
        if !verbs.contains(&verb) {
            return Err(Status::method_not_allowed(kind, verb));
        }
        Ok(grant)
    }

    /// All ops take effect, or none; a conflict is an answer.
    async fn propose(&self, user: &Identity, ops: Vec<Op>) -> Result<Proposed, Status> {
        let author = user.user().to_owned();
        let command = Command { fence: None, proposed_at_ms: self.env.clock.now_ms(), author, ops };
        match self.store.propose(command).await {
            Ok(Outcome::Applied { revisions }) => Ok(Proposed::Applied(revisions)),
            Ok(Outcome::Conflict { key, current }) => {
                Ok(Proposed::Conflict { key, current: current.map(|found| Object::new(found.value, found.revision)) })
            }
            Ok(Outcome::Fenced { .. }) => Err(Status::internal("a command without a fence was fenced")),
            Err(error) => Err(failure::propose(&error)),
        }
    }
}

/// The wall clock, as objects carry it.
pub fn now(env: &Env) -> Timestamp {
    Timestamp::from_millisecond(env.clock.now_ms() as i64).unwrap_or(Timestamp::UNIX_EPOCH)
}

enum Proposed {
    /// The revision of each op.
    Applied(Vec<u64>),
    Conflict {
        key: bytes::Bytes,
        current: Option<Object>,
    },
}
