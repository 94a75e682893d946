//! How controllers word their writes and events. Decides only what deletion decides.

use api::Key;
use api::deletion::{self, Deletion, Options, Propagation};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Serialize;

use crate::plan::{Note, Write};
use crate::view::{Entry, View};

/// Replaces an object with another state of it, or removes it if that was all it waited for.
pub fn update<T: Resource + Serialize>(entry: &Entry, object: &T) -> Write {
    replace(entry, api::object::encode(object))
}

/// Changes the metadata of an object of any kind. `None`: there is nothing to change.
pub fn update_meta(entry: &Entry, change: impl FnOnce(&mut ObjectMeta)) -> Option<Write> {
    let stored = entry.encode();
    let before = api::object::object_meta(&stored).ok()?;
    let mut meta = before.clone();
    change(&mut meta);
    (meta != before).then(|| replace(entry, api::object::replace_meta(&stored, &meta)))
}

/// The object stays as it is while the command takes effect.
pub fn check(entry: &Entry) -> Write {
    Write::Check { key: Key::clone(&entry.key), at: entry.revision }
}

/// Deletes by the rules that the API has as well. `None`: it is being deleted, or may not be.
pub fn delete(entry: &Entry, options: &Options, now: Timestamp) -> Option<Write> {
    let kind = api::kinds::find_resource(&entry.key.group, &entry.key.resource)?;
    match deletion::delete(kind, &entry.encode(), entry.revision, options, now).ok()? {
        Deletion::Remove => Some(Write::Delete { key: Key::clone(&entry.key), at: entry.revision }),
        Deletion::Mark(object) => Some(Write::Update { key: Key::clone(&entry.key), object, at: entry.revision }),
        Deletion::Unchanged => None,
    }
}

/// What controllers ask for when they delete: what is left behind is collected later.
pub fn in_background() -> Options {
    Options { propagation: Some(Propagation::Background), ..Options::default() }
}

/// A reference that makes `owner` the controller.
pub fn controller_of<T: Resource>(owner: &Entry) -> OwnerReference {
    OwnerReference {
        api_version: T::API_VERSION.into(),
        kind: T::KIND.into(),
        name: owner.key.name.clone(),
        uid: owner.uid().into(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Gives an orphan its controller.
pub fn adopt<T: Resource>(meta: &mut ObjectMeta, owner: &Entry) {
    meta.owner_references.get_or_insert_default().push(controller_of::<T>(owner));
}

/// Takes every reference to `uid` away.
pub fn disown(meta: &mut ObjectMeta, uid: &str) {
    if let Some(owners) = &mut meta.owner_references {
        owners.retain(|owner| owner.uid != uid);
    }
    meta.owner_references.take_if(|owners| owners.is_empty());
}

pub fn note<T: Resource>(regarding: &Entry, warning: bool, reason: &str, message: String) -> Note {
    let regarding = ObjectReference {
        api_version: Some(T::API_VERSION.into()),
        kind: Some(T::KIND.into()),
        name: Some(regarding.key.name.clone()),
        namespace: Some(regarding.key.namespace.clone()).filter(|namespace| !namespace.is_empty()),
        uid: regarding.meta.uid.clone(),
        resource_version: Some(regarding.revision.to_string()),
        field_path: None,
    };
    Note { regarding, warning, reason: reason.into(), message }
}

/// Nothing may be made in a namespace that is going, or gone.
pub fn accepts_objects(view: &View, namespace: &str) -> bool {
    view.namespace(namespace).is_some_and(|entry| !entry.is_terminating())
}

pub fn seconds_after(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

pub fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn replace(entry: &Entry, object: Vec<u8>) -> Write {
    let key = Key::clone(&entry.key);
    let kind = api::kinds::find_resource(&key.group, &key.resource);
    match kind.is_some_and(|kind| deletion::is_released(kind, &object)) {
        true => Write::Delete { key, at: entry.revision },
        false => Write::Update { key, object, at: entry.revision },
    }
}
