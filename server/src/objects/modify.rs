//! The one loop behind update, patch, delete and their kin: read, decide, propose on condition, again when somebody
//! was faster. Acts; what becomes of the object is the caller's function.

use api::status::Status;
use bytes::Bytes;
use raft::{Action, Op, Precondition, State};

use super::answer::Object;
use super::read::find;
use super::request::Target;
use super::{Objects, Proposed};
use crate::auth::{Grant, Identity};

/// Somebody else was faster so many times in a row: the client is told.
const ATTEMPTS_MAX: usize = 16;

/// What is to become of an object.
pub(super) struct Decision {
    pub effect: Effect,
    /// Written together with the object: claims taken and released.
    pub also: Vec<Op>,
    /// The caller insisted on the state it saw: losing a race is then a conflict, and no reason to try again.
    pub conditional: bool,
}

pub(super) enum Effect {
    Put(Vec<u8>),
    Remove,
    Unchanged,
}

/// What became of it.
pub(super) enum Modified {
    Put(Object),
    Removed(Object),
    Unchanged(Object),
}

impl Modified {
    pub fn into_object(self) -> Object {
        match self {
            Modified::Put(object) | Modified::Removed(object) | Modified::Unchanged(object) => object,
        }
    }
}

/// Whose the change is, and whether it is only tried.
pub(super) struct Terms<'a> {
    pub target: &'a Target,
    pub user: &'a Identity,
    pub grant: &'a Grant,
    pub dry_run: bool,
}

impl Objects {
    /// Decides on this replica's state first, which may be a little old: the precondition of the proposal holds the
    /// truth. Only refusals and empty changes, which propose nothing, need a state that is known to be the newest.
    pub(super) async fn modify(
        &self,
        terms: Terms<'_>,
        mut decide: impl FnMut(&State, &Object) -> Result<Decision, Status>,
    ) -> Result<Modified, Status> {
        let Terms { target, user, grant, dry_run } = terms;
        let key = Bytes::from(target.kind.key(&target.namespace, &target.name).encode());
        let mut state = self.store.state();
        let mut confirmed = false;
        let mut found: Option<Object> = None;
        for _ in 0..ATTEMPTS_MAX {
            let base = found.take().map_or_else(|| find(&state, target), Ok);
            let decided = base.and_then(|base| {
                self.check_limit(grant, target, &state, &base, user)?;
                Ok((decide(&state, &base)?, base))
            });
            let proposes = matches!(&decided, Ok((decision, _)) if !matches!(decision.effect, Effect::Unchanged));
            if !confirmed && (!proposes || dry_run) {
                self.store.barrier().await.map_err(|error| super::failure::read(&error))?;
                state = self.store.state();
                confirmed = true;
                continue;
            }
            let (decision, base) = decided?;
            let (action, done): (Action, fn(Object) -> Modified) = match decision.effect {
                Effect::Unchanged => return Ok(Modified::Unchanged(base)),
                Effect::Put(bytes) => (Action::Put(bytes.into()), Modified::Put),
                Effect::Remove => (Action::Delete, Modified::Removed),
            };
            let after = match &action {
                Action::Put(bytes) => bytes.clone(),
                _ => base.stored.clone(),
            };
            if dry_run {
                return Ok(done(Object::new(after, base.revision)));
            }
            let mut ops = vec![Op { key: key.clone(), precondition: Precondition::AtRevision(base.revision), action }];
            ops.extend(decision.also);
            match self.propose(user, ops).await? {
                Proposed::Applied(revisions) => {
                    let revision = revisions.first().copied().unwrap_or_default();
                    return Ok(done(Object::new(after, revision)));
                }
                Proposed::Conflict { key: at, current } if at == key => {
                    let Some(current) = current else { return Err(Status::not_found(target.kind, &target.name)) };
                    if decision.conditional {
                        return Err(Status::stale(target.kind, &target.name));
                    }
                    // The state that refused is newer than every write acknowledged before this request.
                    found = Some(current);
                    confirmed = true;
                }
                // A claim was taken by another object: decide again, on a state that knows.
                Proposed::Conflict { .. } => {
                    self.store.barrier().await.map_err(|error| super::failure::read(&error))?;
                    state = self.store.state();
                    confirmed = true;
                }
            }
        }
        Err(Status::stale(target.kind, &target.name))
    }
}
