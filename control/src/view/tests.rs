//! The view against a plain list of what it was told.

use super::*;

fn key(text: &str) -> Key {
    Key::decode(text.as_bytes()).unwrap()
}

fn pod(name: &str, uid: &str, node: &str, owner: &str) -> Vec<u8> {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"a","uid":"{uid}","ownerReferences":[
        {{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"rs","uid":"{owner}","controller":true}}]}},
        "spec":{{"containers":[],"nodeName":"{node}"}}}}"#
    )
    .into_bytes()
}

fn names<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<&'a str> {
    entries.map(|entry| entry.key.name.as_str()).collect()
}

#[test]
fn indexes_follow_every_change() {
    let mut view = View::new();
    let web = key("core/pods/a/web");
    let change = view.take_in(&web, 3, Some(&pod("web", "u1", "", "r1"))).unwrap();
    assert!(change.before.is_none() && change.after.unwrap().pod().is_some());
    assert_eq!(names(view.unbound_pods()), ["web"]);
    assert_eq!(names(view.controlled_by("r1")), ["web"]);
    assert_eq!(names(view.pods_on("n1")), [""; 0]);

    let change = view.take_in(&web, 4, Some(&pod("web", "u1", "n1", "r2"))).unwrap();
    assert_eq!(change.before.unwrap().revision, 3);
    assert_eq!(names(view.unbound_pods()), [""; 0]);
    assert_eq!(names(view.pods_on("n1")), ["web"]);
    assert_eq!(view.nodes_with_pods().collect::<Vec<_>>(), ["n1"]);
    assert_eq!(names(view.owned_by("r1")), [""; 0]);
    assert_eq!(names(view.owned_by("r2")), ["web"]);
    assert_eq!(view.with_uid("u1").unwrap().revision, 4);

    let change = view.take_in(&web, 5, None).unwrap();
    assert!(change.after.is_none());
    assert_eq!((view.len(), view.revision), (0, 5));
    assert!(view.with_uid("u1").is_none() && view.nodes_with_pods().next().is_none());
}

#[test]
fn orphans_are_found_until_somebody_controls_them() {
    let mut view = View::new();
    for (at, text) in ["core/pods/a/one", "core/pods/a/two", "core/pods/b/three"].iter().enumerate() {
        let value = format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"x","uid":"{at}"}}}}"#);
        view.take_in(&key(text), at as u64 + 1, Some(value.as_bytes()));
    }
    assert_eq!(names(view.orphan_pods_in("a")), ["one", "two"]);
    assert_eq!(names(view.orphan_replica_sets_in("a")), [""; 0]);
    view.take_in(&key("core/pods/a/one"), 9, Some(&pod("one", "0", "", "r1")));
    assert_eq!(names(view.orphan_pods_in("a")), ["two"]);
}

#[test]
fn old_news_is_no_news() {
    let mut view = View::new();
    let web = key("core/pods/a/web");
    assert!(view.take_in(&web, 1, None).is_none());
    view.take_in(&web, 7, Some(&pod("web", "u1", "", "r"))).unwrap();
    assert!(view.take_in(&web, 7, Some(&pod("web", "u1", "", "r"))).is_none());
    assert!(view.take_in(&web, 6, None).is_none());
    assert_eq!(names(view.pods_in("a")), ["web"]);
}

#[test]
fn what_does_not_parse_is_kept_with_its_metadata() {
    let mut view = View::new();
    let value = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","uid":"u1"},"spec":{"containers":7}}"#;
    let after = view.take_in(&key("core/pods/a/web"), 1, Some(value)).unwrap().after.unwrap();
    assert!(matches!(after.object, Object::Other));
    assert_eq!((after.uid(), after.encode().as_slice()), ("u1", value.as_slice()));
    let after = view.take_in(&key("core/pods/a/junk"), 2, Some(b"\xff{")).unwrap().after.unwrap();
    assert_eq!(after.meta.name.as_deref(), Some("junk"));
    assert_eq!(names(view.unbound_pods()), [""; 0]);
}

#[test]
fn namespaces_hold_objects_of_every_kind_and_only_their_own() {
    let mut view = View::new();
    let value = br#"{"apiVersion":"v1","kind":"X","metadata":{"name":"x"}}"#;
    let keys = [
        "apps/deployments/a/one",
        "core/configmaps/a/two",
        "core/configmaps/ab/three",
        "core/configmaps/b/four",
        "core/nodes//five",
        "core/secrets/a/six",
        "core/secrets/a/seven",
    ];
    for (at, text) in keys.iter().enumerate() {
        view.take_in(&key(text), at as u64 + 1, Some(value));
    }
    assert_eq!(names(view.in_namespace("a")), ["two", "seven", "six", "one"]);
    assert_eq!(names(view.of_kind("", "configmaps")), ["two", "three", "four"]);
    assert_eq!(names(view.nodes()), ["five"]);
    assert_eq!(view.kinds(), [("", "configmaps"), ("", "nodes"), ("", "secrets"), ("apps", "deployments")]);
}
