//! Keeps what is said of each node true: its Ready condition and taints; and moves pods off dead ones. Pure,
//! decides.
//!
//! - [`health`]: what the leader makes of a node's silence, and when evictions pause;
//! - [`condition`] and [`taints`]: how that stands in the Node;
//! - [`evict`]: what it means for the pods there.

mod condition;
mod evict;
pub mod health;
mod taints;

use std::sync::Arc;

use api::Key;
use k8s_openapi::api::core::v1::{Node, ObjectReference};

use crate::plan::cut_to_fit;
use crate::view::Change;
use crate::{Controller, Note, Plan, View, Write};
pub use health::{GRACE, Health, health};

/// Its keys are those of the Nodes. The driver plans a node anew when its [`health`] changes, which no stored
/// change tells. The pods of a Node that is gone are the pod garbage collector's.
pub struct NodeLifecycle;

impl Controller for NodeLifecycle {
    fn name(&self) -> &'static str {
        "node-lifecycle"
    }

    fn affected(&self, change: &Change, view: &View) -> Vec<Key> {
        match change.key.kind() {
            ("", "nodes") => {
                let mut keys = vec![change.key.clone()];
                if health::pause_differs(change, view) {
                    keys.extend(
                        view.nodes()
                            .filter(|entry| entry.node().is_some_and(|node| !condition::is_ready(node)))
                            .map(|entry| Key::clone(&entry.key)),
                    );
                }
                keys
            }
            ("", "pods") => pod_affects(change, view).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn plan(&self, view: &View, key: &Key) -> Plan {
        let Some((entry, node)) = view.get(key).and_then(|entry| Some((entry, entry.node()?))) else {
            return Plan::default();
        };
        let mut plan = plan_node(view, key, node, entry.revision);
        if cut_to_fit(&mut plan.writes) {
            plan.recheck_at = Some(view.now);
        }
        plan
    }
}

/// A pod that comes to a node, or changes there, matters only where pods may have to go.
fn pod_affects(change: &Change, view: &View) -> Option<Key> {
    let name = change.after.as_ref()?.bound_to()?;
    let calm = |node: &Arc<Node>| condition::is_ready(node) && taints::no_execute(node).next().is_none();
    let node = view.node(name)?.node()?;
    (!calm(node)).then(|| Key::new("", "nodes", "", name))
}

fn plan_node(view: &View, key: &Key, node: &Arc<Node>, revision: u64) -> Plan {
    let health = health(view, &key.name);
    let mut wanted = Node::clone(node);
    let transition = condition::set(&mut wanted, &health, view.now);
    taints::set(&mut wanted, &health, health::evictions_pause(view), view.now);
    let mut plan = Plan { reason: format!("the node is {health:?}"), ..Plan::default() };
    if wanted != **node {
        plan.writes.push(Write::Update { key: key.clone(), object: api::object::encode(&wanted), at: revision });
    }
    if let Some(status) = transition {
        plan.events.push(note(&wanted, status));
    }
    evict::from_node(view, &wanted, &health, &mut plan);
    plan
}

fn note(node: &Node, ready: &str) -> Note {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let reason = if ready == "True" { "NodeReady" } else { "NodeNotReady" };
    Note {
        regarding: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(name.into()),
            uid: node.metadata.uid.clone(),
            ..ObjectReference::default()
        },
        warning: false,
        reason: reason.into(),
        message: format!("Node {name} status is now: {reason}"),
    }
}

#[cfg(test)]
mod tests;
