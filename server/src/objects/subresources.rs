//! Subresources that are posted or put: binding, eviction, finalize. Acts through the
//! same loop as every change.

use api::kinds::pod::{binding, eviction};
use api::kinds::{self, Admitted, Request};
use api::status::Status;
use api::{deletion, object};
use k8s_openapi::api::core::v1::Namespace;

use super::Objects;
use super::answer::{Object, Written};
use super::body::{self, Understood};
use super::modify::{Decision, Effect, Terms};
use super::request::{Create, Target};

impl Objects {
    /// What is posted to a part of an object. Answers a Status of success.
    pub(super) async fn create_subresource(&self, request: Create) -> Result<Written, Status> {
        let Create { target, body, options, user } = request;
        let grant = self.authorize("create", &target, &user, None)?;
        let Understood { json, warnings } =
            body::understand(target.kind, &target.subresource, &body, options.field_validation)?;
        let operation = kinds::Operation::Update { old: &[], revision: 0 };
        let request = Request { namespace: &target.namespace, name: &target.name, body: &json, operation };
        match target.subresource.as_str() {
            "binding" => {
                let terms = Terms { target: &target, user: &user, grant: &grant, dry_run: options.dry_run };
                let bound = self.modify(terms, |_, base| {
                    let bound = binding::apply(&request, &base.stored, self.now())?;
                    Ok(Decision { effect: Effect::Put(bound), also: Vec::new(), conditional: false })
                });
                bound.await?;
            }
            "eviction" => {
                let mut asked = eviction::options(&request)?;
                asked.dry_run |= options.dry_run;
                self.delete_as(&target, &asked, &user, &grant).await?;
            }
            _ => return Err(Status::method_not_allowed(target.kind, "create")),
        }
        Ok(Written { object: Object::new(created(), 0), warnings })
    }
}

fn created() -> Vec<u8> {
    Status { code: 201, reason: String::new(), message: String::new(), details: None }.to_json()
}

/// Replaces the finalizers in a Namespace's spec: without any it may go.
pub(super) fn finalize(target: &Target, base: &Object, json: &[u8]) -> Result<Admitted, Status> {
    let sent: Namespace = kinds::decode(json)?;
    let mut namespace: Namespace = serde_json::from_slice(&base.stored).map_err(Status::internal)?;
    let revision = sent.metadata.resource_version.filter(|revision| !revision.is_empty());
    if revision.as_ref().is_some_and(|revision| *revision != base.revision.to_string()) {
        return Err(Status::stale(target.kind, &target.name));
    }
    let finalizers = sent.spec.and_then(|spec| spec.finalizers).filter(|list| !list.is_empty());
    namespace.spec.get_or_insert_default().finalizers = finalizers;
    let object = object::encode(&namespace);
    let effect = if deletion::is_released(target.kind, &object) {
        kinds::Effect::Remove
    } else if object == base.stored {
        kinds::Effect::Unchanged
    } else {
        kinds::Effect::Put
    };
    let (namespace, name) = (String::new(), target.name.clone());
    Ok(Admitted { namespace, name, object, effect, conditional: revision.is_some() })
}
