//! Update and patch: a changed object is admitted against what is stored, and put on that condition. Acts.

use api::kinds::{self, Admitted, Operation, Request};
use api::status::Status;
use raft::State;

use super::answer::{Object, Written};
use super::body::{self, Understood};
use super::modify::{Decision, Effect, Terms};
use super::request::{Patch, Target, Update, WriteOptions};
use super::{Objects, scale, services, subresources};

impl Objects {
    pub async fn update(&self, request: Update) -> Result<Written, Status> {
        let Update { target, body, options, user } = request;
        let grant = self.authorize("update", &target, &user, None)?;
        let Understood { json, warnings } =
            body::understand(target.kind, &target.subresource, &body, options.field_validation)?;
        self.wait_for(api::object::meta(&json).ok().map(|meta| meta.resource_version).as_deref()).await;
        let terms = Terms { target: &target, user: &user, grant: &grant, dry_run: options.dry_run };
        let modified = self.modify(terms, |state, base| self.replace(&target, state, base, &json)).await?;
        Ok(Written { object: shown(&target, modified.into_object())?, warnings })
    }

    pub async fn patch(&self, request: Patch) -> Result<Written, Status> {
        let Patch { target, patch_type, body, options, user } = request;
        let WriteOptions { dry_run, field_validation, .. } = options;
        let grant = self.authorize("patch", &target, &user, None)?;
        let patch = body::read_patch(patch_type, &body)?;
        self.wait_for(patch.resource_version()).await;
        let mut warnings = Vec::new();
        let terms = Terms { target: &target, user: &user, grant: &grant, dry_run };
        let modified = self.modify(terms, |state, base| {
            let shown = shown(&target, base.clone())?.json();
            let Understood { json, warnings: found } = body::patched(&target, &patch, &shown, field_validation)?;
            warnings = found;
            self.replace(&target, state, base, &json)
        });
        let modified = modified.await?;
        Ok(Written { object: self::shown(&target, modified.into_object())?, warnings })
    }

    /// What the object becomes when a client replaces it, or a part of it.
    fn replace(&self, target: &Target, state: &State, base: &Object, json: &[u8]) -> Result<Decision, Status> {
        let (old, revision) = (&base.stored[..], base.revision);
        let request = |operation| Request { namespace: &target.namespace, name: &target.name, body: json, operation };
        let admitted = match target.subresource.as_str() {
            "status" => target.kind.admit(&request(Operation::UpdateStatus { old, revision }))?,
            "scale" => kinds::scale::write(target.kind, &request(Operation::Update { old, revision }))?,
            "finalize" => subresources::finalize(target, base, json)?,
            _ => target.kind.admit(&request(Operation::Update { old, revision }))?,
        };
        let Admitted { object, effect, conditional, .. } = admitted;
        match effect {
            kinds::Effect::Unchanged => Ok(Decision { effect: Effect::Unchanged, also: Vec::new(), conditional }),
            kinds::Effect::Remove => {
                let also = services::released(target.kind, old);
                Ok(Decision { effect: Effect::Remove, also, conditional })
            }
            kinds::Effect::Put => {
                let random = self.env.random.u64();
                let completed = services::complete(target.kind, state, object, Some(old), random)?;
                let unchanged = completed.object == old;
                let effect = if unchanged { Effect::Unchanged } else { Effect::Put(completed.object) };
                Ok(Decision { effect, also: completed.also, conditional })
            }
        }
    }

    /// A client that has seen a newer state than this replica is not behind. A revision that does not come in time is
    /// no revision of ours: comparing it will say so.
    async fn wait_for(&self, sent: Option<&str>) {
        if let Some(revision) = sent.and_then(|sent| sent.parse().ok())
            && revision > self.store.state().revision()
        {
            let _ = self.not_older_than(revision).await;
        }
    }
}

/// What the client is shown: the object, or its scale.
fn shown(target: &Target, object: Object) -> Result<Object, Status> {
    match target.subresource.as_str() {
        "scale" => scale::show(&object),
        _ => Ok(object),
    }
}
