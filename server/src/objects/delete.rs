//! Delete and its plural. Acts; what deleting means for an object is `api::deletion`'s to decide.

use api::Key;
use api::deletion::{self, Deletion};
use api::status::Status;
use futures::StreamExt as _;

use super::answer::{Deleted, Object};
use super::modify::{Decision, Effect, Modified, Terms};
use super::request::{Delete, DeleteCollection, Target};
use super::{Objects, services};
use crate::auth::{Grant, Identity};

/// Objects of a collection that are deleted at the same time: enough to fill the log's batches.
const CONCURRENT_DELETIONS_MAX: usize = 32;

impl Objects {
    pub async fn delete(&self, request: Delete) -> Result<Deleted, Status> {
        let Delete { target, options, user } = request;
        let grant = self.authorize("delete", &target, &user, None)?;
        self.delete_as(&target, &options, &user, &grant).await
    }

    /// Deletes what is there now and selected; answers it. Objects that go away meanwhile are no failure.
    pub async fn delete_collection(&self, request: DeleteCollection) -> Result<Vec<Object>, Status> {
        let DeleteCollection { target, selection, options, user } = request;
        let grant = self.authorize("deletecollection", &target, &user, Some(&selection.fields))?;
        let state = self.newest().await?;
        let prefix = Key::prefix(target.kind.group, target.kind.plural, &target.namespace);
        let selected =
            state.range(&prefix, None).filter(|(key, found)| selection.matches(target.kind, key, &found.value));
        let targets: Vec<Target> = selected
            .filter_map(|(key, _)| Key::decode(key))
            .map(|key| Target { namespace: key.namespace, name: key.name, ..target.clone() })
            .collect();
        drop(state);
        let deletions = targets.into_iter().map(|target| {
            let (options, user, grant) = (&options, &user, &grant);
            async move { self.delete_as(&target, options, user, grant).await }
        });
        let outcomes: Vec<_> = futures::stream::iter(deletions).buffered(CONCURRENT_DELETIONS_MAX).collect().await;
        let mut deleted = Vec::new();
        for outcome in outcomes {
            match outcome {
                Ok(Deleted::Marked(object) | Deleted::Removed(object)) => deleted.push(object),
                Err(status) if status.code == 404 => {}
                Err(status) => return Err(status),
            }
        }
        Ok(deleted)
    }

    /// For callers that may, such as evictions.
    pub(super) async fn delete_as(
        &self,
        target: &Target,
        options: &deletion::Options,
        user: &Identity,
        grant: &Grant,
    ) -> Result<Deleted, Status> {
        let terms = Terms { target, user, grant, dry_run: options.dry_run };
        let modified = self.modify(terms, |_, base| {
            let decided = deletion::delete(target.kind, &base.stored, base.revision, options, self.now())?;
            let (effect, also) = match decided {
                Deletion::Remove => (Effect::Remove, services::released(target.kind, &base.stored)),
                Deletion::Mark(bytes) => (Effect::Put(bytes), Vec::new()),
                Deletion::Unchanged => (Effect::Unchanged, Vec::new()),
            };
            // The preconditions are looked at again on every newer state.
            Ok(Decision { effect, also, conditional: false })
        });
        Ok(match modified.await? {
            Modified::Removed(object) => Deleted::Removed(object),
            Modified::Put(object) | Modified::Unchanged(object) => Deleted::Marked(object),
        })
    }
}
