//! What controllers ask of the view. Every answer is in the order of keys.

use std::ops::Bound;
use std::sync::Arc;

use api::Key;

use super::{Entry, View};

impl View {
    /// Everything, of every kind.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// All objects of a kind.
    pub fn of_kind(&self, group: &str, resource: &str) -> impl Iterator<Item = &Entry> {
        let from = Key::new(group, resource, "", "");
        let (group, resource) = (from.group.clone(), from.resource.clone());
        let all = self.entries.range::<Key, _>((Bound::Included(&from), Bound::Unbounded)).map(|(_, entry)| entry);
        all.take_while(move |entry| entry.key.group == group && entry.key.resource == resource)
    }

    /// All objects of a kind in one namespace ("" for cluster-scoped kinds).
    pub fn of_kind_in(&self, group: &str, resource: &str, namespace: &str) -> impl Iterator<Item = &Entry> {
        let from = Key::new(group, resource, namespace, "");
        let bounds = from.clone();
        let all = self.entries.range::<Key, _>((Bound::Included(&bounds), Bound::Unbounded)).map(|(_, entry)| entry);
        all.take_while(move |entry| {
            let key = &entry.key;
            key.namespace == from.namespace && key.resource == from.resource && key.group == from.group
        })
    }

    /// Everything in a namespace, of every kind.
    pub fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Entry> {
        self.kinds().into_iter().flat_map(move |(group, resource)| self.of_kind_in(group, resource, namespace))
    }

    /// The kinds of which there is at least one object.
    pub fn kinds(&self) -> Vec<(&str, &str)> {
        let mut kinds: Vec<(&str, &str)> = Vec::new();
        let mut next = self.entries.keys().next();
        while let Some(key) = next {
            kinds.push((&key.group, &key.resource));
            // No plural contains this byte, so nothing stands between the kind's keys and this one.
            let after = Key::new(&key.group, &format!("{}\0", key.resource), "", "");
            next = self.entries.range::<Key, _>((Bound::Included(&after), Bound::Unbounded)).map(|(key, _)| key).next();
        }
        kinds
    }

    /// The object with this uid.
    pub fn with_uid(&self, uid: &str) -> Option<&Entry> {
        self.index.with_uid(uid).and_then(|key| self.get(key))
    }

    /// The dependents of an owner, of every kind, whether or not the owner exists (any more).
    pub fn owned_by<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.found(self.index.owned_by(uid))
    }

    /// The dependents that an owner manages: those whose controller it is.
    pub fn controlled_by<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.owned_by(uid).filter(move |entry| entry.is_controlled_by(uid))
    }

    /// The pods in a namespace that have no controller.
    pub fn orphan_pods_in(&self, namespace: &str) -> impl Iterator<Item = &Entry> {
        self.found(self.index.uncontrolled(Key::new("", "pods", namespace, "")))
    }

    /// The replicasets in a namespace that have no controller.
    pub fn orphan_replica_sets_in(&self, namespace: &str) -> impl Iterator<Item = &Entry> {
        self.found(self.index.uncontrolled(Key::new("apps", "replicasets", namespace, "")))
    }

    pub fn pods(&self) -> impl Iterator<Item = &Entry> {
        self.of_kind("", "pods")
    }

    pub fn pods_in(&self, namespace: &str) -> impl Iterator<Item = &Entry> {
        self.of_kind_in("", "pods", namespace)
    }

    pub fn pods_on(&self, node: &str) -> impl Iterator<Item = &Entry> {
        self.found(self.index.pods_on(node))
    }

    /// Names of nodes that pods are bound to, existing or not.
    pub fn nodes_with_pods(&self) -> impl Iterator<Item = &str> {
        self.index.nodes_with_pods()
    }

    /// The pods that have no node yet.
    pub fn unbound_pods(&self) -> impl Iterator<Item = &Entry> {
        self.found(self.index.unbound())
    }

    pub fn replica_sets_in(&self, namespace: &str) -> impl Iterator<Item = &Entry> {
        self.of_kind_in("apps", "replicasets", namespace)
    }

    pub fn deployments_in(&self, namespace: &str) -> impl Iterator<Item = &Entry> {
        self.of_kind_in("apps", "deployments", namespace)
    }

    pub fn services_in(&self, namespace: &str) -> impl Iterator<Item = &Entry> {
        self.of_kind_in("", "services", namespace)
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Entry> {
        self.of_kind("", "nodes")
    }

    pub fn node(&self, name: &str) -> Option<&Entry> {
        self.get(&Key::new("", "nodes", "", name))
    }

    pub fn namespaces(&self) -> impl Iterator<Item = &Entry> {
        self.of_kind("", "namespaces")
    }

    pub fn namespace(&self, name: &str) -> Option<&Entry> {
        self.get(&Key::new("", "namespaces", "", name))
    }

    pub fn events_in(&self, namespace: &str) -> impl Iterator<Item = &Entry> {
        self.of_kind_in("", "events", namespace)
    }

    fn found<'a>(&'a self, keys: impl Iterator<Item = &'a Arc<Key>>) -> impl Iterator<Item = &'a Entry> {
        keys.filter_map(|key| self.get(key))
    }
}
