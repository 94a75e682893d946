//! Get and list: chooses the state that is new enough, and takes from it what was asked for. Acts (reads only).

use std::time::Duration;

use api::Key;
use api::status::Status;
use raft::{ReadError, State};
use serde_json::Value;

use super::answer::{Object, Page};
use super::continuation::Continuation;
use super::request::{Freshness, Get, List, Target};
use super::{Objects, failure, past, scale};
use crate::auth::{Grant, Identity, Limit, Reach, refers_to};

/// A replica that is this far behind says so instead of waiting on.
const CATCH_UP_DEADLINE: Duration = Duration::from_secs(3);
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
        let prefix = Key::prefix(target.kind.group, target.kind.plural, &target.namespace);
        let (state, after) = match continue_token.as_str() {
            "" => (self.state(freshness).await?, None),
            token => {
                if !matches!(freshness, Freshness::Newest | Freshness::Any) {
                    let why = "specifying resource version is not allowed when using continue";
                    return Err(Status::bad_request(why));
                }
                let Continuation { revision, after } = Continuation::decode(token)?;
                let state = self.store.state_at(revision).await.map_err(|_| failure::continue_expired())?;
                let mut key = prefix.clone();
                key.extend_from_slice(after.as_bytes());
                (state, Some(key))
            }
        };
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut page =
            Page { revision: state.revision(), items: Vec::new(), continue_token: String::new(), remaining: None };
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
            page.items.push(Object::new(versioned.value.clone(), versioned.revision));
            if page.items.len() == limit {
                last = Some(key.to_vec());
            }
        }
        if !page.continue_token.is_empty() && selection.is_everything() {
            page.remaining = Some(state.range(&prefix, last.as_deref()).count() as u64);
        }
        Ok(page)
    }

    /// The state to answer from.
    pub(super) async fn state(&self, freshness: Freshness) -> Result<State, Status> {
        match freshness {
            Freshness::Any => self.store.trusted().map_err(|error| failure::read(&error)),
            Freshness::Newest => match self.store.barrier().await {
                Ok(()) => Ok(self.store.state()),
                Err(error) => Err(failure::read(&error)),
            },
            Freshness::NotOlderThan(revision) => self.not_older_than(revision).await,
            Freshness::Exactly(revision) => {
                self.not_older_than(revision).await?;
                self.store.state_at(revision).await.map_err(|gone| failure::too_old(&gone))
            }
        }
    }

    pub(super) async fn not_older_than(&self, revision: u64) -> Result<State, Status> {
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
        let caught_up = tokio::select! {
            caught_up = self.store.caught_up(revision, CATCH_UP_DEADLINE) => caught_up,
            () = all_there_is => self.store.trusted(),
        };
        match caught_up {
            Err(error @ ReadError::Fenced(_)) => Err(failure::read(&error)),
            Ok(state) if state.revision() >= revision => Ok(state),
            Ok(_) | Err(_) => Err(Status::version_too_large(revision, self.store.state().revision())),
        }
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

fn is_referred_to(limit: &Limit, target: &Target, state: &State) -> bool {
    let prefix = Key::prefix("", "pods", &target.namespace);
    state.range(&prefix, None).any(|(_, versioned)| {
        serde_json::from_slice::<Value>(&versioned.value).is_ok_and(|pod| {
            pod["spec"]["nodeName"] == *limit.node && refers_to(&pod, target.kind.plural, &target.name)
        })
    })
}
