//! The way of every object from a client's bytes to stored bytes, the same for all kinds. Decides, and does nothing.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Kind, decode};
use crate::status::{FieldErrors, Status};
use crate::{deletion, meta, names, object};

/// What is being asked: the object as sent, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Of the path; "" for cluster-scoped kinds.
    pub namespace: &'a str,
    /// Of the path; "" when creating, where the body (or generateName) says it.
    pub name: &'a str,
    /// JSON.
    pub body: &'a [u8],
    pub operation: Operation<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum Operation<'a> {
    Create {
        uid: &'a str,
        now: Timestamp,
        /// Makes the name if generateName is used; another number, another name.
        random: u64,
    },
    /// Everything but the status.
    Update { old: &'a [u8], revision: u64 },
    /// The status and nothing else.
    UpdateStatus { old: &'a [u8], revision: u64 },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    pub namespace: String,
    pub name: String,
    /// To be stored; without resourceVersion.
    pub object: Vec<u8>,
    pub effect: Effect,
    /// The body carried a resourceVersion, which was compared with the old object's: a write that loses a race
    /// must then be refused. Without one, it may be tried again on the newer object.
    pub conditional: bool,
}

/// What to do with an admitted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Put,
    /// The update took the last thing away that held an object which is being deleted.
    Remove,
    /// It is what is stored already: answer it, write nothing.
    Unchanged,
}

/// What a kind adds to the common way. Methods are called in the order in which they stand here.
pub trait Rules: Resource + Metadata<Ty = ObjectMeta> + Serialize + DeserializeOwned + Clone + PartialEq {
    /// What names may be.
    const NAME: fn(&str) -> Vec<String> = names::dns_subdomain;

    /// Keeps what clients may leave out of an update because the system gave it.
    fn keep(&mut self, _old: &Self) {}

    /// Sets what was left out. Applied to itself, it changes nothing.
    fn set_defaults(&mut self) {}

    /// Clears and sets what a new object begins with.
    fn begin(&mut self) {}

    /// Exchanges the parts that only `/status` may change.
    fn swap_status(&mut self, _other: &mut Self) {}

    /// Puts a new status in order; `old` holds the status before it.
    fn settle_status(&mut self, _old: &Self) {}

    /// Whether `metadata.generation` steps. `None`: the kind has no generation.
    fn is_respecified(&self, _old: &Self) -> Option<bool> {
        None
    }

    fn validate(&self, _errors: &mut FieldErrors) {}

    fn validate_update(&self, _old: &Self, _errors: &mut FieldErrors) {}

    fn validate_status(&self, _errors: &mut FieldErrors) {}
}

/// See [`Kind::admit`].
pub(super) fn admit<T: Rules>(kind: &'static Kind, request: &Request) -> Result<Admitted, Status> {
    let new: T = decode(request.body)?;
    match request.operation {
        Operation::Create { uid, now, random } => create(kind, request, new, uid, now, random),
        Operation::Update { old, revision } => update(kind, request, new, old, revision),
        Operation::UpdateStatus { old, revision } => update_status(kind, request, new, old, revision),
    }
}

fn create<T: Rules>(
    kind: &'static Kind,
    request: &Request,
    mut new: T,
    uid: &str,
    now: Timestamp,
    random: u64,
) -> Result<Admitted, Status> {
    meta::check_place(kind, request, new.metadata_mut())?;
    if meta::sent_revision(new.metadata())?.is_some() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    meta::begin(new.metadata_mut(), uid, now, random);
    new.set_defaults();
    new.begin();
    new.metadata_mut().generation = new.is_respecified(&new).map(|_| 1);
    let mut errors = FieldErrors::default();
    meta::validate(kind, new.metadata(), T::NAME, &mut errors);
    new.validate(&mut errors);
    refuse(kind, new.metadata(), errors)?;
    Ok(admitted(new, None))
}

fn update<T: Rules>(
    kind: &'static Kind,
    request: &Request,
    mut new: T,
    stored: &[u8],
    revision: u64,
) -> Result<Admitted, Status> {
    let mut old: T = serde_json::from_slice(stored).map_err(Status::internal)?;
    let conditional = check_identity(kind, request, &mut new, old.metadata(), revision)?;
    meta::keep(new.metadata_mut(), old.metadata());
    new.keep(&old);
    new.set_defaults();
    new.swap_status(&mut old);
    if new.is_respecified(&old) == Some(true) {
        new.metadata_mut().generation = Some(old.metadata().generation.unwrap_or(0) + 1);
    }
    let mut errors = FieldErrors::default();
    meta::validate_update(new.metadata(), old.metadata(), &mut errors);
    new.validate(&mut errors);
    new.validate_update(&old, &mut errors);
    refuse(kind, new.metadata(), errors)?;
    let is_being_deleted = new.metadata().deletion_timestamp.is_some();
    let mut admitted = admitted(new, Some(stored));
    admitted.conditional = conditional;
    if is_being_deleted && deletion::is_released(kind, &admitted.object) {
        admitted.effect = Effect::Remove;
    }
    Ok(admitted)
}

fn update_status<T: Rules>(
    kind: &'static Kind,
    request: &Request,
    mut new: T,
    stored: &[u8],
    revision: u64,
) -> Result<Admitted, Status> {
    let mut old: T = serde_json::from_slice(stored).map_err(Status::internal)?;
    let conditional = check_identity(kind, request, &mut new, old.metadata(), revision)?;
    old.swap_status(&mut new);
    old.settle_status(&new);
    let mut errors = FieldErrors::default();
    old.validate_status(&mut errors);
    refuse(kind, old.metadata(), errors)?;
    let mut admitted = admitted(old, Some(stored));
    admitted.conditional = conditional;
    Ok(admitted)
}

/// The body is about the object in the path, and about the state of it that is stored. Answers whether the body
/// insisted on that state.
fn check_identity<T: Rules>(
    kind: &'static Kind,
    request: &Request,
    new: &mut T,
    old: &ObjectMeta,
    revision: u64,
) -> Result<bool, Status> {
    meta::check_place(kind, request, new.metadata_mut())?;
    let uid = old.uid.as_deref().unwrap_or_default();
    if let Some(asked) = new.metadata().uid.as_deref().filter(|asked| !asked.is_empty() && *asked != uid) {
        let why = format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {uid}");
        return Err(Status::conflict(kind, request.name, why));
    }
    match meta::sent_revision(new.metadata())? {
        Some(asked) if asked != revision => Err(Status::stale(kind, request.name)),
        asked => Ok(asked.is_some()),
    }
}

fn refuse(kind: &'static Kind, meta: &ObjectMeta, errors: FieldErrors) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    let name = meta.name.as_deref().filter(|name| !name.is_empty()).or(meta.generate_name.as_deref());
    Err(Status::invalid(kind.group, kind.kind, name.unwrap_or_default(), errors))
}

fn admitted<T: Rules>(mut new: T, old: Option<&[u8]>) -> Admitted {
    let meta = new.metadata_mut();
    meta.resource_version = None;
    meta.self_link = None;
    let (namespace, name) = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
    let object = object::encode(&new);
    let effect = if old == Some(object.as_slice()) { Effect::Unchanged } else { Effect::Put };
    Admitted { namespace, name, object, effect, conditional: false }
}
