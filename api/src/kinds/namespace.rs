//! Namespaces: what they begin with, what may change, and the subresource `finalize`. Pure.

use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus};

use super::admit::Rules;
use super::{Admitted, Effect, Kind, Operation, Request, decode};
use crate::deletion::{self, KUBERNETES};
use crate::names;
use crate::object;
use crate::status::Status;

/// The label by which selectors find a namespace of a name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl Rules for Namespace {
    const NAME: fn(&str) -> Vec<String> = names::dns_label;

    fn keep(&mut self, old: &Namespace) {
        self.spec.clone_from(&old.spec);
    }

    fn set_defaults(&mut self) {
        let name = self.metadata.name.clone().unwrap_or_default();
        if names::label_value(&name).is_empty() {
            self.metadata.labels.get_or_insert_default().insert(NAME_LABEL.into(), name);
        }
    }

    fn begin(&mut self) {
        let finalizers = self.spec.get_or_insert_default().finalizers.get_or_insert_default();
        if !finalizers.iter().any(|finalizer| finalizer == KUBERNETES) {
            finalizers.push(KUBERNETES.into());
        }
        self.status = Some(NamespaceStatus { phase: Some("Active".into()), conditions: None });
    }

    fn swap_status(&mut self, other: &mut Namespace) {
        std::mem::swap(&mut self.status, &mut other.status);
    }
}

/// Replaces the finalizers in the spec by those of the body. When none is left of a namespace that is being
/// deleted, it is to be removed.
pub fn finalize(kind: &'static Kind, request: &Request) -> Result<Admitted, Status> {
    let (Operation::Update { old, .. } | Operation::UpdateStatus { old, .. }) = request.operation else {
        return Err(Status::method_not_allowed(kind, "create"));
    };
    let body: Namespace = decode(request.body)?;
    let admitted = kind.admit(request)?;
    let mut namespace: Namespace = serde_json::from_slice(&admitted.object).map_err(Status::internal)?;
    namespace.spec.get_or_insert_default().finalizers = body.spec.and_then(|spec| spec.finalizers);
    let object = object::encode(&namespace);
    let effect = match deletion::is_released(kind, &object) {
        true => Effect::Remove,
        false if object == old => Effect::Unchanged,
        false => Effect::Put,
    };
    Ok(Admitted { object, effect, ..admitted })
}
