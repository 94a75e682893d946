//! The garbage collector: what to do with objects whose owners are going or gone, by their ownerReferences.
//! Pure, decides.

use api::Key;
use api::deletion::{self, FOREGROUND, ORPHAN, Options, Propagation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::draft;
use crate::plan::Room;
use crate::view::{Change, Entry, View};
use crate::{Controller, Plan, Write};

pub struct Garbage;

impl Controller for Garbage {
    fn name(&self) -> &'static str {
        "garbage"
    }

    /// The object itself; its dependents, if their owner's state changed; its owners, if they wait for it.
    fn affected(&self, change: &Change, view: &View) -> Vec<Key> {
        let mut keys = Vec::new();
        let own = |entry: Option<&Entry>| entry.map(concerns);
        if change.after.as_ref().is_some_and(|entry| !entry.owners().is_empty() || entry.is_terminating())
            && own(change.before.as_ref()) != own(change.after.as_ref())
        {
            keys.push(change.key.clone());
        }
        let standing =
            |entry: Option<&Entry>| entry.map(|entry| (entry.uid().to_string(), waits_for_dependents(entry)));
        if standing(change.before.as_ref()) != standing(change.after.as_ref()) {
            let dependents = change.sides().flat_map(|entry| view.owned_by(entry.uid()));
            keys.extend(dependents.map(|entry| Key::clone(&entry.key)));
        }
        let owners = change.sides().flat_map(|entry| entry.owners()).filter_map(|owner| view.with_uid(&owner.uid));
        keys.extend(owners.filter(|owner| owner.is_terminating()).map(|owner| Key::clone(&owner.key)));
        keys.sort();
        keys.dedup();
        keys
    }

    fn plan(&self, view: &View, key: &Key) -> Plan {
        let Some(entry) = view.get(key) else { return Plan::default() };
        if !entry.is_terminating() {
            return collect(view, entry);
        }
        if has(entry, ORPHAN) {
            return orphan(view, entry);
        }
        if waits_for_dependents(entry) {
            return wait_for_dependents(view, entry);
        }
        release(entry)
    }
}

/// What a plan looks at of the object itself: most changes leave it alone.
fn concerns(entry: &Entry) -> impl PartialEq + use<> {
    let meta = &entry.meta;
    let grace = meta.deletion_grace_period_seconds;
    (meta.uid.clone(), entry.owners().to_vec(), entry.finalizers().to_vec(), entry.is_terminating(), grace)
}

/// How an owner stands, from the point of view of a dependent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// It is there, or of a kind that nobody here can judge.
    Solid,
    /// There is no such object (any more).
    Gone,
    /// It is being deleted, and stays until its dependents are gone.
    Waiting,
}

fn collect(view: &View, entry: &Entry) -> Plan {
    let (mut solid, mut waiting, mut lost) = (false, Vec::new(), Vec::new());
    for owner in entry.owners() {
        match judge(view, entry, owner) {
            Owner::Solid => solid = true,
            Owner::Waiting => waiting.push(owner),
            Owner::Gone => lost.push(owner),
        }
    }
    if waiting.is_empty() && lost.is_empty() {
        return Plan::default();
    }
    if solid {
        let gone: Vec<&str> = waiting.iter().chain(&lost).map(|owner| owner.uid.as_str()).collect();
        let write = draft::update_meta(entry, |meta| gone.iter().for_each(|uid| draft::disown(meta, uid)));
        return plan(write.into_iter().collect(), "some of its owners are gone");
    }
    // Who is waited for takes its own dependents along first, so that nothing of the tree is left behind.
    let has_dependents = dependents(view, entry).next().is_some();
    let propagation = match () {
        _ if !waiting.is_empty() && has_dependents => Propagation::Foreground,
        _ if has(entry, ORPHAN) => Propagation::Orphan,
        _ if has(entry, FOREGROUND) => Propagation::Foreground,
        _ => Propagation::Background,
    };
    let options = Options { propagation: Some(propagation), ..Options::default() };
    let reason = if waiting.is_empty() { "its owners are gone" } else { "its owner waits for it to be gone" };
    plan(draft::delete(entry, &options, view.now).into_iter().collect(), reason)
}

/// Takes the references to an owner away, then the finalizer that asked for it.
fn orphan(view: &View, entry: &Entry) -> Plan {
    let disowned = dependents(view, entry)
        .filter_map(|dependent| draft::update_meta(dependent, |meta| draft::disown(meta, entry.uid())));
    let mut room = Room::default();
    let mut writes: Vec<Write> = disowned.take_while(|write| room.takes(write)).collect();
    if room.is_full() {
        return plan(writes, "its dependents are to stay");
    }
    writes.extend(without_finalizer(entry, ORPHAN));
    plan(writes, "its dependents stay")
}

/// Lets an owner go once nothing that blocks it is left.
fn wait_for_dependents(view: &View, entry: &Entry) -> Plan {
    if !dependents(view, entry).any(|dependent| blocks(dependent, entry)) {
        return plan(without_finalizer(entry, FOREGROUND).into_iter().collect(), "its dependents are gone");
    }
    // Two that wait for each other would wait for ever: one of them stops blocking.
    let unblocked = dependents(view, entry)
        .filter(|dependent| waits_for_dependents(dependent) && blocks(dependent, entry) && blocks(entry, dependent));
    let writes = unblocked.filter_map(|dependent| {
        draft::update_meta(dependent, |meta| {
            let owners = meta.owner_references.iter_mut().flatten().filter(|owner| owner.uid == entry.uid());
            owners.for_each(|owner| owner.block_owner_deletion = Some(false));
        })
    });
    let mut room = Room::default();
    plan(writes.take_while(|write| room.takes(write)).collect(), "it waits for its dependents")
}

/// Removes what is being deleted and held by nothing any more.
fn release(entry: &Entry) -> Plan {
    let kind = api::kinds::find_resource(&entry.key.group, &entry.key.resource);
    if !kind.is_some_and(|kind| deletion::is_released(kind, &entry.encode())) {
        return Plan::default();
    }
    plan(vec![Write::Delete { key: Key::clone(&entry.key), at: entry.revision }], "nothing holds it any more")
}

fn judge(view: &View, entry: &Entry, reference: &OwnerReference) -> Owner {
    let (group, _) = api::kinds::split_api_version(&reference.api_version);
    let Some(kind) = api::kinds::KINDS.iter().find(|kind| kind.kind == reference.kind && kind.group == group) else {
        return Owner::Solid;
    };
    // No namespace says where this owner would be: as in Kubernetes, the dependent is left alone.
    if kind.namespaced && entry.key.namespace.is_empty() {
        return Owner::Solid;
    }
    let owner = view
        .with_uid(&reference.uid)
        .filter(|owner| owner.key.resource == kind.plural && owner.key.name == reference.name && may_own(owner, entry));
    match owner {
        None => Owner::Gone,
        Some(owner) if waits_for_dependents(owner) => Owner::Waiting,
        Some(_) => Owner::Solid,
    }
}

fn dependents<'a>(view: &'a View, entry: &'a Entry) -> impl Iterator<Item = &'a Entry> {
    view.owned_by(entry.uid()).filter(move |dependent| may_own(entry, dependent))
}

/// Owners are cluster-scoped, or of the same namespace.
fn may_own(owner: &Entry, dependent: &Entry) -> bool {
    owner.key.namespace.is_empty() || owner.key.namespace == dependent.key.namespace
}

fn blocks(dependent: &Entry, owner: &Entry) -> bool {
    dependent
        .owners()
        .iter()
        .any(|reference| reference.uid == owner.uid() && reference.block_owner_deletion == Some(true))
}

fn waits_for_dependents(entry: &Entry) -> bool {
    entry.is_terminating() && has(entry, FOREGROUND)
}

fn has(entry: &Entry, finalizer: &str) -> bool {
    entry.finalizers().iter().any(|other| other == finalizer)
}

fn without_finalizer(entry: &Entry, finalizer: &str) -> Option<Write> {
    draft::update_meta(entry, |meta: &mut ObjectMeta| {
        if let Some(finalizers) = &mut meta.finalizers {
            finalizers.retain(|other| other != finalizer);
        }
        meta.finalizers.take_if(|finalizers| finalizers.is_empty());
    })
}

fn plan(writes: Vec<Write>, reason: &str) -> Plan {
    Plan { writes, reason: reason.into(), ..Plan::default() }
}
