//! What a node was told to run, and what the agent tells about itself. Types only.

use std::collections::BTreeMap;

use bytes::Bytes;

/// The complete set of what this node needs, as of one assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// The leader's term; 0 when nothing was ever assigned.
    pub term: u64,
    /// The position within the term. (term, sequence) only grows, except that a sequence starts over when the
    /// session does.
    pub sequence: u64,
    /// By `<plural>/<namespace>/<name>`: pods, configmaps, secrets and services, each the object's JSON with its
    /// resourceVersion. A configmap or secret that a Pod refers to and that is not here does not exist.
    pub items: BTreeMap<String, Bytes>,
    /// From the agent's own disk: since it began, no leader has said that this is still so.
    pub is_remembered: bool,
}

impl Work {
    /// The items of one plural, such as `pods`.
    pub fn of<'a>(&'a self, plural: &str) -> impl Iterator<Item = (&'a str, &'a Bytes)> {
        let prefix = format!("{plural}/");
        self.items
            .range(prefix.clone()..)
            .take_while(move |(key, _)| key.starts_with(&prefix))
            .map(|(key, json)| (key.as_str(), json))
    }

    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<&Bytes> {
        self.items.get(&format!("{plural}/{namespace}/{name}"))
    }
}

/// What every heartbeat carries. Every change of it is sent at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Does the container engine answer?
    pub engine_ready: bool,
    /// Why not, in words.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_one_plural_are_found_and_no_others() {
        let keys = ["configmaps/a/x", "pods/a/x", "pods/b/y", "podsets/a/z", "secrets/a/x"];
        let items = keys.iter().map(|key| (key.to_string(), Bytes::from_static(b"{}"))).collect();
        let work = Work { term: 1, sequence: 1, items, ..Work::default() };
        let found: Vec<&str> = work.of("pods").map(|(key, _)| key).collect();
        assert_eq!(found, ["pods/a/x", "pods/b/y"]);
        assert!(work.get("pods", "b", "y").is_some());
        assert!(work.get("pods", "b", "x").is_none());
    }
}
