//! A small world for tests: objects out of JSON, and plans applied as the store would.

use std::collections::BTreeMap;
use std::time::Duration;

use api::Key;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{Change, Controller, Liveness, Plan, View, Write};

pub struct World {
    pub view: View,
    uids: u64,
}

impl World {
    pub fn new(objects: impl IntoIterator<Item = Value>) -> World {
        let mut world = World { view: View::new(), uids: 0 };
        world.at(1_000_000);
        objects.into_iter().for_each(|object| {
            world.put(object);
        });
        world
    }

    /// Time passes, and nothing is heard of anybody meanwhile.
    pub fn at(&mut self, second: i64) -> &mut World {
        let before = std::mem::replace(&mut self.view.now, Timestamp::from_second(second).expect("a valid time"));
        let passed = Duration::try_from(self.view.now.duration_since(before)).unwrap_or_default();
        self.view.liveness.values_mut().for_each(|liveness| liveness.silent_for += passed);
        self
    }

    pub fn put(&mut self, mut object: Value) -> Change {
        let key = key_of(&object);
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}", key.name));
        }
        let bytes = serde_json::to_vec(&object).expect("JSON");
        self.take(&key, Some(&bytes)).expect("a change")
    }

    pub fn delete(&mut self, key: &Key) -> Option<Change> {
        self.take(key, None)
    }

    fn take(&mut self, key: &Key, value: Option<&[u8]>) -> Option<Change> {
        let revision = self.view.revision + 1;
        self.view.take_in(key, revision, value)
    }

    pub fn get(&self, key: &Key) -> Option<Value> {
        self.view.get(key).map(|entry| serde_json::from_slice(&entry.encode()).expect("JSON"))
    }

    pub fn heard(&mut self, node: &str, engine_ready: bool) {
        let liveness = Liveness {
            silent_for: Duration::ZERO,
            engine_ready,
            engine_message: if engine_ready { "" } else { "dockerd does not answer" }.into(),
        };
        self.view.liveness.insert(node.into(), liveness);
    }

    /// As the store would: all or nothing, with the preconditions.
    pub fn apply(&mut self, plan: &Plan) -> Vec<Change> {
        for write in &plan.writes {
            let (key, at) = match write {
                Write::Create { key, .. } => (key, None),
                Write::Update { key, at, .. } | Write::Delete { key, at } | Write::Check { key, at } => {
                    (key, Some(*at))
                }
            };
            assert_eq!(self.view.get(key).map(|entry| entry.revision), at, "the precondition on {key}");
        }
        let mut changes = Vec::new();
        for write in &plan.writes {
            let change = match write {
                Write::Create { key, object } => {
                    self.uids += 1;
                    let stamped = api::object::stamp(object, &format!("made-{}", self.uids), self.view.now);
                    self.take(key, Some(&stamped))
                }
                Write::Update { key, object, .. } => self.take(key, Some(object)),
                Write::Delete { key, .. } => self.take(key, None),
                Write::Check { .. } => None,
            };
            changes.extend(change);
        }
        changes
    }

    /// Plans and applies until nothing is left to do; it has to be soon.
    pub fn settle(&mut self, controller: &dyn Controller, key: &Key) -> Vec<Plan> {
        let mut plans = Vec::new();
        loop {
            let plan = controller.plan(&self.view, key);
            assert_eq!(plan, controller.plan(&self.view, key), "the same view gives the same plan");
            if plan.writes.is_empty() {
                return plans;
            }
            assert!(plans.len() < 50, "it does not converge: {plan:?}");
            self.apply(&plan);
            plans.push(plan);
        }
    }
}

pub fn key_of(object: &Value) -> Key {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let (group, resource) = match object["kind"].as_str().expect("a kind") {
        "Pod" => ("", "pods"),
        "Node" => ("", "nodes"),
        "Namespace" => ("", "namespaces"),
        "Service" => ("", "services"),
        "Event" => ("", "events"),
        "ConfigMap" => ("", "configmaps"),
        "ReplicaSet" => ("apps", "replicasets"),
        "Deployment" => ("apps", "deployments"),
        other => panic!("no fixture for {other}"),
    };
    Key::new(group, resource, &text(&object["metadata"]["namespace"]), &text(&object["metadata"]["name"]))
}

pub fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "100Gi"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "creationTimestamp": "1970-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "c", "image": "web:1", "resources": {"requests": {"cpu": "100m"}}}]},
        "status": {"phase": "Pending"},
    })
}

pub fn bound(name: &str, node: &str) -> Value {
    with(pod(name), json!({"spec": {"nodeName": node}, "status": {"phase": "Running"}}))
}

pub fn labelled(object: Value, labels: &[(&str, &str)]) -> Value {
    let labels: BTreeMap<_, _> = labels.iter().copied().collect();
    with(object, json!({"metadata": {"labels": labels}}))
}

pub fn of_set(object: Value, set: &str) -> Value {
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": set, "controller": true});
    with(object, json!({"metadata": {"ownerReferences": [owner]}}))
}

pub fn tainted(node: Value, taint: &str) -> Value {
    let (key, effect) = taint.split_once(':').expect("an effect");
    let (key, value) = key.split_once('=').unwrap_or((key, ""));
    with(node, json!({"spec": {"taints": [{"key": key, "value": value, "effect": effect}]}}))
}

/// Merges as a JSON merge patch does.
pub fn with(mut object: Value, patch: Value) -> Value {
    merge(&mut object, &patch);
    object
}

fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}
