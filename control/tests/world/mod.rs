//! A cluster in memory: a store with preconditions, the controllers, and a kubelet that works in no time.
//! Every plan is made twice, and must take effect.

pub mod kubelet;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::Key;
use api::deletion::{self, Deletion, Options};
use api::kinds::{Effect, Operation, Request, find_kind, find_resource, split_api_version};
use jiff::{SignedDuration, Timestamp};
use kontiki_control::controllers::{deployment, garbage, namespace, pod_garbage, replica_set};
use kontiki_control::plan::WRITES_MAX;
use kontiki_control::{Controller, Liveness, Plan, View, Write};
use serde_json::Value;

/// Rounds until a cluster that has not come to rest is said never to.
const ROUNDS_MAX: usize = 2000;

pub struct World {
    pub view: View,
    stored: BTreeMap<Key, Vec<u8>>,
    revision: u64,
    uids: u64,
    controllers: Vec<Box<dyn Controller>>,
    queue: BTreeSet<(usize, Key)>,
    rechecks: BTreeMap<(usize, Key), Timestamp>,
    /// What happened, one line each.
    pub log: String,
}

impl World {
    /// With the namespace `default` and three nodes.
    pub fn new() -> World {
        let mut view = View::new();
        view.now = "2026-01-01T00:00:00Z".parse().unwrap();
        let controllers: Vec<Box<dyn Controller>> = vec![
            Box::new(deployment::Deployments),
            Box::new(replica_set::ReplicaSets),
            Box::new(namespace::Namespaces),
            Box::new(garbage::Garbage),
            Box::new(pod_garbage::PodGarbage { finished_max: 3, ..Default::default() }),
        ];
        let mut world = World {
            view,
            stored: BTreeMap::new(),
            revision: 0,
            uids: 0,
            controllers,
            queue: BTreeSet::new(),
            rechecks: BTreeMap::new(),
            log: String::new(),
        };
        world.apply("{apiVersion: v1, kind: Namespace, metadata: {name: default}}").unwrap();
        for node in kubelet::NODES {
            world.apply(&format!("{{apiVersion: v1, kind: Node, metadata: {{name: {node}}}}}")).unwrap();
        }
        world.settle();
        world.log.clear();
        world
    }

    /// Creates or replaces, by the rules of the API.
    pub fn apply(&mut self, yaml: &str) -> Result<Key, String> {
        let yaml = self.with_uids(yaml);
        let mut object: Value = serde_yaml::from_str(&yaml).map_err(|error| error.to_string())?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let (group, version) = split_api_version(&api_version);
        let kind = find_kind(group, version, &kind).ok_or("no such kind")?;
        let mut namespace = text(&object["metadata"]["namespace"]);
        if kind.namespaced && namespace.is_empty() {
            namespace = "default".into();
        }
        let status = object.as_object_mut().and_then(|object| object.remove("status"));
        let key = kind.key(&namespace, &text(&object["metadata"]["name"]));
        self.admit(&key, &object)?;
        if let Some(status) = status {
            let mut stored: Value = serde_json::from_slice(&self.stored[&key]).unwrap();
            stored["status"] = status;
            self.put(&key, Some(stored.to_string().into_bytes()));
        }
        Ok(key)
    }

    /// `$core/configmaps/default/x` stands for the uid of that object.
    fn with_uids(&self, yaml: &str) -> String {
        let words = yaml.split_inclusive([' ', ',', '}', '\n']).map(|word| {
            let Some(key) = word.strip_prefix('$').map(|text| text.trim_end_matches([' ', ',', '}', '\n'])) else {
                return word.to_string();
            };
            let uid = Key::decode(key.as_bytes()).and_then(|key| Some(self.view.get(&key)?.uid().to_string()));
            word.replace(&format!("${key}"), &uid.unwrap_or_default())
        });
        words.collect()
    }

    /// A merge patch.
    pub fn patch(&mut self, key: &Key, patch: &Value) -> Result<(), String> {
        let stored = self.stored.get(key).ok_or("not found")?;
        let mut object: Value = serde_json::from_slice(stored).unwrap();
        merge(&mut object, patch);
        self.admit(key, &object)
    }

    pub fn delete(&mut self, key: &Key, options: &Options) {
        let Some(entry) = self.view.get(key) else { return };
        let kind = find_resource(&key.group, &key.resource).unwrap();
        let now = self.view.now;
        match deletion::delete(kind, &self.stored[key], entry.revision, options, now).unwrap() {
            Deletion::Remove => self.put(key, None),
            Deletion::Mark(object) => self.put(key, Some(object)),
            Deletion::Unchanged => {}
        }
    }

    fn admit(&mut self, key: &Key, object: &Value) -> Result<(), String> {
        let kind = find_resource(&key.group, &key.resource).ok_or("no such kind")?;
        let body = object.to_string().into_bytes();
        let old = self.stored.get(key).cloned();
        let revision = self.view.get(key).map_or(0, |entry| entry.revision);
        self.uids += 1;
        let uid = format!("u{}", self.uids);
        let operation = match &old {
            None => Operation::Create { uid: &uid, now: self.view.now, random: self.uids },
            Some(old) => Operation::Update { old, revision },
        };
        let request = Request { namespace: &key.namespace, name: &key.name, body: &body, operation };
        let admitted = kind.admit(&request).map_err(|status| status.message)?;
        match admitted.effect {
            Effect::Put => self.put(key, Some(admitted.object)),
            Effect::Remove => self.put(key, None),
            Effect::Unchanged => {}
        }
        Ok(())
    }

    /// Changes one object, and wakes the controllers that it concerns.
    pub fn put(&mut self, key: &Key, object: Option<Vec<u8>>) {
        self.revision += 1;
        let change = self.view.take_in(key, self.revision, object.as_deref());
        match object {
            Some(object) => self.stored.insert(key.clone(), object),
            None => self.stored.remove(key),
        };
        let Some(change) = change else { return };
        for (at, controller) in self.controllers.iter().enumerate() {
            self.queue.extend(controller.affected(&change, &self.view).into_iter().map(|key| (at, key)));
        }
    }

    /// Time passes, and no agent is heard meanwhile.
    pub fn advance(&mut self, seconds: i64) {
        self.view.now = self.view.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
        let nodes: Vec<String> = self.view.nodes_with_pods().map(str::to_owned).collect();
        for node in nodes {
            let begun = || Liveness { silent_for: Duration::ZERO, engine_ready: true, engine_message: String::new() };
            let liveness = self.view.liveness.entry(node).or_insert_with(begun);
            liveness.silent_for += Duration::from_secs(seconds.unsigned_abs());
        }
        let now = self.view.now;
        let due = self.rechecks.extract_if(.., |_, at| *at <= now).map(|(wake, _)| wake);
        self.queue.extend(due);
    }

    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Plans one of the keys that wait: the `choice`th, around.
    pub fn step(&mut self, choice: usize) {
        let Some(wake) = self.queue.iter().nth(choice % self.queue.len().max(1)).cloned() else { return };
        self.queue.remove(&wake);
        let plan = self.plan(wake.0, &wake.1);
        self.rechecks.remove(&wake);
        if let Some(at) = plan.recheck_at {
            assert!(at > self.view.now, "{wake:?} is to be looked at again in the past");
            self.rechecks.insert(wake.clone(), at);
        }
        self.take_effect(wake.0, plan);
    }

    fn plan(&self, controller: usize, key: &Key) -> Plan {
        let controller = &self.controllers[controller];
        let plan = controller.plan(&self.view, key);
        assert_eq!(plan, controller.plan(&self.view, key), "{} plans differently twice", controller.name());
        assert!(plan.writes.len() <= WRITES_MAX);
        plan
    }

    /// Until nobody has anything to do.
    pub fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if self.is_idle() {
                return self.check_converged();
            }
            self.step(0);
        }
        panic!("no rest after {ROUNDS_MAX} plans:\n{}", self.log);
    }

    /// Settles, lets the kubelet work, and so on until it has nothing to do either.
    pub fn converge(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.settle();
            if !self.kubelet(|_| true) {
                return;
            }
            self.advance(1);
        }
        panic!("no rest after {ROUNDS_MAX} rounds:\n{}", self.log);
    }

    /// Whatever key a controller is asked for, it has nothing to write.
    fn check_converged(&self) {
        for (at, controller) in self.controllers.iter().enumerate() {
            for key in self.stored.keys() {
                let plan = controller.plan(&self.view, key);
                assert!(
                    plan.writes.is_empty(),
                    "{} is not done with {key}: {}",
                    controller.name(),
                    self.text(at, &plan)
                );
            }
        }
    }

    fn take_effect(&mut self, controller: usize, plan: Plan) {
        let text = self.text(controller, &plan);
        self.log.push_str(&text);
        let mut keys = BTreeSet::new();
        for write in &plan.writes {
            let (key, at) = match write {
                Write::Create { key, .. } => (key, None),
                Write::Update { key, at, .. } | Write::Delete { key, at } | Write::Check { key, at } => {
                    (key, Some(*at))
                }
            };
            assert!(keys.insert(key.clone()), "{key} is written twice by one plan:\n{text}");
            assert_eq!(self.view.get(key).map(|entry| entry.revision), at, "{key} has another revision:\n{text}");
        }
        for write in plan.writes {
            match write {
                Write::Create { key, object } => {
                    self.uids += 1;
                    let stamped = api::object::stamp(&object, &format!("u{}", self.uids), self.view.now);
                    self.put(&key, Some(stamped));
                }
                Write::Update { key, object, .. } => self.put(&key, Some(object)),
                Write::Delete { key, .. } => self.put(&key, None),
                Write::Check { .. } => {}
            }
        }
    }

    pub fn json(&self, key: &Key) -> Option<Value> {
        self.stored.get(key).map(|stored| serde_json::from_slice(stored).unwrap())
    }

    pub fn keys(&self, group: &str, resource: &str) -> Vec<Key> {
        self.view.of_kind(group, resource).map(|entry| Key::clone(&entry.key)).collect()
    }
}

fn merge(object: &mut Value, patch: &Value) {
    let (Some(into), Some(fields)) = (object.as_object_mut(), patch.as_object()) else {
        *object = patch.clone();
        return;
    };
    for (name, value) in fields {
        if value.is_null() {
            into.remove(name);
        } else {
            merge(into.entry(name).or_insert(Value::Null), value);
        }
    }
}
