//! The one loop behind update, patch, delete and their kin: read, decide, propose on condition, again when somebody
//! was faster. Acts; what becomes of the object is the caller's function.

use api::status::Status;
use bytes::Bytes;
use proto::mutants::{self, Mutant};
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
            let precondition = match mutants::on(Mutant::DoorWritesBlindly) {
                true => Precondition::Any,
                false => Precondition::AtRevision(base.revision),
            };
            let mut ops = vec![Op { key: key.clone(), precondition, action }];
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
                    // Newer than `state`, which has to catch up before it may refuse anything.
                    found = Some(current);
                    confirmed = false;
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

#[cfg(test)]
mod tests {
    use api::kinds;
    use proto::seam::Env;
    use raft::Command;
    use tokio::runtime::Handle;
    use tokio::task::block_in_place;

    use super::*;
    use crate::fixtures::store;

    const OBJECT: &[u8] = br#"{"metadata":{"name":"a"}}"#;
    const CHANGED: &[u8] = br#"{"metadata":{"name":"a","labels":{"b":"c"}}}"#;

    async fn put(store: &raft::Store, key: &[u8], object: &'static [u8]) {
        let action = Action::Put(Bytes::from_static(object));
        let ops = vec![Op { key: Bytes::copy_from_slice(key), precondition: Precondition::Any, action }];
        let command = Command { fence: None, proposed_at_ms: 0, author: "test".into(), ops };
        store.propose(command).await.expect("it is written");
    }

    /// Somebody makes the claim and changes the object while the first decision is on its way.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_state_from_before_a_conflict_refuses_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(dir.path(), Env::real()).await;
        let objects = Objects::new(store.clone(), Env::real());
        let kind = kinds::find("", "v1", "configmaps").expect("the table has ConfigMaps");
        let target = Target::object(kind, "default", "a");
        let key = kind.key("default", "a").encode();
        put(&store, &key, OBJECT).await;

        let (user, mut asked) = (Identity::system("test"), 0);
        let terms = Terms { target: &target, user: &user, grant: &Grant::Full, dry_run: false };
        let modified = objects.modify(terms, |state, _| {
            asked += 1;
            let effect = Effect::Put(OBJECT.to_vec());
            if asked == 1 {
                let meanwhile = async {
                    put(&store, b"claims/test", b"a").await;
                    put(&store, &key, CHANGED).await;
                };
                block_in_place(|| Handle::current().block_on(meanwhile));
            } else if state.get(b"claims/test").is_none() {
                return Err(Status::bad_request("there is no such claim"));
            }
            Ok(Decision { effect, also: Vec::new(), conditional: false })
        });
        let modified = modified.await;
        assert!(matches!(modified, Ok(Modified::Put(_))), "{:?}", modified.err());
        assert_eq!(asked, 3, "a refusal costs a look at a newer state");
        store.shutdown().await;
    }
}
