//! An object as it was, and the changes to it. Acts (reads only).

use std::time::Duration;

use api::Key;
use api::status::Status;
use raft::{Change, Gone, Previous};

use super::answer::{Changed, Changes, Event, Object};
use super::request::{History, Target};
use super::{Objects, failure, scale};
use crate::auth::{Grant, Identity};

const CHANGES: usize = 20;
const CHANGES_MAX: usize = 100;
/// Of values in one answer: it must fit into a message, and a few of them into memory.
const CHANGES_BYTES_MAX: usize = 4 << 20;
/// For a look back, the wait for its turn included. The whole history window is read in less.
pub(super) const LOOK_BACK_DEADLINE: Duration = Duration::from_secs(30);

/// What the store looks back for.
pub(super) async fn in_time<T>(looked: impl Future<Output = T>) -> Result<T, Status> {
    let late = |_| failure::looked_too_long(LOOK_BACK_DEADLINE);
    tokio::time::timeout(LOOK_BACK_DEADLINE, looked).await.map_err(late)
}

/// Who may get an object may get it as it was; but not who may only because of what is so now.
pub(super) async fn get(
    objects: &Objects,
    grant: &Grant,
    target: &Target,
    revision: u64,
    user: &Identity,
) -> Result<Object, Status> {
    full(grant, target, user)?;
    objects.not_older_than(revision).await?;
    let found = in_time(objects.store.key_at(&key(target), revision)).await?;
    let found = found.map_err(|error| failure::past(&error))?;
    let found = found.ok_or_else(|| Status::not_found(target.kind, &target.name))?;
    let object = Object::new(found.value, found.revision);
    match target.subresource.as_str() {
        "scale" => scale::show(&object),
        _ => Ok(object),
    }
}

impl Objects {
    /// What the history window holds of one object, also of one that is no more.
    pub async fn history(&self, request: History) -> Result<Changes, Status> {
        let History { target, limit, user } = request;
        full(&self.authorize("get", &target, &user, None)?, &target, &user)?;
        self.store.barrier().await.map_err(|error| failure::read(&error))?;
        let limit = if limit == 0 { CHANGES } else { limit.min(CHANGES_MAX) };
        let found = in_time(self.store.changes(&key(&target), limit, CHANGES_BYTES_MAX)).await?;
        let found = found.map_err(|untold| failure::untold(&untold))?;
        if found.list.is_empty() && self.store.state().get(&key(&target)).is_none() {
            // It may have been there, where less could be read than is held.
            let asked = self.store.oldest();
            return Err(match asked < found.after {
                true => failure::too_old(&Gone { asked, oldest: found.after }),
                false => Status::not_found(target.kind, &target.name),
            });
        }
        Ok(Changes { changes: found.list.iter().map(|change| changed(change)).collect(), oldest: found.after })
    }
}

fn full(grant: &Grant, target: &Target, user: &Identity) -> Result<(), Status> {
    match grant {
        Grant::Full => Ok(()),
        Grant::Limited(_) => Err(failure::beyond_limit(target, user)),
    }
}

fn key(target: &Target) -> Vec<u8> {
    Key::new(target.kind.group, target.kind.plural, &target.namespace, &target.name).encode()
}

fn changed(change: &Change) -> Changed {
    let revision = change.revision;
    let event = match (&change.value, &change.previous) {
        (Some(value), Previous::Absent) => Event::Added(Object::new(value.clone(), revision)),
        (Some(value), _) => Event::Modified(Object::new(value.clone(), revision)),
        (None, Previous::Was(was)) => Event::Deleted(Object::new(was.value.clone(), revision)),
        (None, _) => Event::Deleted(Object::new("{}", revision)),
    };
    Changed { event, revision, author: change.author.clone(), at_ms: change.proposed_at_ms }
}
