//! Notes become events, are counted, and end after an hour.

use api::Key;
use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::{Value, json};

use super::{MESSAGE_BYTES_MAX, record};
use crate::controllers::event_ttl::EventTtl;
use crate::scheduler::fixtures::World;
use crate::{Controller, Note, Plan, Write};

fn note(message: &str) -> Note {
    Note {
        regarding: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some("default".into()),
            name: Some("web".into()),
            uid: Some("u".into()),
            ..ObjectReference::default()
        },
        warning: true,
        reason: "FailedScheduling".into(),
        message: message.into(),
    }
}

fn said(world: &mut World, note: &Note, count: i32) -> Value {
    let write = record(note, "scheduler", count, &world.view);
    let (Write::Create { key, .. } | Write::Update { key, .. }) = &write else { panic!("{write:?}") };
    let key = key.clone();
    world.apply(&Plan { writes: vec![write], ..Plan::default() });
    world.get(&key).expect("the event")
}

#[test]
fn the_same_note_is_the_same_event_counted() {
    let mut world = World::new([]);
    world.at(100);
    let first = said(&mut world, &note("a"), 1);
    assert_eq!(first["metadata"]["name"].as_str().map(str::len), Some("web.".len() + 16));
    assert_eq!((&first["type"], &first["count"]), (&json!("Warning"), &json!(1)));
    assert_eq!(first["source"]["component"], "scheduler");
    assert_eq!(first["involvedObject"]["name"], "web");
    assert_eq!(
        (&first["firstTimestamp"], &first["lastTimestamp"]),
        (&json!("1970-01-01T00:01:40Z"), &json!("1970-01-01T00:01:40Z"))
    );
    world.at(160);
    let again = said(&mut world, &note("a"), 3);
    assert_eq!(again["metadata"]["name"], first["metadata"]["name"]);
    assert_eq!(again["count"], 4);
    assert_eq!(
        (&again["firstTimestamp"], &again["lastTimestamp"]),
        (&json!("1970-01-01T00:01:40Z"), &json!("1970-01-01T00:02:40Z"))
    );
    let other = said(&mut world, &note("b"), 1);
    assert_ne!(other["metadata"]["name"], first["metadata"]["name"]);
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let mut world = World::new([]);
    let event = said(&mut world, &note(&"é".repeat(MESSAGE_BYTES_MAX)), 1);
    assert_eq!(event["message"].as_str().map(str::len), Some(MESSAGE_BYTES_MAX));
    let mut long = note("a");
    long.regarding.name = Some("x".repeat(253));
    assert!(said(&mut world, &long, 1)["metadata"]["name"].as_str().is_some_and(|name| name.len() <= 253));
}

#[test]
fn events_about_nodes_stand_in_the_default_namespace() {
    let mut world = World::new([]);
    let mut about_node = note("a");
    about_node.regarding.namespace = None;
    assert_eq!(said(&mut world, &about_node, 1)["metadata"]["namespace"], "default");
}

#[test]
fn events_end_an_hour_after_they_were_last_said() {
    let mut world = World::new([]);
    world.at(0);
    said(&mut world, &note("a"), 1);
    said(&mut world, &note("b"), 1);
    world.at(1800);
    let write = record(&note("a"), "scheduler", 1, &world.view);
    let change = world.apply(&Plan { writes: vec![write], ..Plan::default() }).pop().expect("a change");
    let later = EventTtl.affected(&change, &world.view);
    let first = Key::new("", "events", "", "61");
    assert_eq!(later, [Key::new("", "events", "", "91")]);
    world.at(3659);
    let early = EventTtl.plan(&world.view, &first);
    assert_eq!((early.writes.len(), early.recheck_at.map(|at| at.as_second())), (0, Some(3660)));
    world.at(3660);
    assert_eq!(world.settle(&EventTtl, &first).len(), 1);
    let left: Vec<Value> =
        world.view.of_kind("", "events").map(|entry| serde_json::from_slice(&entry.encode()).expect("JSON")).collect();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["message"], "a");
    world.at(5460);
    assert_eq!(world.settle(&EventTtl, &later[0]).len(), 1);
    assert_eq!(world.view.of_kind("", "events").count(), 0);
}

#[test]
fn many_events_end_in_several_batches() {
    let mut world = World::new([]);
    world.at(0);
    for number in 0..crate::plan::WRITES_MAX + 1 {
        said(&mut world, &note(&number.to_string()), 1);
    }
    world.at(4000);
    let key = Key::new("", "events", "", "61");
    let plan = EventTtl.plan(&world.view, &key);
    assert_eq!((plan.writes.len(), plan.recheck_at), (crate::plan::WRITES_MAX, Some(world.view.now)));
    assert_eq!(world.settle(&EventTtl, &key).len(), 2);
}
