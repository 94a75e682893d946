//! Pods as the history of a cluster has them: one node for each, for good; no way back from an end; no uid and no
//! generation comes twice. Pure.

use std::collections::BTreeMap;

use raft::{Change, Revision};
use serde_json::Value;

const PODS: &str = "core/pods/";

/// `history`: every change, in order. Returns the node that each Pod was assigned to, by its uid.
pub fn check(history: &[Change]) -> Result<BTreeMap<String, String>, String> {
    let mut nodes: BTreeMap<String, (String, Revision)> = BTreeMap::new();
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    let mut generations: BTreeMap<String, i64> = BTreeMap::new();
    let mut ended: BTreeMap<String, String> = BTreeMap::new();
    let mut last = 0;
    for change in history {
        let (key, at) = (String::from_utf8_lossy(&change.key).into_owned(), change.revision);
        if at != last + 1 {
            return Err(format!("after revision {last} the history has {at}"));
        }
        last = at;
        let Some(value) = &change.value else { continue };
        let Ok(object) = serde_json::from_slice::<Value>(value) else { continue };
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let Some(uid) = text("/metadata/uid") else { continue };
        if let Some(other) = named.insert(uid.clone(), key.clone()).filter(|other| *other != key) {
            return Err(format!("{uid} is {other} and, at revision {at}, {key}"));
        }
        if let Some(generation) = object.pointer("/metadata/generation").and_then(Value::as_i64)
            && let Some(before) = generations.insert(uid.clone(), generation).filter(|before| *before > generation)
        {
            return Err(format!("{key} goes back from generation {before} to {generation} at revision {at}"));
        }
        if !key.starts_with(PODS) {
            continue;
        }
        let phase = text("/status/phase").unwrap_or_default();
        if let Some(end) = ended.get(&uid).filter(|end| **end != phase) {
            return Err(format!("{key} had {end}, and is {phase:?} at revision {at}"));
        }
        if matches!(phase.as_str(), "Succeeded" | "Failed") {
            ended.insert(uid.clone(), phase);
        }
        match (text("/spec/nodeName"), nodes.get(&uid)) {
            (Some(node), None) => drop(nodes.insert(uid, (node, at))),
            (now, Some((node, since))) if now.as_ref() != Some(node) => {
                return Err(format!("{key} was assigned to {node} at revision {since}, and to {now:?} at {at}"));
            }
            _ => {}
        }
    }
    Ok(nodes.into_iter().map(|(uid, (node, _))| (uid, node)).collect())
}

#[cfg(test)]
mod tests {
    use raft::Previous;
    use serde_json::json;

    use super::*;

    fn history(objects: &[(&str, Value)]) -> Vec<Change> {
        let change = |(n, (name, object)): (usize, &(&str, Value))| Change {
            revision: n as u64 + 1,
            key: format!("core/pods/default/{name}").into(),
            value: Some(object.to_string().into()),
            previous: Previous::Absent,
            author: String::new(),
            proposed_at_ms: 0,
        };
        objects.iter().enumerate().map(change).collect()
    }

    fn on(uid: &str, node: Value) -> Value {
        json!({"metadata": {"uid": uid}, "spec": {"nodeName": node}})
    }

    #[test]
    fn a_pod_goes_to_one_node_and_stays() {
        let (none, n1, n2) = (Value::Null, json!("n1"), json!("n2"));
        let good = [
            ("a", on("1", none.clone())),
            ("a", on("1", n1.clone())),
            ("a", on("1", n1.clone())),
            ("a", on("2", n2.clone())),
        ];
        let assigned = check(&history(&good)).unwrap();
        assert_eq!(assigned.into_iter().collect::<Vec<_>>(), [("1".into(), "n1".into()), ("2".into(), "n2".into())]);
        let broken = |rows: &[(&str, Value)]| check(&history(rows)).is_err();
        assert!(broken(&[("a", on("1", n1.clone())), ("a", on("1", n2))]), "moved");
        assert!(broken(&[("a", on("1", n1.clone())), ("a", on("1", none))]), "taken back");
        assert!(broken(&[("a", on("1", n1.clone())), ("b", on("1", n1.clone()))]), "a uid for two");
        let mut gap = history(&[("a", on("1", n1))]);
        gap[0].revision = 2;
        assert!(check(&gap).is_err());
    }

    #[test]
    fn nothing_goes_back() {
        let of = |generation: i64, phase: &str| {
            ("a", json!({"metadata": {"uid": "1", "generation": generation}, "status": {"phase": phase}}))
        };
        check(&history(&[of(1, "Running"), of(2, "Failed"), of(2, "Failed")])).unwrap();
        assert!(check(&history(&[of(2, "Running"), of(1, "Running")])).is_err(), "an older generation");
        assert!(check(&history(&[of(1, "Failed"), of(1, "Running")])).is_err(), "risen from the dead");
    }
}
