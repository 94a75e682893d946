//! Which items each node must have, kept change by change. Pure: (state, change) -> which items of which nodes to
//! look at again; what is sent for them is read from the state, so looking twice does no harm.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use control::controllers::pod_garbage::may_be_given_up;
use control::controllers::readiness::is_active;
use k8s_openapi::api::core::v1::Pod;

use super::references::{Need, needs};

/// The items to look at again, by node.
pub type Touched = BTreeMap<String, BTreeSet<String>>;

/// The plurals that agents are told about; all of the core group.
const PLURALS: [&str; 4] = ["pods", "configmaps", "secrets", "services"];

/// The name of an item (`<plural>/<namespace>/<name>`) for a key of the store; `None` for what no agent needs.
pub fn item_key(store_key: &[u8]) -> Option<&str> {
    let rest = store_key.strip_prefix(b"core/")?;
    let plural =
        PLURALS.iter().find(|plural| rest.strip_prefix(plural.as_bytes()).is_some_and(|r| r.starts_with(b"/")));
    plural.and_then(|_| std::str::from_utf8(rest).ok())
}

/// The name of the Node that stands under a key of the store.
pub fn node_name(store_key: &[u8]) -> Option<&str> {
    store_key.strip_prefix(b"core/nodes//").and_then(|name| std::str::from_utf8(name).ok())
}

#[derive(Default)]
pub struct Index {
    objects: BTreeMap<String, Stored>,
    /// The Nodes that exist, at their revisions. No agent is told about them.
    registered: BTreeMap<String, u64>,
    /// Pods that are bound to a node.
    bound: BTreeMap<String, Bound>,
    /// How many Pods of a node have a need.
    needed: BTreeMap<Need, BTreeMap<String, usize>>,
    /// The same, by node.
    nodes: BTreeMap<String, BTreeSet<Need>>,
}

/// An object at its revision; the bytes are shared with the store.
#[derive(Clone, Debug)]
pub struct Stored {
    pub revision: u64,
    pub json: Bytes,
}

struct Bound {
    node: String,
    needs: BTreeSet<Need>,
    /// It has not finished and does not end: whoever hears of it may begin it.
    is_active: bool,
    may_be_given_up: bool,
}

impl Bound {
    fn needs_the_same_as(&self, other: &Bound) -> bool {
        self.node == other.node && self.needs == other.needs
    }
}

impl Index {
    /// Takes one object in (`None`: it is gone) and adds what must be looked at again to `touched`.
    pub fn take_in(&mut self, item: &str, object: Option<Stored>, touched: &mut Touched) {
        if let Some(place) = item.strip_prefix("pods/") {
            let namespace = place.split('/').next().unwrap_or_default();
            let bound = object.as_ref().and_then(|stored| bound(item, namespace, &stored.json));
            self.rebind(item, bound, touched);
        }
        match object {
            Some(stored) => self.objects.insert(item.to_owned(), stored),
            None => self.objects.remove(item),
        };
        for node in self.holders(item) {
            touched.entry(node.to_owned()).or_default().insert(item.to_owned());
        }
    }

    /// Takes in that a Node stands at this revision (`None`: it is gone).
    pub fn take_in_node(&mut self, name: &str, revision: Option<u64>) {
        match revision {
            Some(revision) => self.registered.insert(name.to_owned(), revision),
            None => self.registered.remove(name),
        };
    }

    /// At which revision this Node stands.
    pub fn node(&self, name: &str) -> Option<u64> {
        self.registered.get(name).copied()
    }

    /// Why an agent that has just begun may not be told this node's work yet: it could begin a Pod that is given up without
    /// its word. `None`: it may.
    pub fn why_withheld(&self, node: &str) -> Option<&'static str> {
        let mut active = self.pods(node).filter(|pod| pod.is_active).peekable();
        active.peek()?;
        if !self.registered.contains_key(node) {
            return Some("its Node does not exist");
        }
        active.any(|pod| pod.may_be_given_up).then_some("its Node was gone, and not all its Pods say that it is back")
    }

    fn pods(&self, node: &str) -> impl Iterator<Item = &Bound> {
        self.nodes.get(node).into_iter().flatten().filter_map(|need| match need {
            Need::Item(item) => self.bound.get(item),
            Need::Services(_) => None,
        })
    }

    /// The object, when this node must have it and it exists.
    pub fn wanted(&self, node: &str, item: &str) -> Option<&Stored> {
        let stored = self.objects.get(item)?;
        self.holders(item).any(|holder| holder == node).then_some(stored)
    }

    /// Everything this node must have, in order.
    pub fn full(&self, node: &str) -> BTreeMap<&str, &Stored> {
        let mut set = BTreeMap::new();
        for need in self.nodes.get(node).into_iter().flatten() {
            match need {
                Need::Item(item) => set.extend(self.objects.get_key_value(item).map(|(k, v)| (k.as_str(), v))),
                Need::Services(namespace) => set.extend(self.services(namespace)),
            }
        }
        set
    }

    fn services<'a>(&'a self, namespace: &str) -> impl Iterator<Item = (&'a str, &'a Stored)> + use<'a> {
        let prefix = format!("services/{namespace}/");
        self.objects
            .range(prefix.clone()..)
            .take_while(move |(key, _)| key.starts_with(&prefix))
            .map(|(key, stored)| (key.as_str(), stored))
    }

    /// The nodes that must have an item; a node may be named twice.
    fn holders(&self, item: &str) -> impl Iterator<Item = &str> {
        let by_name = self.needed.get(&Need::Item(item.to_owned()));
        let namespace = item.strip_prefix("services/").and_then(|place| place.split('/').next());
        let by_namespace = namespace.and_then(|name| self.needed.get(&Need::Services(name.to_owned())));
        by_name.into_iter().chain(by_namespace).flat_map(|nodes| nodes.keys().map(String::as_str))
    }

    fn rebind(&mut self, pod: &str, now: Option<Bound>, touched: &mut Touched) {
        if let (Some(before), Some(now)) = (self.bound.get_mut(pod), &now)
            && before.needs_the_same_as(now)
        {
            (before.is_active, before.may_be_given_up) = (now.is_active, now.may_be_given_up);
            return;
        }
        if let Some(before) = self.bound.remove(pod) {
            for need in &before.needs {
                self.release(&before.node, need, touched);
            }
        }
        if let Some(now) = now {
            for need in &now.needs {
                self.require(&now.node, need, touched);
            }
            self.bound.insert(pod.to_owned(), now);
        }
    }

    fn require(&mut self, node: &str, need: &Need, touched: &mut Touched) {
        let count = self.needed.entry(need.clone()).or_default().entry(node.to_owned()).or_insert(0);
        *count += 1;
        if *count == 1 {
            self.nodes.entry(node.to_owned()).or_default().insert(need.clone());
            self.touch(node, need, touched);
        }
    }

    fn release(&mut self, node: &str, need: &Need, touched: &mut Touched) {
        let by_node = self.needed.get_mut(need).expect("a bound Pod's needs are counted");
        let count = by_node.get_mut(node).expect("a bound Pod's needs are counted");
        *count -= 1;
        if *count > 0 {
            return;
        }
        by_node.remove(node);
        if by_node.is_empty() {
            self.needed.remove(need);
        }
        let of_node = self.nodes.get_mut(node).expect("a bound Pod's node is known");
        of_node.remove(need);
        if of_node.is_empty() {
            self.nodes.remove(node);
        }
        self.touch(node, need, touched);
    }

    fn touch(&self, node: &str, need: &Need, touched: &mut Touched) {
        let items = touched.entry(node.to_owned()).or_default();
        match need {
            Need::Item(item) => drop(items.insert(item.clone())),
            Need::Services(namespace) => items.extend(self.services(namespace).map(|(key, _)| key.to_owned())),
        }
    }
}

fn bound(item: &str, namespace: &str, json: &[u8]) -> Option<Bound> {
    let pod: Pod = match serde_json::from_slice(json) {
        Ok(pod) => pod,
        Err(error) => {
            tracing::error!(pod = item, %error, "a stored Pod does not parse; no node is told about it");
            return None;
        }
    };
    let node = pod.spec.as_ref()?.node_name.clone().filter(|name| !name.is_empty())?;
    let needs = needs(item, namespace, &pod);
    Some(Bound { node, needs, is_active: is_active(&pod), may_be_given_up: may_be_given_up(&pod) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pod(node: &str, config: &str) -> Bytes {
        let volumes = serde_json::json!([{"name": "v", "configMap": {"name": config}}]);
        let spec = serde_json::json!({"nodeName": node, "containers": [], "volumes": volumes});
        serde_json::to_vec(&serde_json::json!({"spec": spec})).unwrap().into()
    }

    fn told(touched: &Touched) -> Vec<String> {
        let line = |(node, items): (&String, &BTreeSet<String>)| {
            format!("{node}: {}", items.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
        };
        touched.iter().map(line).collect()
    }

    fn change(index: &mut Index, item: &str, json: Option<Bytes>) -> Vec<String> {
        let mut touched = Touched::new();
        index.take_in(item, json.map(|json| Stored { revision: 1, json }), &mut touched);
        told(&touched)
    }

    #[test]
    fn store_keys_of_other_kinds_are_no_items() {
        assert_eq!(item_key(b"core/pods/default/web"), Some("pods/default/web"));
        assert_eq!(item_key(b"core/secrets/a/b"), Some("secrets/a/b"));
        assert_eq!(item_key(b"core/podtemplates/a/b"), None);
        assert_eq!(item_key(b"core/events/a/b"), None);
        assert_eq!(item_key(b"apps/pods/a/b"), None);
        assert_eq!(item_key(b"core/nodes//n1"), None);
        assert_eq!((node_name(b"core/nodes//n1"), node_name(b"core/pods/a/n1")), (Some("n1"), None));
    }

    #[test]
    fn a_bound_pod_brings_what_it_refers_to_and_takes_it_away_again() {
        let mut index = Index::default();
        assert!(change(&mut index, "configmaps/ns/c", Some("{}".into())).is_empty());
        assert!(change(&mut index, "services/ns/s", Some("{}".into())).is_empty());
        assert!(change(&mut index, "pods/ns/a", Some(pod("", "c"))).is_empty());
        let brought = ["n1: configmaps/ns/c pods/ns/a services/default/kubernetes services/ns/s"];
        assert_eq!(change(&mut index, "pods/ns/a", Some(pod("n1", "c"))), brought);
        assert_eq!(
            index.full("n1").keys().copied().collect::<Vec<_>>(),
            ["configmaps/ns/c", "pods/ns/a", "services/ns/s"]
        );
        assert_eq!(change(&mut index, "configmaps/ns/c", Some("{}".into())), ["n1: configmaps/ns/c"]);
        assert!(change(&mut index, "configmaps/ns/other", Some("{}".into())).is_empty());
        assert_eq!(change(&mut index, "services/ns/t", Some("{}".into())), ["n1: services/ns/t"]);
        assert_eq!(change(&mut index, "pods/ns/b", Some(pod("n1", "c"))), ["n1: pods/ns/b"]);
        assert_eq!(change(&mut index, "pods/ns/a", None), ["n1: pods/ns/a"]);
        let gone = ["n1: configmaps/ns/c pods/ns/b services/default/kubernetes services/ns/s services/ns/t"];
        assert_eq!(change(&mut index, "pods/ns/b", None), gone);
        assert!(index.full("n1").is_empty() && index.needed.is_empty() && index.nodes.is_empty());
    }

    #[test]
    fn a_pod_of_the_same_name_on_another_node_leaves_the_first() {
        let mut index = Index::default();
        change(&mut index, "pods/ns/a", Some(pod("n1", "c")));
        let mut touched = Touched::new();
        index.take_in("pods/ns/a", None, &mut touched);
        index.take_in("pods/ns/a", Some(Stored { revision: 2, json: pod("n2", "c") }), &mut touched);
        assert!(touched["n1"].contains("pods/ns/a") && index.wanted("n1", "pods/ns/a").is_none());
        assert!(touched["n2"].contains("pods/ns/a") && index.wanted("n2", "pods/ns/a").is_some());
    }

    fn with_status(status: serde_json::Value) -> Option<Bytes> {
        let mut pod: serde_json::Value = serde_json::from_slice(&pod("n1", "c")).unwrap();
        pod["status"] = status;
        Some(pod.to_string().into())
    }

    #[test]
    fn a_status_change_touches_the_pod_alone() {
        let mut index = Index::default();
        change(&mut index, "configmaps/ns/c", Some("{}".into()));
        change(&mut index, "pods/ns/a", Some(pod("n1", "c")));
        assert_eq!(change(&mut index, "pods/ns/a", Some(pod("n1", "c"))), ["n1: pods/ns/a"]);
        let finished = with_status(serde_json::json!({"phase": "Failed"}));
        assert_eq!(change(&mut index, "pods/ns/a", finished), ["n1: pods/ns/a"]);
    }

    #[test]
    fn work_is_withheld_while_a_pod_could_be_begun_whose_node_is_gone() {
        let mut index = Index::default();
        let gone = serde_json::json!([{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}]);
        let mut withheld = |revision: Option<u64>, pod: Option<Bytes>| {
            index.take_in_node("n1", revision);
            change(&mut index, "pods/ns/a", pod);
            index.why_withheld("n1").is_some()
        };
        let of = |phase: &str, conditions: &serde_json::Value| {
            with_status(serde_json::json!({"phase": phase, "conditions": conditions}))
        };
        let none = serde_json::json!([]);
        assert!(!withheld(None, None), "there is nothing to begin");
        for (phase, may_begin) in [("Pending", true), ("Running", true), ("Succeeded", false), ("Failed", false)] {
            assert_eq!(withheld(None, of(phase, &none)), may_begin, "{phase}, no Node");
            assert_eq!(withheld(Some(1), of(phase, &gone)), may_begin, "{phase}, and it may be given up");
            assert!(!withheld(Some(1), of(phase, &none)), "{phase}");
        }
    }

    fn any_change() -> impl Strategy<Value = (String, Option<Bytes>)> {
        let name = prop::sample::select(vec!["x", "y", "z"]);
        let namespace = prop::sample::select(vec!["a", "default"]);
        let node = prop::sample::select(vec!["", "n1", "n2"]);
        (0..3u8, namespace, name.clone(), node, name, any::<bool>()).prop_map(
            |(kind, namespace, name, node, config, there)| {
                let (plural, json) = match kind {
                    0 => ("pods", pod(node, config)),
                    1 => ("configmaps", Bytes::from_static(b"{}")),
                    _ => ("services", Bytes::from_static(b"{}")),
                };
                (format!("{plural}/{namespace}/{name}"), there.then_some(json))
            },
        )
    }

    proptest! {
        /// What an agent holds after the full set and every difference is what a new session would be sent.
        #[test]
        fn differences_lead_to_the_full_set(changes in prop::collection::vec((any_change(), 1..4usize), 1..60)) {
            let mut index = Index::default();
            let mut held: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
            let mut touched = Touched::new();
            for (revision, ((item, json), until_sent)) in changes.into_iter().enumerate() {
                let revision = revision as u64 + 1;
                index.take_in(&item, json.map(|json| Stored { revision, json }), &mut touched);
                if until_sent > 1 {
                    continue;
                }
                for (node, items) in std::mem::take(&mut touched) {
                    let node = if node == "n1" { "n1" } else { "n2" };
                    for item in items {
                        match index.wanted(node, &item) {
                            Some(stored) => held.entry(node).or_default().insert(item, stored.revision),
                            None => held.entry(node).or_default().remove(&item),
                        };
                    }
                }
                for node in ["n1", "n2"] {
                    let full: BTreeMap<String, u64> =
                        index.full(node).into_iter().map(|(key, stored)| (key.to_owned(), stored.revision)).collect();
                    prop_assert_eq!(held.get(node).cloned().unwrap_or_default(), full);
                }
            }
        }
    }
}
