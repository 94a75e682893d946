//! What the view can find without looking at everything: owners, and where pods are. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use api::Key;

use super::{Entry, Object};

type Keys = BTreeSet<Arc<Key>>;

#[derive(Debug, Default)]
pub struct Index {
    by_uid: BTreeMap<String, Arc<Key>>,
    /// The dependents of each owner's uid, whether or not the owner exists.
    by_owner: BTreeMap<String, Keys>,
    pods_by_node: BTreeMap<String, Keys>,
    unbound: Keys,
    /// Pods and replicasets that nobody controls, for whoever selects them.
    uncontrolled: Keys,
}

impl Index {
    pub fn add(&mut self, entry: &Entry) {
        if !entry.uid().is_empty() {
            self.by_uid.insert(entry.uid().into(), entry.key.clone());
        }
        for owner in entry.owners() {
            self.by_owner.entry(owner.uid.clone()).or_default().insert(entry.key.clone());
        }
        if matches!(entry.object, Object::Pod(_) | Object::ReplicaSet(_)) && entry.controller().is_none() {
            self.uncontrolled.insert(entry.key.clone());
        }
        match (&entry.object, entry.bound_to()) {
            (Object::Pod(_), Some(node)) => {
                self.pods_by_node.entry(node.into()).or_default().insert(entry.key.clone());
            }
            (Object::Pod(_), None) => {
                self.unbound.insert(entry.key.clone());
            }
            _ => {}
        }
    }

    pub fn remove(&mut self, entry: &Entry) {
        if self.by_uid.get(entry.uid()).is_some_and(|key| *key == entry.key) {
            self.by_uid.remove(entry.uid());
        }
        for owner in entry.owners() {
            drop_from(&mut self.by_owner, &owner.uid, &entry.key);
        }
        if let Some(node) = entry.bound_to() {
            drop_from(&mut self.pods_by_node, node, &entry.key);
        }
        self.unbound.remove(&entry.key);
        self.uncontrolled.remove(&entry.key);
    }

    pub fn with_uid(&self, uid: &str) -> Option<&Arc<Key>> {
        self.by_uid.get(uid)
    }

    pub fn owned_by<'a>(&'a self, uid: &str) -> impl Iterator<Item = &'a Arc<Key>> + use<'a> {
        self.by_owner.get(uid).into_iter().flatten()
    }

    pub fn pods_on<'a>(&'a self, node: &str) -> impl Iterator<Item = &'a Arc<Key>> + use<'a> {
        self.pods_by_node.get(node).into_iter().flatten()
    }

    pub fn unbound(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.unbound.iter()
    }

    /// Of one kind and namespace: those that no controller owns.
    pub fn uncontrolled(&self, from: Key) -> impl Iterator<Item = &Arc<Key>> {
        let keys = self.uncontrolled.range::<Key, _>((Bound::Included(&from), Bound::Unbounded));
        keys.take_while(move |key| {
            key.namespace == from.namespace && key.resource == from.resource && key.group == from.group
        })
    }

    /// Names of nodes that pods are bound to, existing or not.
    pub fn nodes_with_pods(&self) -> impl Iterator<Item = &str> {
        self.pods_by_node.keys().map(String::as_str)
    }
}

fn drop_from(index: &mut BTreeMap<String, Keys>, name: &str, key: &Arc<Key>) {
    if let Some(keys) = index.get_mut(name) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(name);
        }
    }
}
