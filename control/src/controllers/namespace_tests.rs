//! A namespace that goes: what each of its plans writes.

use api::Key;
use serde_json::{Value, json};

use super::namespace::Namespaces;
use crate::scheduler::fixtures::*;
use crate::{Controller, Write};

const EARLIER: &str = "1970-01-02T00:00:00Z";

fn key() -> Key {
    Key::new("", "namespaces", "", "shop")
}

fn going() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "deletionTimestamp": EARLIER},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Terminating"},
    })
}

fn config_map(name: &str, metadata: Value) -> Value {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}});
    with(object, json!({ "metadata": metadata }))
}

/// One word and a name for each write of the next plan.
fn next(world: &mut World) -> Vec<String> {
    let plan = Namespaces.plan(&world.view, &key());
    world.apply(&plan);
    let word = |write: &Write| match write {
        Write::Create { key, .. } => format!("create {}", key.name),
        Write::Update { key, .. } => format!("update {}", key.name),
        Write::Delete { key, .. } => format!("delete {}", key.name),
        Write::Check { key, .. } => format!("check {}", key.name),
    };
    plan.writes.iter().map(word).collect()
}

/// A status that grows is refused while disks are short of room, with all that is in the same command.
#[test]
fn what_is_left_is_not_told_by_the_plan_that_deletes() {
    let held = config_map("held", json!({"finalizers": ["example.com/hold"]}));
    let mut world = World::new([going(), config_map("free", json!({})), held]);
    assert_eq!(next(&mut world), ["delete free", "update held", "check shop"]);
    assert_eq!(next(&mut world), ["update shop"]);
    let conditions = world.get(&key()).expect("the namespace")["status"]["conditions"].clone();
    let message = "Some resources are remaining: configmaps has 1 resource instances";
    assert_eq!(conditions[3]["message"], message);
    assert_eq!(next(&mut world), [""; 0]);
    world.delete(&Key::new("", "configmaps", "shop", "held"));
    world.put(config_map("late", json!({})));
    assert_eq!(next(&mut world), ["delete late", "delete shop"], "its end costs no second plan");
}

/// The null is not how objects are stored, so to delete this one again would write it anew.
#[test]
fn what_is_going_is_not_looked_into_again() {
    let going_too = json!({"deletionTimestamp": EARLIER, "deletionGracePeriodSeconds": 0, "annotations": null});
    let held = with(going_too.clone(), json!({"finalizers": ["example.com/hold"]}));
    let waits = with(going_too, json!({"finalizers": ["foregroundDeletion"]}));
    let done = json!({
        "metadata": {"namespace": "shop", "deletionTimestamp": EARLIER, "deletionGracePeriodSeconds": 30},
        "status": {"phase": "Failed"},
    });
    let mut world = World::new([going(), config_map("held", held)]);
    assert_eq!(next(&mut world), ["update shop"]);
    world.put(config_map("waits", waits));
    world.put(with(bound("done", "n1"), done));
    assert_eq!(next(&mut world), ["delete waits", "delete done", "check shop"], "these need no longer wait");
}
