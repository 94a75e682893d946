//! A cluster in memory, for tests and measurements: assigns Pods, takes statuses and events, and feeds what was written
//! back into the assignment, as replicas do. Acts on memory only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use api::patch::PatchType;
use async_trait::async_trait;
use bytes::Bytes;
use k8s_openapi::api::core::v1::{Event, Node, Pod, PodStatus};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Api, Error};
use crate::session::Work;

/// Clones share the cluster.
#[derive(Clone)]
pub struct Rehearsal(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    work: watch::Sender<Option<Arc<Work>>>,
}

#[derive(Default)]
struct State {
    work: Work,
    events: BTreeMap<String, Event>,
    nodes: BTreeMap<String, Value>,
    /// Every write, in order: `status web`, `delete web`, `event Started`, `node n1`.
    writes: Vec<String>,
    failing: Option<Error>,
    overtaken: bool,
}

impl Default for Rehearsal {
    fn default() -> Rehearsal {
        let work = Work { term: 1, sequence: 1, ..Work::default() };
        let sender = watch::Sender::new(Some(Arc::new(work.clone())));
        Rehearsal(Arc::new(Inner { state: Mutex::new(State { work, ..State::default() }), work: sender }))
    }
}

impl Rehearsal {
    /// What the agent is to run.
    pub fn work(&self) -> watch::Receiver<Option<Arc<Work>>> {
        self.0.work.subscribe()
    }

    /// Assigns a Pod of the namespace `default`, as the scheduler leaves it; its uid is made from its name.
    pub fn assign(&self, name: &str, spec: Value) {
        let scheduled = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "labels": {"app": name}},
            "spec": spec,
            "status": {"phase": "Pending", "conditions": [scheduled]},
        });
        self.put(&format!("pods/default/{name}"), pod);
    }

    /// Puts any object, by its key in the assignment.
    pub fn put(&self, key: &str, object: Value) {
        self.change(|state| {
            state.work.items.insert(key.to_owned(), Bytes::from(object.to_string()));
        });
    }

    /// The object is gone.
    pub fn remove(&self, key: &str) {
        self.change(|state| {
            state.work.items.remove(key);
        });
    }

    /// Marks a Pod for deletion: `deadline` is when its grace ends.
    pub fn delete(&self, name: &str, deadline: jiff::Timestamp, grace_s: i64) {
        self.edit(name, |pod| {
            pod["metadata"]["deletionTimestamp"] = json!(deadline.to_string());
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace_s);
        });
    }

    pub fn edit(&self, name: &str, edit: impl FnOnce(&mut Value)) {
        self.change(|state| {
            let key = format!("pods/default/{name}");
            let Some(json) = state.work.items.get(&key) else { return };
            let mut pod: Value = serde_json::from_slice(json).unwrap_or_default();
            edit(&mut pod);
            state.work.items.insert(key, Bytes::from(pod.to_string()));
        });
    }

    /// While this holds no write gets through.
    pub fn cut_off(&self, cut_off: bool) {
        self.fail(cut_off.then(|| Error::Unavailable("cut off".into())));
    }

    /// What every write is answered with from now on, without any effect.
    pub fn fail(&self, failure: Option<Error>) {
        self.lock().failing = failure;
    }

    /// While this holds the status that stands there takes the place of every one that is written, as an older report does that
    /// a replica had held back.
    pub fn overtake(&self, overtaken: bool) {
        self.lock().overtaken = overtaken;
    }

    pub fn pod(&self, name: &str) -> Option<Pod> {
        serde_json::from_slice(self.lock().work.get("pods", "default", name)?).ok()
    }

    pub fn status(&self, name: &str) -> PodStatus {
        self.pod(name).and_then(|pod| pod.status).unwrap_or_default()
    }

    pub fn is_ready(&self, name: &str) -> bool {
        let status = self.status(name);
        status.conditions.iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }

    pub fn events(&self) -> Vec<Event> {
        self.lock().events.values().cloned().collect()
    }

    pub fn node(&self, name: &str) -> Option<Node> {
        serde_json::from_value(self.lock().nodes.get(name)?.clone()).ok()
    }

    pub fn writes(&self) -> Vec<String> {
        self.lock().writes.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder of the lock panics")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        state.work.sequence += 1;
        self.0.work.send_replace(Some(Arc::new(state.work.clone())));
    }

    fn enter(&self, write: String) -> Result<(), Error> {
        let mut state = self.lock();
        if let Some(failure) = &state.failing {
            return Err(failure.clone());
        }
        state.writes.push(write);
        Ok(())
    }
}

/// As the API merges it.
fn merge(target: &mut Value, kind: &str, patch: &Value) -> Result<(), Error> {
    let patch = patch.to_string();
    let merged = api::patch::apply("", "v1", kind, PatchType::StrategicMerge, target.clone(), patch.as_bytes());
    *target = merged.map_err(|error| Error::Refused(error.to_string()))?;
    Ok(())
}

#[async_trait]
impl Api for Rehearsal {
    async fn patch_pod_status(&self, namespace: &str, name: &str, patch: Value) -> Result<(), Error> {
        self.enter(format!("status {name}"))?;
        let standing = self.pod(name).filter(|pod| pod.metadata.namespace.as_deref() == Some(namespace));
        let Some(standing) = standing else { return Err(Error::NotFound) };
        if standing.metadata.uid.as_deref() != patch["metadata"]["uid"].as_str() {
            return Err(Error::Conflict("another uid".into()));
        }
        let (overtaken, number) = {
            let state = self.lock();
            (state.overtaken, state.writes.len())
        };
        let mut merged = Ok(());
        self.edit(name, |pod| match overtaken {
            true => pod["metadata"]["resourceVersion"] = json!(number.to_string()),
            false => merged = merge(pod, "Pod", &patch),
        });
        merged
    }

    async fn delete_pod(&self, _: &str, name: &str, uid: &str) -> Result<(), Error> {
        self.enter(format!("delete {name}"))?;
        match self.pod(name) {
            Some(pod) if pod.metadata.uid.as_deref() == Some(uid) => {
                self.remove(&format!("pods/default/{name}"));
                Ok(())
            }
            Some(_) => Err(Error::Conflict("another uid".into())),
            None => Err(Error::NotFound),
        }
    }

    async fn create_event(&self, event: &Event) -> Result<(), Error> {
        self.enter(format!("event {}", event.reason.as_deref().unwrap_or_default()))?;
        let name = event.metadata.name.clone().unwrap_or_default();
        let mut state = self.lock();
        if state.events.contains_key(&name) {
            return Err(Error::Conflict("it exists".into()));
        }
        state.events.insert(name, event.clone());
        Ok(())
    }

    async fn find_event(&self, _: &str, name: &str) -> Result<Option<Event>, Error> {
        Ok(self.lock().events.get(name).cloned())
    }

    async fn patch_event(&self, _: &str, name: &str, patch: Value) -> Result<(), Error> {
        let mut state = self.lock();
        let event = state.events.get_mut(name).ok_or(Error::NotFound)?;
        event.count = patch["count"].as_i64().map(|count| count as i32);
        Ok(())
    }

    async fn find_node(&self, name: &str) -> Result<Option<Node>, Error> {
        let failing = self.lock().failing.clone();
        failing.map_or_else(|| Ok(self.node(name)), Err)
    }

    async fn create_node(&self, node: &Node) -> Result<(), Error> {
        let name = node.metadata.name.clone().unwrap_or_default();
        self.enter(format!("node {name}"))?;
        self.lock().nodes.insert(name, serde_json::to_value(node).unwrap_or_default());
        Ok(())
    }

    async fn patch_node(&self, name: &str, patch: Value, _: bool) -> Result<(), Error> {
        self.enter(format!("node {name}"))?;
        let mut state = self.lock();
        let node = state.nodes.get_mut(name).ok_or(Error::NotFound)?;
        merge(node, "Node", &patch)
    }
}
