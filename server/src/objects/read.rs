//! Get and list: chooses the state that is new enough, and takes from it what was asked for. Acts (reads only).

use std::time::Duration;

use api::Key;
use api::status::Status;
use proto::mutants::{self, Mutant};
use raft::{HistoryError, State, Versioned};
use serde_json::Value;

use super::answer::{Object, Page};
use super::continuation::Continuation;
use super::request::{Freshness, Get, List, Target};
use super::{Objects, failure, past, scale};
use crate::auth::{Grant, Identity, Limit, Reach, refers_to};

/// A replica that is this far behind says so instead of waiting on.
const CATCH_UP_DEADLINE: Duration = Duration::from_secs(3);
/// A read of any revision ("0") shows every write that was acknowledged so long before it: within this time, one
/// linearizable read of a replica stands for all of these. docs/reads.md says so too.
const STALE_MAX: Duration = Duration::from_secs(10);
/// A list lets other requests run after so many objects.
const LIST_STRIDE: usize = 512;

impl Objects {
    pub async fn get(&self, request: Get) -> Result<Object, Status> {
        let Get { target, freshness, user } = request;
        let grant = self.authorize("get", &target, &user, None)?;
        if let Freshness::Exactly(revision) = freshness {
            return past::get(self, &grant, &target, revision, &user).await;
        }
        let state = self.state(freshness).await?;
        let object = find(&state, &target)?;
        self.check_limit(&grant, &target, &state, &object, &user)?;
        match target.subresource.as_str() {
            "scale" => scale::show(&object),
            _ => Ok(object),
        }
    }

    pub async fn list(&self, request: List) -> Result<Page, Status> {
        let List { target, selection, limit, continue_token, freshness, user } = request;
        self.authorize("list", &target, &user, Some(&selection.fields))?;
        let is_of_the_past = !continue_token.is_empty() || matches!(freshness, Freshness::Exactly(_));
        let prefix = Key::prefix(target.kind.group, target.kind.plural, &target.namespace);
        let (state, after) = match continue_token.as_str() {
            "" => (self.state(freshness).await?, None),
            token => {
                if !matches!(freshness, Freshness::Newest | Freshness::Any) {
                    let why = "specifying resource version is not allowed when using continue";
                    return Err(Status::bad_request(why));
                }
                let Continuation { revision, after } = Continuation::decode(token)?;
                // A replica that was ahead of this one may have told the page before. What none knows was lost by a restore.
                if self.reached(revision).await?.revision() < revision {
                    return Err(failure::continue_expired());
                }
                let state = past::in_time(self.store.state_at(revision)).await?;
                let state = state.map_err(|error| match error {
                    HistoryError::Gone(_) => failure::continue_expired(),
                    HistoryError::Untold(untold) => failure::untold(&untold),
                })?;
                let mut key = prefix.clone();
                key.extend_from_slice(after.as_bytes());
                (state, Some(key))
            }
        };
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut page = Page { revision: state.revision(), ..Page::default() };
        let present = is_of_the_past.then(|| self.store.state());
        let mut own_bytes = 0;
        let mut last: Option<Vec<u8>> = None;
        let mut visited = 0usize;
        for (key, versioned) in state.range(&prefix, after.as_deref()) {
            visited += 1;
            if visited.is_multiple_of(LIST_STRIDE) {
                tokio::task::yield_now().await;
            }
            if !selection.matches(target.kind, key, &versioned.value) {
                continue;
            }
            if page.items.len() == limit {
                let told = last.as_deref().unwrap_or_default();
                let after = String::from_utf8_lossy(told.get(prefix.len()..).unwrap_or_default()).into_owned();
                page.continue_token = Continuation { revision: page.revision, after }.encode();
                break;
            }
            if present.as_ref().is_some_and(|present| !shares(present, key, versioned)) {
                own_bytes += versioned.value.len();
            }
            page.items.push(Object::new(versioned.value.clone(), versioned.revision));
            if page.items.len() == limit {
                last = Some(key.to_vec());
            }
        }
        if !page.continue_token.is_empty() && selection.is_everything() {
            page.remaining = Some(state.range(&prefix, last.as_deref()).count() as u64);
        }
        page.lent = self.room.lend(own_bytes)?;
        Ok(page)
    }

    /// The state to answer from.
    pub(super) async fn state(&self, freshness: Freshness) -> Result<State, Status> {
        let confirmed = match freshness {
            Freshness::Any => self.store.barrier_within(STALE_MAX).await,
            Freshness::Newest if mutants::on(Mutant::DoorReadsUnconfirmed) => Ok(()),
            Freshness::Newest => self.store.barrier().await,
            Freshness::NotOlderThan(revision) => return self.not_older_than(revision).await,
            Freshness::Exactly(revision) => {
                self.not_older_than(revision).await?;
                let state = past::in_time(self.store.state_at(revision)).await?;
                return state.map_err(|error| failure::past(&error));
            }
        };
        confirmed.map_err(|error| failure::read(&error))?;
        Ok(self.store.state())
    }

    pub(super) async fn not_older_than(&self, revision: u64) -> Result<State, Status> {
        let state = self.reached(revision).await?;
        match state.revision() >= revision {
            true => Ok(state),
            false => Err(Status::version_too_large(revision, state.revision())),
        }
    }

    /// The state at this revision or a later one; at an earlier one only where that is all there is. A replica that no leader
    /// confirms cannot know that: it answers 503, and clients go on at another one.
    async fn reached(&self, revision: u64) -> Result<State, Status> {
        let now = self.store.trusted().map_err(|error| failure::read(&error))?;
        if now.revision() >= revision {
            return Ok(now);
        }
        // A replica that knows all there is need not wait for what nobody has written.
        let all_there_is = async {
            if self.store.barrier().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let reached = tokio::select! {
            caught_up = self.store.caught_up(revision, CATCH_UP_DEADLINE) => caught_up,
            () = all_there_is => self.store.trusted(),
        };
        reached.map_err(|error| failure::read(&error))
    }

    /// A permission that ends at a node must reach this object.
    pub(super) fn check_limit(
        &self,
        grant: &Grant,
        target: &Target,
        state: &State,
        object: &Object,
        user: &Identity,
    ) -> Result<(), Status> {
        let Grant::Limited(limit) = grant else { return Ok(()) };
        let reached = match limit.reach {
            Reach::ReferredTo => is_referred_to(limit, target, state),
            _ => serde_json::from_slice::<Value>(&object.stored).is_ok_and(|object| limit.covers(&object)),
        };
        if reached { Ok(()) } else { Err(failure::beyond_limit(target, user)) }
    }
}

/// The object as this state has it; 404 when it does not.
pub(super) fn find(state: &State, target: &Target) -> Result<Object, Status> {
    let kind = target.kind;
    let key = Key::new(kind.group, kind.plural, &target.namespace, &target.name).encode();
    match state.get(&key) {
        Some(versioned) => Ok(Object::new(versioned.value.clone(), versioned.revision)),
        None => Err(Status::not_found(kind, &target.name)),
    }
}

/// Whether the present has the object as it was, and so in memory anyway.
fn shares(present: &State, key: &[u8], was: &Versioned) -> bool {
    present.get(key).is_some_and(|now| now.revision == was.revision)
}

fn is_referred_to(limit: &Limit, target: &Target, state: &State) -> bool {
    let prefix = Key::prefix("", "pods", &target.namespace);
    state.range(&prefix, None).any(|(_, versioned)| {
        serde_json::from_slice::<Value>(&versioned.value).is_ok_and(|pod| {
            pod["spec"]["nodeName"] == *limit.node && refers_to(&pod, target.kind.plural, &target.name)
        })
    })
}
