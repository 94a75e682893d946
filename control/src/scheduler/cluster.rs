//! The nodes with what is free on them, and the pods that wait: kept change by change. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Key;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};

use super::facts::{Facts, HostPort, is_finished};
use super::node_affinity;
use super::resources::Resources;

/// The scheduler that pods get by default, and the only one we are.
pub const NAME: &str = "default-scheduler";

#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Also names that pods were bound to without there being such a node.
    nodes: BTreeMap<String, Room>,
    /// Where each pod that holds something is bound.
    bound: BTreeMap<Key, String>,
    /// Those of them that do not want everybody near: few, but everybody has to ask them.
    hermits: BTreeMap<Key, String>,
    waiting: BTreeMap<Key, Arc<Facts>>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

/// One node, and what is taken of it.
#[derive(Clone, Debug, Default)]
pub struct Room {
    node: Option<Arc<Node>>,
    ready: bool,
    pub allocatable: Resources,
    pub requested: Resources,
    pub cpu_milli_weighed: i64,
    pub memory_bytes_weighed: i64,
    pods: BTreeMap<Key, Arc<Facts>>,
    /// How many pods of each set (by the uid of its owner) are here and staying.
    sets: BTreeMap<String, usize>,
}

impl Cluster {
    /// Answers whether placements may come out differently now.
    pub fn set_node(&mut self, name: &str, node: Option<Arc<Node>>) -> bool {
        let Some(node) = node else {
            let Some(room) = self.nodes.get_mut(name) else { return false };
            room.node = None;
            if room.pods.is_empty() {
                self.nodes.remove(name);
            }
            return true;
        };
        let room = self.nodes.entry(name.into()).or_default();
        let quantities = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let allocatable = quantities.map(Resources::from_quantities).unwrap_or_default();
        let ready = is_ready(&node);
        let same = room.allocatable == allocatable
            && room.ready == ready
            && room
                .node
                .as_ref()
                .is_some_and(|before| before.spec == node.spec && before.metadata.labels == node.metadata.labels);
        (room.allocatable, room.ready, room.node) = (allocatable, ready, Some(node));
        !same
    }

    /// Takes in what became of a pod. Answers whether placements may come out differently now.
    pub fn set_pod(&mut self, key: &Key, pod: Option<(Arc<Pod>, u64)>) -> bool {
        let pod = pod.filter(|(pod, _)| !is_finished(pod));
        let node = pod.as_ref().and_then(|(pod, _)| node_of(pod)).map(String::from);
        if let (Some((pod, revision)), Some(node)) = (&pod, &node)
            && self.refresh(key, node, pod, *revision)
        {
            return false;
        }
        let left = self.waiting.remove(key).is_some() | self.unbind(key);
        let Some((pod, revision)) = pod else { return left };
        match node {
            Some(node) => self.bind(&node, Arc::new(Facts::of(key, pod, revision))),
            None if waits(&pod) => {
                self.waiting.insert(key.clone(), Arc::new(Facts::of(key, pod, revision)));
            }
            None => return left,
        }
        true
    }

    pub fn set_namespace(&mut self, name: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        match labels {
            Some(labels) => self.namespaces.insert(name.into(), labels.clone()).as_ref() != Some(labels),
            None => self.namespaces.remove(name).is_some(),
        }
    }

    /// Counts a pod on a node, before or after the binding is written.
    pub fn bind(&mut self, node: &str, facts: Arc<Facts>) {
        self.bound.insert(facts.key.clone(), node.into());
        if facts.is_hermit {
            self.hermits.insert(facts.key.clone(), node.into());
        }
        self.nodes.entry(node.into()).or_default().add(facts);
    }

    /// Takes a pod off its node.
    pub fn unbind(&mut self, key: &Key) -> bool {
        let Some(node) = self.bound.remove(key) else { return false };
        self.hermits.remove(key);
        if let Some(room) = self.nodes.get_mut(&node) {
            room.remove(key);
            if room.node.is_none() && room.pods.is_empty() {
                self.nodes.remove(&node);
            }
        }
        true
    }

    /// The nodes that exist, in the order of their names.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Room)> {
        self.nodes.iter().filter(|(_, room)| room.node.is_some()).map(|(name, room)| (name.as_str(), room))
    }

    /// As `nodes`, beginning with the first name that is not less than `from`, and around.
    pub fn nodes_from(&self, from: &str) -> impl Iterator<Item = (&str, &Room)> {
        let (after, before) = (self.nodes.range(from.to_string()..), self.nodes.range(..from.to_string()));
        after.chain(before).filter(|(_, room)| room.node.is_some()).map(|(name, room)| (name.as_str(), room))
    }

    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The name at a place in the order, for a start that differs from pod to pod.
    pub fn name_at(&self, index: usize) -> Option<&str> {
        self.nodes.keys().nth(index).map(String::as_str)
    }

    pub fn room(&self, node: &str) -> Option<&Room> {
        self.nodes.get(node)
    }

    /// Pods with required anti-affinity, and where they are, if that node exists.
    pub fn hermits(&self) -> impl Iterator<Item = (&Facts, &Room)> {
        self.hermits.iter().filter_map(|(key, node)| {
            let room = self.nodes.get(node).filter(|room| room.node.is_some())?;
            Some((&**room.pods.get(key)?, room))
        })
    }

    pub fn waiting(&self) -> impl Iterator<Item = &Arc<Facts>> {
        self.waiting.values()
    }

    pub fn anyone_waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub fn namespaces_where(&self, holds: impl Fn(&BTreeMap<String, String>) -> bool) -> impl Iterator<Item = String> {
        self.namespaces.iter().filter(move |(_, labels)| holds(labels)).map(|(name, _)| name.clone())
    }

    /// A bound pod's status changes often, and alters nothing here: only the object is replaced.
    fn refresh(&mut self, key: &Key, node: &str, pod: &Arc<Pod>, revision: u64) -> bool {
        if self.bound.get(key).is_none_or(|bound| bound != node) {
            return false;
        }
        let Some(facts) = self.nodes.get_mut(node).and_then(|room| room.pods.get_mut(key)) else { return false };
        let (old, new) = (&facts.pod.metadata, &pod.metadata);
        let same = facts.pod.spec == pod.spec
            && old.uid == new.uid
            && old.labels == new.labels
            && old.owner_references == new.owner_references
            && old.deletion_timestamp.is_some() == new.deletion_timestamp.is_some();
        if same {
            let facts = Arc::make_mut(facts);
            (facts.pod, facts.revision) = (pod.clone(), revision);
        }
        same
    }
}

impl Room {
    /// Only for nodes out of [`Cluster::nodes`], which exist.
    pub fn node(&self) -> &Node {
        self.node.as_deref().expect("rooms without a node are not handed out")
    }

    pub fn is_ready(&self) -> bool {
        self.ready
    }

    pub fn is_cordoned(&self) -> bool {
        self.node().spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true))
    }

    pub fn taints(&self) -> &[Taint] {
        self.node().spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
    }

    pub fn labels(&self) -> &BTreeMap<String, String> {
        node_affinity::labels(self.node())
    }

    pub fn pods(&self) -> impl Iterator<Item = &Arc<Facts>> {
        self.pods.values()
    }

    pub fn of_set(&self, set: &str) -> usize {
        self.sets.get(set).copied().unwrap_or(0)
    }

    pub fn port_conflict(&self, wanted: &[HostPort]) -> bool {
        !wanted.is_empty()
            && self
                .pods()
                .flat_map(|pod| &pod.host_ports)
                .any(|taken| wanted.iter().any(|port| port.conflicts_with(taken)))
    }

    fn add(&mut self, facts: Arc<Facts>) {
        self.count(&facts);
        self.pods.insert(facts.key.clone(), facts);
    }

    /// Sums are made anew rather than subtracted from, since they saturate.
    fn remove(&mut self, key: &Key) {
        self.pods.remove(key);
        self.requested = Resources::default();
        (self.cpu_milli_weighed, self.memory_bytes_weighed) = (0, 0);
        self.sets.clear();
        let pods: Vec<_> = self.pods.values().cloned().collect();
        pods.iter().for_each(|facts| self.count(facts));
    }

    fn count(&mut self, facts: &Facts) {
        self.requested.add(&facts.requests);
        self.cpu_milli_weighed = self.cpu_milli_weighed.saturating_add(facts.cpu_milli_weighed);
        self.memory_bytes_weighed = self.memory_bytes_weighed.saturating_add(facts.memory_bytes_weighed);
        if let Some(set) = facts.set.as_ref().filter(|_| !facts.is_terminating()) {
            *self.sets.entry(set.clone()).or_default() += 1;
        }
    }
}

pub fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// Whether this scheduler is to find a node for an unbound pod.
fn waits(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let ours = spec.scheduler_name.as_deref().is_none_or(|name| name.is_empty() || name == NAME);
    let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    ours && !gated && pod.metadata.deletion_timestamp.is_none()
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
