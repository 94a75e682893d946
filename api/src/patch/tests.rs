//! Patches as kubectl, people and attackers write them.

use super::*;
use proptest::prelude::{Strategy, prop_assert_eq, proptest};
use serde_json::json;

fn strategic(group: &str, kind: &str, current: Value, patch: Value) -> Result<Value, Error> {
    apply(group, "v1", kind, PatchType::StrategicMerge, current, patch.to_string().as_bytes())
}

/// `current` and `patch` of a Pod's spec.
fn pod(current: Value, patch: Value) -> Value {
    let patched = strategic("", "Pod", json!({"spec": current}), json!({"spec": patch}));
    patched.unwrap_or_else(|error| panic!("{error}"))["spec"].take()
}

#[test]
fn objects_lists_and_nulls() {
    let cases = [
        // Objects merge, scalars are replaced, nulls delete.
        (
            json!({"nodeName": "a", "hostNetwork": true}),
            json!({"nodeName": "b", "hostNetwork": null}),
            json!({"nodeName": "b"}),
        ),
        (
            json!({"nodeSelector": {"a": "1", "b": "2"}}),
            json!({"nodeSelector": {"a": null, "c": "3"}}),
            json!({"nodeSelector": {"b": "2", "c": "3"}}),
        ),
        // A null for what is not there leaves nothing behind.
        (json!({}), json!({"nodeSelector": {"a": null, "b": "1"}}), json!({"nodeSelector": {"b": "1"}})),
        // Lists with a merge key merge by it; new elements come last.
        (
            json!({"containers": [{"name": "a", "image": "x", "tty": true}, {"name": "b", "image": "y"}]}),
            json!({"containers": [{"name": "b", "image": "z"}, {"name": "c", "image": "w"}]}),
            json!({"containers": [{"name": "a", "image": "x", "tty": true}, {"name": "b", "image": "z"}, {"name": "c", "image": "w"}]}),
        ),
        // … at every level.
        (
            json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}], "ports": [{"containerPort": 80, "name": "web"}]}]}),
            json!({"containers": [{"name": "a", "env": [{"name": "Y", "value": "3"}, {"$patch": "delete", "name": "X"}], "ports": [{"containerPort": 80, "hostPort": 8080}]}]}),
            json!({"containers": [{"name": "a", "env": [{"name": "Y", "value": "3"}], "ports": [{"containerPort": 80, "name": "web", "hostPort": 8080}]}]}),
        ),
        // Lists without one are replaced.
        (
            json!({"tolerations": [{"key": "a"}, {"key": "b"}]}),
            json!({"tolerations": [{"key": "c"}]}),
            json!({"tolerations": [{"key": "c"}]}),
        ),
        (
            json!({"containers": [{"name": "a", "command": ["x", "y"]}]}),
            json!({"containers": [{"name": "a", "command": ["z"]}]}),
            json!({"containers": [{"name": "a", "command": ["z"]}]}),
        ),
        // $patch: delete of an element that is not there, and in a list that is not there.
        (
            json!({"imagePullSecrets": [{"name": "a"}]}),
            json!({"imagePullSecrets": [{"name": "b", "$patch": "delete"}]}),
            json!({"imagePullSecrets": [{"name": "a"}]}),
        ),
        (
            json!({}),
            json!({"imagePullSecrets": [{"name": "b", "$patch": "delete"}, {"name": "c"}]}),
            json!({"imagePullSecrets": [{"name": "c"}]}),
        ),
        // $patch: replace of a list and of an object.
        (
            json!({"hostAliases": [{"ip": "1.1.1.1"}, {"ip": "2.2.2.2"}]}),
            json!({"hostAliases": [{"$patch": "replace"}, {"ip": "3.3.3.3"}]}),
            json!({"hostAliases": [{"ip": "3.3.3.3"}]}),
        ),
        (
            json!({"nodeSelector": {"a": "1"}}),
            json!({"nodeSelector": {"$patch": "replace", "b": "2"}}),
            json!({"nodeSelector": {"b": "2"}}),
        ),
        (
            json!({"securityContext": {"runAsUser": 1}}),
            json!({"securityContext": {"$patch": "delete"}}),
            json!({"securityContext": {}}),
        ),
        (
            json!({"nodeSelector": {"a": "1"}}),
            json!({"nodeSelector": {"$patch": "merge", "b": "2"}}),
            json!({"nodeSelector": {"a": "1", "b": "2"}}),
        ),
        // $retainKeys: a volume changes its source.
        (
            json!({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}]}),
            json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}),
            json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}, {"name": "w", "emptyDir": {}}]}),
        ),
        // Topology constraints and mounts have keys of their own.
        (
            json!({"topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]}),
            json!({"topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 2}]}),
            json!({"topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}]}),
        ),
    ];
    for (current, patch, expected) in cases {
        assert_eq!(pod(current.clone(), patch.clone()), expected, "{current} with {patch}");
    }
}

#[test]
fn element_orders_of_kubectl_apply() {
    let names =
        |letters: &str| -> Value { letters.chars().map(|letter| json!({"name": letter.to_string()})).collect() };
    let cases = [
        // Reordered only.
        ("abc", json!({"$setElementOrder/containers": names("cba")}), "cba"),
        // One added by the patch before others; x is the server's own (an injected sidecar).
        ("axb", json!({"$setElementOrder/containers": names("nab"), "containers": [{"name": "n"}]}), "naxb"),
        ("xab", json!({"$setElementOrder/containers": names("ba")}), "xba"),
        // One deleted.
        (
            "abx",
            json!({"$setElementOrder/containers": names("b"), "containers": [{"$patch": "delete", "name": "a"}]}),
            "bx",
        ),
        // Not there yet at all.
        ("", json!({"$setElementOrder/containers": names("ab"), "containers": [{"name": "a"}, {"name": "b"}]}), "ab"),
    ];
    for (current, patch, expected) in cases {
        let patched = pod(json!({"containers": names(current)}), patch.clone());
        assert_eq!(patched["containers"], names(expected), "{current} with {patch}");
    }
    let absent = pod(json!({}), json!({"$setElementOrder/volumes": [{"name": "a"}]}));
    assert_eq!(absent, json!({}), "an order alone makes no list");
}

#[test]
fn scalar_lists_merge_as_sets() {
    let current = || json!({"metadata": {"finalizers": ["a", "x", "b"]}});
    for (patch, expected) in [
        (json!({"finalizers": ["c", "a"]}), json!(["x", "b", "c", "a"])),
        (json!({"$deleteFromPrimitiveList/finalizers": ["a", "nope"]}), json!(["x", "b"])),
        (
            json!({"$setElementOrder/finalizers": ["b", "n"], "finalizers": ["n"], "$deleteFromPrimitiveList/finalizers": ["a"]}),
            json!(["x", "b", "n"]),
        ),
    ] {
        let patched = strategic("", "Pod", current(), json!({"metadata": patch.clone()})).unwrap();
        let mut found: Vec<Value> = patched["metadata"]["finalizers"].as_array().unwrap().clone();
        let mut wanted = expected.as_array().unwrap().clone();
        if patch.get("$setElementOrder/finalizers").is_none() {
            found.sort_by_key(Value::to_string);
            wanted.sort_by_key(Value::to_string);
        }
        assert_eq!(found, wanted, "{patch}");
    }
}

/// What `kubectl apply` sends when a manifest's image, env and strategy change and one annotation goes:
/// made by kubectl from (last applied, manifest, live).
#[test]
fn a_three_way_patch_of_a_deployment() {
    let live = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "annotations": {"keep": "1", "drop": "1", "server": "1"}, "uid": "u"},
        "spec": {
            "replicas": 3,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {"spec": {"containers": [
                {"name": "web", "image": "nginx:1", "imagePullPolicy": "IfNotPresent", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
                {"name": "injected", "image": "sidecar"},
            ]}},
        },
        "status": {"conditions": [{"type": "Available", "status": "True"}]},
    });
    let patch = json!({
        "metadata": {"annotations": {"drop": null}},
        "spec": {
            "strategy": {"$retainKeys": ["type"], "rollingUpdate": null, "type": "Recreate"},
            "template": {"spec": {
                "$setElementOrder/containers": [{"name": "web"}],
                "containers": [{
                    "name": "web", "image": "nginx:2",
                    "$setElementOrder/env": [{"name": "C"}, {"name": "A"}],
                    "env": [{"name": "C", "value": "3"}, {"$patch": "delete", "name": "B"}],
                }],
            }},
        },
    });
    let patched = strategic("apps", "Deployment", live, patch.clone()).unwrap();
    assert_eq!(patched["metadata"]["annotations"], json!({"keep": "1", "server": "1"}));
    assert_eq!(patched["spec"]["strategy"], json!({"type": "Recreate"}));
    assert_eq!(
        patched["spec"]["template"]["spec"]["containers"],
        json!([
            {"name": "web", "image": "nginx:2", "imagePullPolicy": "IfNotPresent", "env": [{"name": "C", "value": "3"}, {"name": "A", "value": "1"}]},
            {"name": "injected", "image": "sidecar"},
        ])
    );
    assert_eq!(patched["status"]["conditions"][0]["type"], "Available");
    let again = strategic("apps", "Deployment", patched.clone(), patch).unwrap();
    assert_eq!(again, patched, "the same patch twice changes nothing more");
}

#[test]
fn services_nodes_and_owners() {
    let service = strategic(
        "",
        "Service",
        json!({"spec": {"selector": {"color": "blue"}, "ports": [{"port": 80, "nodePort": 30080}, {"port": 81}]}}),
        json!({"spec": {"selector": {"color": "green"}, "$setElementOrder/ports": [{"port": 80}], "ports": [{"port": 80, "targetPort": 8080}, {"$patch": "delete", "port": 81}]}}),
    );
    assert_eq!(
        service.unwrap()["spec"],
        json!({"selector": {"color": "green"}, "ports": [{"port": 80, "nodePort": 30080, "targetPort": 8080}]})
    );
    let node = strategic(
        "",
        "Node",
        json!({"spec": {"taints": [{"key": "a"}]}, "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Disk"}]}}),
        json!({"spec": {"taints": [{"key": "b"}], "unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
    );
    assert_eq!(
        node.unwrap(),
        json!({"spec": {"taints": [{"key": "b"}], "unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Disk"}]}})
    );
    let owners = strategic(
        "apps",
        "ReplicaSet",
        json!({"metadata": {"ownerReferences": [{"uid": "1", "name": "a"}]}}),
        json!({"metadata": {"ownerReferences": [{"uid": "2", "name": "b"}, {"$patch": "delete", "uid": "1"}]}}),
    );
    assert_eq!(owners.unwrap()["metadata"]["ownerReferences"], json!([{"uid": "2", "name": "b"}]));
}

#[test]
fn refusals() {
    let refused = |current: Value, patch: Value| {
        let error = strategic("", "Pod", json!({"spec": current}), json!({"spec": patch.clone()}));
        let error = error.expect_err(&patch.to_string());
        (error.http_code(), error.to_string())
    };
    for (current, patch, code, words) in [
        (
            json!({"containers": [{"name": "a"}]}),
            json!({"containers": [{"image": "x"}]}),
            400,
            "does not contain its merge key: name",
        ),
        (json!({"containers": [{"name": "a"}]}), json!({"containers": ["x"]}), 400, "are objects"),
        (json!({}), json!({"$patch": "explode"}), 400, "unknown patch type"),
        (json!({}), json!({"nodeSelector": 1, "$retainKeys": ["nodeName"]}), 400, "$retainKeys"),
        (json!({}), json!({"$setElementOrder/containers": 1}), 400, "is a list"),
        (
            json!({}),
            json!({"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]}),
            400,
            "order",
        ),
        (json!({"containers": 1}), json!({"$deleteFromPrimitiveList/containers": ["a"]}), 422, "not a list"),
    ] {
        let (found, message) = refused(current, patch);
        assert!(found == code && message.contains(words), "{found} {message}");
    }
    let unknown = apply("x.io", "v1", "Foo", PatchType::StrategicMerge, json!({}), b"{}").unwrap_err();
    assert_eq!(unknown.http_code(), 415);
    let text = apply("", "v1", "Pod", PatchType::Merge, json!({}), b"{\"a\":").unwrap_err();
    assert!(text.http_code() == 400 && text.to_string().contains("EOF"), "{text}");
    assert!(Patch::read(PatchType::Merge, b"[]").is_err());
}

#[test]
fn merge_and_json_patches() {
    let pod = || json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"containers": [{"name": "a"}]}});
    let merged = apply(
        "",
        "v1",
        "Pod",
        PatchType::Merge,
        pod(),
        br#"{"metadata":{"labels":{"a":null}},"spec":{"containers":[]}}"#,
    );
    assert_eq!(merged.unwrap(), json!({"metadata": {"labels": {"b": "2"}}, "spec": {"containers": []}}));
    let json_patch = |patch: Value| apply("", "v1", "Pod", PatchType::Json, pod(), patch.to_string().as_bytes());
    let patched = json_patch(json!([
        {"op": "test", "path": "/metadata/labels/a", "value": "1"},
        {"op": "replace", "path": "/metadata/labels/a", "value": "3"},
        {"op": "add", "path": "/spec/containers/-", "value": {"name": "b"}},
        {"op": "copy", "from": "/metadata/labels", "path": "/metadata/annotations"},
        {"op": "remove", "path": "/metadata/labels/b"},
        {"op": "move", "from": "/spec/containers/0", "path": "/spec/containers/1"},
    ]));
    assert_eq!(
        patched.unwrap(),
        json!({"metadata": {"labels": {"a": "3"}, "annotations": {"a": "3", "b": "2"}}, "spec": {"containers": [{"name": "b"}, {"name": "a"}]}})
    );
    for (patch, code) in [
        (json!([{"op": "test", "path": "/metadata/labels/a", "value": "9"}]), 422),
        (json!([{"op": "remove", "path": "/nope"}]), 422),
        (json!([{"op": "dance", "path": "/nope"}]), 400),
        (json!({"op": "remove"}), 400),
        (json!(vec![json!({"op": "test", "path": "", "value": 1}); OPERATIONS_MAX + 1]), 413),
    ] {
        assert_eq!(json_patch(patch.clone()).unwrap_err().http_code(), code);
    }
}

#[test]
fn json_patches_cannot_blow_an_object_up() {
    let double: Value = (0..100).map(|n| json!({"op": "copy", "from": "", "path": format!("/x{n}")})).collect();
    let error = apply("", "v1", "Pod", PatchType::Json, json!({"a": "x".repeat(1000)}), double.to_string().as_bytes());
    assert!(matches!(error, Err(Error::TooMuchWork | Error::TooDeep)), "{error:?}");
    let deepen: Value = (0..200)
        .map(|_| json!({"op": "move", "from": "/a", "path": "/b"}))
        .chain([json!({"op": "add", "path": format!("/{}", vec!["a"; 200].join("/")), "value": 1})])
        .collect();
    let error = apply("", "v1", "Pod", PatchType::Json, json!({"a": 1}), deepen.to_string().as_bytes());
    assert!(matches!(error, Err(Error::DoesNotFit(_) | Error::TooDeep)), "{error:?}");
    let nest: Value = (0..20).map(|_| json!({"op": "copy", "from": "/a", "path": "/a/b"})).collect();
    let current = json!({"a": {"c": {"d": {}}}});
    let error = apply("", "v1", "Pod", PatchType::Json, current, nest.to_string().as_bytes());
    assert!(matches!(error, Ok(_) | Err(Error::TooDeep | Error::TooMuchWork)));
    let items: Vec<usize> = (0..400_000).collect();
    let inserts: Value = (0..1000).map(|_| json!({"op": "add", "path": "/a/0", "value": 1})).collect();
    let error = apply("", "v1", "Pod", PatchType::Json, json!({"a": items}), inserts.to_string().as_bytes());
    assert_eq!(error, Err(Error::TooMuchWork));
}

/// Pods with some containers, in any order, with or without env.
fn containers() -> impl Strategy<Value = Value> {
    let env = proptest::collection::btree_map("[A-C]", "[0-9]", 0..3);
    let one = ("[a-d]", env).prop_map(|(name, env)| {
        let env: Vec<Value> = env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        (name.clone(), json!({"name": name, "env": env}))
    });
    proptest::collection::vec(one, 0..4).prop_map(|several| {
        let mut seen = std::collections::BTreeSet::new();
        several.into_iter().filter(|(name, _)| seen.insert(name.clone())).map(|(_, container)| container).collect()
    })
}

/// The patch that turns `live` into `wanted`, as kubectl would write it.
fn difference(live: &Value, wanted: &Value) -> Value {
    let named = |list: &Value, name: &Value| list.as_array().unwrap().iter().find(|one| one["name"] == *name).cloned();
    let order: Value = wanted.as_array().unwrap().iter().map(|one| json!({"name": one["name"]})).collect();
    let mut elements = Vec::new();
    for one in wanted.as_array().unwrap() {
        let mut element = one.clone();
        let env = named(live, &one["name"]).map_or(json!([]), |live| live["env"].clone());
        if env != json!([]) {
            let gone = env.as_array().unwrap().iter().filter(|live| named(&one["env"], &live["name"]).is_none());
            let gone = gone.map(|live| json!({"$patch": "delete", "name": live["name"]}));
            element["env"] = one["env"].as_array().unwrap().iter().cloned().chain(gone).collect();
            element["$setElementOrder/env"] =
                one["env"].as_array().unwrap().iter().map(|one| json!({"name": one["name"]})).collect();
        }
        elements.push(element);
    }
    let gone = live.as_array().unwrap().iter().filter(|live| named(wanted, &live["name"]).is_none());
    elements.extend(gone.map(|live| json!({"$patch": "delete", "name": live["name"]})));
    json!({"$setElementOrder/containers": order, "containers": elements})
}

proptest! {
    #[test]
    fn a_patch_leads_where_it_was_meant_to(live in containers(), wanted in containers()) {
        let patched = pod(json!({"containers": live}), difference(&live, &wanted));
        prop_assert_eq!(&patched["containers"], &wanted);
        let again = pod(patched.clone(), difference(&wanted, &wanted));
        prop_assert_eq!(again, patched);
    }
}
