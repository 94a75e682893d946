//! Where Pods' containers are, for logs, exec and attach. A small shared table: the agent's loop writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::runtime::{Container, ContainerId};

/// One Pod as the loop last saw it.
#[derive(Clone, Debug, Default)]
pub struct Place {
    pub uid: String,
    /// Names of its containers, init containers included, in the order of the spec.
    pub names: Vec<String>,
    pub ip: Option<IpAddr>,
    /// All attempts, dead ones included.
    pub containers: Vec<Container>,
}

impl Place {
    /// The latest attempt of a container, or the one before it.
    pub fn attempt(&self, name: &str, previous: bool) -> Option<&Container> {
        let mut attempts: Vec<&Container> =
            self.containers.iter().filter(|container| container.labels.container == name).collect();
        attempts.sort_by_key(|container| std::cmp::Reverse(container.labels.attempt));
        attempts.into_iter().nth(usize::from(previous))
    }
}

#[derive(Default)]
pub struct Directory {
    /// By namespace and name.
    places: RwLock<BTreeMap<(String, String), Place>>,
    /// Uids of Pods that have a start under way.
    starting: RwLock<BTreeSet<String>>,
}

impl Directory {
    pub fn find(&self, namespace: &str, name: &str) -> Option<Place> {
        self.read().get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    pub fn put(&self, namespace: &str, name: &str, place: Place) {
        self.write().insert((namespace.to_owned(), name.to_owned()), place);
    }

    /// Unless another Pod has taken the name since.
    pub fn remove(&self, namespace: &str, name: &str, uid: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut places = self.write();
        if places.get(&key).is_some_and(|place| place.uid == uid) {
            places.remove(&key);
        }
    }

    pub fn set_starting(&self, uid: &str, starting: bool) {
        let mut list = self.starting.write().expect("no holder of the lock panics");
        if starting {
            list.insert(uid.to_owned());
        } else {
            list.remove(uid);
        }
    }

    pub fn is_starting(&self, uid: &str) -> bool {
        self.starting.read().expect("no holder of the lock panics").contains(uid)
    }

    /// Is this container still the one that was looked up?
    pub fn is_known(&self, id: &ContainerId) -> bool {
        self.read().values().any(|place| place.containers.iter().any(|container| container.id == *id))
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<(String, String), Place>> {
        self.places.read().expect("no holder of the lock panics")
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<(String, String), Place>> {
        self.places.write().expect("no holder of the lock panics")
    }
}
