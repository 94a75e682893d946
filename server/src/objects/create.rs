//! Create: admit, and put where nothing is, in a namespace that lives. Acts.

use api::kinds::{Admitted, Operation, Request};
use api::status::{Cause, Status};
use api::{Key, object};
use bytes::Bytes;
use raft::{Action, Op, Precondition, State};

use super::answer::{Object, Written};
use super::body::{self, Understood};
use super::request::{Create, Target};
use super::{Objects, Proposed, failure, services};
use crate::auth::{Grant, Identity, Reach};

/// Names that generateName makes, claims and namespaces that change meanwhile: each is tried anew this often.
const ATTEMPTS_MAX: usize = 8;

impl Objects {
    /// Decides on this replica's state first, which may be a little old; a refusal is only given on the newest.
    pub async fn create(&self, request: Create) -> Result<Written, Status> {
        if !request.target.subresource.is_empty() {
            return self.create_subresource(request).await;
        }
        let Create { target, body, options, user } = request;
        let grant = self.authorize("create", &target, &user, None)?;
        let Understood { json, warnings } = body::understand(target.kind, "", &body, options.field_validation)?;
        let names_itself = object::meta(&json).is_ok_and(|meta| !meta.name.is_empty());
        let mut state = self.store.state();
        let mut confirmed = false;
        for _ in 0..ATTEMPTS_MAX {
            let admitted = self.admit_new(&target, &json)?;
            check_grant(&grant, &target, &admitted, &user)?;
            let key = Bytes::from(target.kind.key(&admitted.namespace, &admitted.name).encode());
            let name = admitted.name.clone();
            let prepared = self.prepare(&target, &state, &key, admitted);
            if !confirmed && (prepared.is_err() || options.dry_run) {
                state = self.newest().await?;
                confirmed = true;
                continue;
            }
            let (object, ops) = match prepared {
                Err(status) if status.reason == "AlreadyExists" && !names_itself => continue,
                prepared => prepared?,
            };
            if options.dry_run {
                return Ok(Written { object: Object::new(object, 0), warnings });
            }
            match self.propose(&user, ops).await? {
                Proposed::Applied(revisions) => {
                    let revision = revisions.first().copied().unwrap_or_default();
                    return Ok(Written { object: Object::new(object, revision), warnings });
                }
                Proposed::Conflict { key: at, .. } if at == key && names_itself => {
                    return Err(Status::already_exists(target.kind, &name));
                }
                Proposed::Conflict { .. } => {
                    state = self.newest().await?;
                    confirmed = true;
                }
            }
        }
        let why = "the name, an address or the namespace changed under the request again and again";
        Err(Status::service_unavailable(why, 1))
    }

    pub(super) async fn newest(&self) -> Result<State, Status> {
        self.store.barrier().await.map_err(|error| failure::read(&error))?;
        Ok(self.store.state())
    }

    fn admit_new(&self, target: &Target, json: &[u8]) -> Result<Admitted, Status> {
        let uid = self.env.random.uuid();
        let operation = Operation::Create { uid: &uid, now: self.now(), random: self.env.random.u64() };
        target.kind.admit(&Request { namespace: &target.namespace, name: "", body: json, operation })
    }

    /// The object to store and the command that stores it; the object's own op is the first.
    fn prepare(
        &self,
        target: &Target,
        state: &State,
        key: &Bytes,
        admitted: Admitted,
    ) -> Result<(Bytes, Vec<Op>), Status> {
        if state.get(key).is_some() {
            return Err(Status::already_exists(target.kind, &admitted.name));
        }
        let namespace = live_namespace(state, target, &admitted.name)?;
        let random = self.env.random.u64();
        let completed = services::complete(target.kind, state, admitted.object, None, random)?;
        let object = Bytes::from(completed.object);
        let put = Op { key: key.clone(), precondition: Precondition::Absent, action: Action::Put(object.clone()) };
        Ok((object, [put].into_iter().chain(namespace).chain(completed.also).collect()))
    }
}

/// The namespace must exist and not be going away, now and when the command takes effect: nothing may appear in a
/// namespace that has been emptied already.
fn live_namespace(state: &State, target: &Target, name: &str) -> Result<Option<Op>, Status> {
    if !target.kind.namespaced {
        return Ok(None);
    }
    let namespace = &target.namespace;
    let namespaces = api::kinds::find("", "v1", "namespaces").expect("namespaces are a kind");
    let key = Key::new("", "namespaces", "", namespace).encode();
    let Some(found) = state.get(&key) else { return Err(Status::not_found(namespaces, namespace)) };
    if object::meta(&found.value).is_ok_and(|meta| meta.deletion_timestamp.is_some()) {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut status = Status::forbidden(target.kind, name, why);
        let message = format!("namespace {namespace} is being terminated");
        let cause = Cause { reason: "NamespaceTerminating".into(), message, field: "metadata.namespace".into() };
        status.details.get_or_insert_default().causes.push(cause);
        return Err(status);
    }
    Ok(Some(Op { key: key.into(), precondition: Precondition::AtRevision(found.revision), action: Action::Check }))
}

/// A node may create what bears its own name.
fn check_grant(grant: &Grant, target: &Target, admitted: &Admitted, user: &Identity) -> Result<(), Status> {
    match grant {
        Grant::Full => Ok(()),
        Grant::Limited(limit) if limit.reach == Reach::OwnName && limit.node == admitted.name => Ok(()),
        Grant::Limited(_) => {
            let target = Target { name: admitted.name.clone(), ..target.clone() };
            Err(failure::beyond_limit(&target, user))
        }
    }
}
