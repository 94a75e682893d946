//! The verbs over objects, one promise per test.

use http::{Method, Request};
use serde_json::{Value, json};

use crate::harness::{CONFIG_MAPS, PODS, Replica, config_map, delete, get, patch, pod, post, put, send, send_as};

#[tokio::test]
async fn an_object_lives_from_create_to_delete() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let path = format!("{CONFIG_MAPS}/one");

    let created = post(&client, CONFIG_MAPS, &config_map("one", "a")).await.expect(201);
    assert_eq!(created["metadata"]["namespace"], "default");
    assert!(created["metadata"]["uid"].as_str().is_some_and(|uid| uid.len() == 36), "{created}");
    assert!(created["metadata"]["creationTimestamp"].is_string());
    let again = post(&client, CONFIG_MAPS, &config_map("one", "a")).await;
    assert_eq!((again.code.as_u16(), again.reason()), (409, "AlreadyExists"));
    assert_eq!(again.message(), r#"configmaps "one" already exists"#);

    assert_eq!(get(&client, &path).await.expect(200), created);

    let mut changed = created.clone();
    changed["data"]["key"] = "b".into();
    let updated = put(&client, &path, &changed).await.expect(200);
    assert_eq!(updated["data"]["key"], "b");
    assert_ne!(updated["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    let stale = put(&client, &path, &changed).await;
    assert_eq!((stale.code.as_u16(), stale.reason()), (409, "Conflict"));

    changed["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    changed["data"]["key"] = "c".into();
    let unconditional = put(&client, &path, &changed).await.expect(200);
    assert_eq!(unconditional["data"]["key"], "c");

    let gone = delete(&client, &path).await.expect(200);
    assert_eq!((&gone["kind"], &gone["status"]), (&"Status".into(), &"Success".into()));
    assert_eq!(gone["details"]["uid"], created["metadata"]["uid"]);
    assert_eq!(get(&client, &path).await.message(), r#"configmaps "one" not found"#);
    delete(&client, &path).await.expect(404);
    put(&client, &path, &config_map("one", "x")).await.expect(404);
    replica.stop().await;
}

#[tokio::test]
async fn writing_what_is_there_already_changes_nothing() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let created = post(&client, CONFIG_MAPS, &config_map("one", "a")).await.expect(201);
    let before = replica.store.state().revision();
    let path = format!("{CONFIG_MAPS}/one");
    assert_eq!(put(&client, &path, &created).await.expect(200), created);
    assert_eq!(patch(&client, &path, &json!({"data": {"key": "a"}})).await.expect(200), created);
    assert_eq!(replica.store.state().revision(), before);
    replica.stop().await;
}

#[tokio::test]
async fn a_dry_run_answers_and_writes_nothing() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let before = replica.store.state().revision();
    let tried = post(&client, &format!("{CONFIG_MAPS}?dryRun=All"), &config_map("one", "a")).await.expect(201);
    assert!(tried["metadata"]["uid"].is_string());
    assert!(tried["metadata"]["resourceVersion"].is_null());
    assert_eq!(replica.store.state().revision(), before);
    get(&client, &format!("{CONFIG_MAPS}/one")).await.expect(404);

    post(&client, CONFIG_MAPS, &config_map("one", "a")).await.expect(201);
    let path = format!("{CONFIG_MAPS}/one?dryRun=All");
    let tried = patch(&client, &path, &json!({"data": {"key": "b"}})).await.expect(200);
    assert_eq!(tried["data"]["key"], "b");
    delete(&client, &path).await.expect(200);
    assert_eq!(get(&client, &format!("{CONFIG_MAPS}/one")).await.expect(200)["data"]["key"], "a");
    let taken = post(&client, &format!("{CONFIG_MAPS}?dryRun=All"), &config_map("one", "a")).await;
    assert_eq!(taken.reason(), "AlreadyExists");
    replica.stop().await;
}

#[tokio::test]
async fn patches_of_three_types_apply_and_conflicts_are_told() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let created = post(&client, PODS, &pod("web")).await.expect(201);
    let path = format!("{PODS}/web");

    let merge = json!({"metadata": {"labels": {"tier": "front"}}});
    let patched = patch(&client, &path, &merge).await.expect(200);
    assert_eq!(patched["metadata"]["labels"], json!({"app": "web", "tier": "front"}));

    let strategic = json!({"spec": {"containers": [{"name": "main", "image": "nginx:1.17.1"}]}});
    let content = "application/strategic-merge-patch+json";
    let answer = send_as(&client, Method::PATCH, &path, content, "application/json", &strategic).await;
    let patched = answer.expect(200);
    assert_eq!(patched["spec"]["containers"].as_array().unwrap().len(), 1);
    assert_eq!(patched["spec"]["containers"][0]["image"], "nginx:1.17.1");

    let operations = json!([{"op": "test", "path": "/metadata/labels/app", "value": "web"},
        {"op": "remove", "path": "/metadata/labels/tier"}]);
    let content = "application/json-patch+json";
    let patched = send_as(&client, Method::PATCH, &path, content, "application/json", &operations).await.expect(200);
    assert_eq!(patched["metadata"]["labels"], json!({"app": "web"}));
    let misfit = send_as(&client, Method::PATCH, &path, content, "application/json", &operations).await;
    assert_eq!((misfit.code.as_u16(), misfit.reason()), (422, "Invalid"));

    let stale = json!({"metadata": {"resourceVersion": created["metadata"]["resourceVersion"], "labels": {"x": "y"}}});
    assert_eq!(patch(&client, &path, &stale).await.reason(), "Conflict");
    let unknown =
        send_as(&client, Method::PATCH, &path, "application/apply-patch+yaml", "application/json", &merge).await;
    assert_eq!((unknown.code.as_u16(), unknown.reason()), (415, "UnsupportedMediaType"));
    patch(&client, &format!("{PODS}/none"), &merge).await.expect(404);
    replica.stop().await;
}

#[tokio::test]
async fn patches_that_race_all_take_effect() {
    let replica = Replica::start().await;
    let client = replica.admin();
    post(&client, CONFIG_MAPS, &config_map("one", "a")).await.expect(201);
    let path = format!("{CONFIG_MAPS}/one");
    let patches = (0..8).map(|n| {
        let (client, path) = (client.clone(), path.clone());
        async move { patch(&client, &path, &json!({"data": {format!("key-{n}"): "x"}})).await.expect(200) }
    });
    futures::future::join_all(patches).await;
    let data = get(&client, &path).await.expect(200)["data"].clone();
    assert_eq!(data.as_object().unwrap().len(), 9, "{data}");
    replica.stop().await;
}

#[tokio::test]
async fn the_metadata_of_the_system_cannot_be_changed() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let created = post(&client, CONFIG_MAPS, &config_map("one", "a")).await.expect(201);
    let path = format!("{CONFIG_MAPS}/one");
    let forged = json!({"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z", "labels": {"a": "b"}}});
    let patched = patch(&client, &path, &forged).await.expect(200);
    assert_eq!(patched["metadata"]["creationTimestamp"], created["metadata"]["creationTimestamp"]);
    let other = patch(&client, &path, &json!({"metadata": {"uid": "00000000-0000-4000-8000-000000000000"}})).await;
    assert_eq!(other.reason(), "Conflict");
    let renamed = put(&client, &path, &config_map("two", "a")).await;
    assert_eq!(renamed.code.as_u16(), 400);
    replica.stop().await;
}

#[tokio::test]
async fn generated_names_differ() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let body = json!({"metadata": {"generateName": "job-"}});
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let created = post(&client, CONFIG_MAPS, &body).await.expect(201);
        names.insert(created["metadata"]["name"].as_str().unwrap().to_owned());
    }
    assert_eq!(names.len(), 5);
    assert!(names.iter().all(|name| name.starts_with("job-") && name.len() == 9), "{names:?}");
    replica.stop().await;
}

#[tokio::test]
async fn nothing_is_created_where_no_namespace_lives() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let path = "/api/v1/namespaces/nowhere/configmaps";
    let answer = post(&client, path, &config_map("one", "a")).await;
    assert_eq!((answer.code.as_u16(), answer.message()), (404, r#"namespaces "nowhere" not found"#));

    post(&client, "/api/v1/namespaces", &json!({"metadata": {"name": "nowhere"}})).await.expect(201);
    post(&client, path, &config_map("one", "a")).await.expect(201);
    let marked = delete(&client, "/api/v1/namespaces/nowhere").await.expect(200);
    assert_eq!(marked["status"]["phase"], "Terminating");
    let answer = post(&client, path, &config_map("two", "a")).await;
    assert_eq!((answer.code.as_u16(), answer.reason()), (403, "Forbidden"));
    assert!(answer.message().contains("because it is being terminated"), "{}", answer.message());

    delete(&client, &format!("{path}/one")).await.expect(200);
    let mut namespace = get(&client, "/api/v1/namespaces/nowhere").await.expect(200);
    namespace["spec"]["finalizers"] = json!([]);
    put(&client, "/api/v1/namespaces/nowhere/finalize", &namespace).await.expect(200);
    get(&client, "/api/v1/namespaces/nowhere").await.expect(404);
    assert_eq!(delete(&client, "/api/v1/namespaces/default").await.reason(), "Forbidden");
    replica.stop().await;
}

#[tokio::test]
async fn lists_are_paged_at_one_revision() {
    let replica = Replica::start().await;
    let client = replica.admin();
    for n in 0..5 {
        post(&client, CONFIG_MAPS, &config_map(&format!("m{n}"), "a")).await.expect(201);
    }
    let first = get(&client, &format!("{CONFIG_MAPS}?limit=2")).await.expect(200);
    assert_eq!(first["kind"], "ConfigMapList");
    assert_eq!(names(&first), ["m0", "m1"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    // What changes between the pages is not seen on them.
    delete(&client, &format!("{CONFIG_MAPS}/m3")).await.expect(200);
    post(&client, CONFIG_MAPS, &config_map("m2a", "a")).await.expect(201);
    let mut all = names(&first);
    let mut token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    while !token.is_empty() {
        let page = get(&client, &format!("{CONFIG_MAPS}?limit=2&continue={token}")).await.expect(200);
        assert_eq!(page["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
        all.extend(names(&page));
        token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(all, ["m0", "m1", "m2", "m3", "m4"]);
    assert_eq!(names(&get(&client, CONFIG_MAPS).await.expect(200)), ["m0", "m1", "m2", "m2a", "m4"]);

    let revision = first["metadata"]["resourceVersion"].as_str().unwrap();
    let exact = get(&client, &format!("{CONFIG_MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact")).await;
    assert_eq!(names(&exact.expect(200)), ["m0", "m1", "m2", "m3", "m4"]);
    assert_eq!(get(&client, &format!("{CONFIG_MAPS}?limit=2&continue=xyz")).await.code.as_u16(), 400);
    replica.stop().await;
}

#[tokio::test]
async fn selectors_choose_and_wrong_ones_are_refused() {
    let replica = Replica::start().await;
    let client = replica.admin();
    for name in ["a", "b", "c"] {
        post(&client, PODS, &pod(name)).await.expect(201);
    }
    for (query, expected) in [
        ("labelSelector=app%20in%20(a,b)", vec!["a", "b"]),
        ("labelSelector=app!%3Da", vec!["b", "c"]),
        ("fieldSelector=metadata.name%3Db", vec!["b"]),
        ("fieldSelector=spec.nodeName%3D", vec!["a", "b", "c"]),
        ("fieldSelector=status.phase%3DRunning", vec![]),
        ("labelSelector=app%3Da&fieldSelector=metadata.name%3Db", vec![]),
    ] {
        let list = get(&client, &format!("/api/v1/pods?{query}")).await.expect(200);
        assert_eq!(names(&list), expected, "{query}");
    }
    for query in ["labelSelector=a%20b%20c", "fieldSelector=spec.color%3Dred", "limit=x", "resourceVersion=x"] {
        assert_eq!(get(&client, &format!("{PODS}?{query}")).await.reason(), "BadRequest", "{query}");
    }
    let deleted = send(&client, Method::DELETE, &format!("{PODS}?labelSelector=app%20in%20(a,b)"), &Value::Null).await;
    assert_eq!(names(&deleted.expect(200)), ["a", "b"]);
    assert_eq!(names(&get(&client, PODS).await.expect(200)), ["c"]);
    replica.stop().await;
}

#[tokio::test]
async fn reads_from_the_future_are_refused_without_waiting() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let future = replica.store.state().revision() + 1000;
    let asked = tokio::time::Instant::now();
    let answer = get(&client, &format!("{CONFIG_MAPS}?resourceVersion={future}")).await;
    assert!(asked.elapsed() < std::time::Duration::from_secs(2), "a replica that is behind waits 3 s");
    assert_eq!((answer.code.as_u16(), answer.reason()), (504, "Timeout"));
    assert_eq!(answer.body["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    replica.stop().await;
}

#[tokio::test]
async fn tables_and_metadata_are_shown_to_who_asks() {
    let replica = Replica::start().await;
    let client = replica.admin();
    post(&client, PODS, &pod("web")).await.expect(201);
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    for path in [PODS.to_owned(), format!("{PODS}/web")] {
        let answer = send_as(&client, Method::GET, &path, "", table, &Value::Null).await.expect(200);
        assert_eq!((&answer["kind"], &answer["apiVersion"]), (&"Table".into(), &"meta.k8s.io/v1".into()));
        assert_eq!(answer["columnDefinitions"][0]["name"], "Name");
        assert_eq!(answer["rows"][0]["cells"][0], "web");
        assert_eq!(answer["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        assert!(answer["rows"][0]["object"]["metadata"]["resourceVersion"].is_string());
    }
    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let answer = send_as(&client, Method::GET, PODS, "", partial, &Value::Null).await.expect(200);
    assert_eq!(answer["kind"], "PartialObjectMetadataList");
    assert_eq!(answer["items"][0]["metadata"]["name"], "web");
    assert!(answer["items"][0]["spec"].is_null());
    let yaml = send_as(&client, Method::GET, &format!("{PODS}/web"), "", "application/yaml", &Value::Null).await;
    assert!(yaml.body.as_str().is_some_and(|text| text.contains("\nkind: Pod\n")), "{}", yaml.body);
    let protobuf = "application/vnd.kubernetes.protobuf";
    assert_eq!(send_as(&client, Method::GET, PODS, "", protobuf, &Value::Null).await.code.as_u16(), 406);
    replica.stop().await;
}

#[tokio::test]
async fn large_answers_are_compressed_for_who_can_read_it() {
    let replica = Replica::start().await;
    let client = replica.admin();
    for n in 0..3 {
        post(&client, CONFIG_MAPS, &config_map(&format!("m{n}"), &"x".repeat(60_000))).await.expect(201);
    }
    for (path, expected) in [
        (CONFIG_MAPS.to_owned(), Some("gzip")),
        (format!("{CONFIG_MAPS}/m0"), None),
        (format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1"), None),
    ] {
        let request = Request::get(&path).header("accept-encoding", "gzip").body(kube::client::Body::empty()).unwrap();
        let response = client.send(request).await.unwrap();
        let encoding = response.headers().get("content-encoding").map(|value| value.to_str().unwrap());
        assert_eq!(encoding, expected, "{path}");
    }
    replica.stop().await;
}

#[tokio::test]
async fn numbers_are_told_to_who_may_see_them() {
    let replica = Replica::start().await;
    let client = replica.admin();
    post(&client, CONFIG_MAPS, &config_map("a", "a")).await.expect(201);
    let answer = get(&client, "/metrics").await.expect(200);
    let text = answer.as_str().unwrap();
    for line in [
        "apiserver_request_total{verb=\"POST\",resource=\"configmaps\",code=\"201\"} 1",
        "kontiki_raft_is_leader 1",
        "kontiki_store_proposals_total 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    assert_eq!(get(&replica.client("jane", &[]), "/metrics").await.code.as_u16(), 403);
    replica.stop().await;
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let mut body = config_map("held", "a");
    body["metadata"]["finalizers"] = json!(["example.com/hold"]);
    post(&client, CONFIG_MAPS, &body).await.expect(201);
    let path = format!("{CONFIG_MAPS}/held");
    let marked = delete(&client, &path).await.expect(200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string(), "{marked}");
    get(&client, &path).await.expect(200);
    patch(&client, &path, &json!({"metadata": {"finalizers": null}})).await.expect(200);
    get(&client, &path).await.expect(404);
    replica.stop().await;
}

#[tokio::test]
async fn a_deletion_keeps_its_preconditions() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let created = post(&client, CONFIG_MAPS, &config_map("one", "a")).await.expect(201);
    let path = format!("{CONFIG_MAPS}/one");
    let wrong = json!({"preconditions": {"uid": "someone-else"}});
    assert_eq!(send(&client, Method::DELETE, &path, &wrong).await.reason(), "Conflict");
    let stale = json!({"preconditions": {"resourceVersion": "1"}});
    assert_eq!(send(&client, Method::DELETE, &path, &stale).await.reason(), "Conflict");
    let right = json!({"preconditions": {"uid": created["metadata"]["uid"],
        "resourceVersion": created["metadata"]["resourceVersion"]}});
    send(&client, Method::DELETE, &path, &right).await.expect(200);
    replica.stop().await;
}

#[tokio::test]
async fn services_get_addresses_that_nobody_else_has() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let path = "/api/v1/namespaces/default/services";
    let service = |name: &str, kind: &str| json!({"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}], "selector": {"app": "a"}}});
    let one = post(&client, path, &service("one", "NodePort")).await.expect(201);
    let two = post(&client, path, &service("two", "ClusterIP")).await.expect(201);
    let (ip, port) = (&one["spec"]["clusterIP"], &one["spec"]["ports"][0]["nodePort"]);
    assert!(ip.as_str().is_some_and(|ip| ip.starts_with("10.96.")), "{one}");
    assert!(port.as_i64().is_some_and(|port| (30000..=32767).contains(&port)), "{one}");
    assert_ne!(ip, &two["spec"]["clusterIP"]);

    let mut thief = service("three", "ClusterIP");
    thief["spec"]["clusterIP"] = ip.clone();
    let answer = post(&client, path, &thief).await;
    assert_eq!(answer.reason(), "Invalid", "{}", answer.body);
    delete(&client, &format!("{path}/one")).await.expect(200);
    post(&client, path, &thief).await.expect(201);
    replica.stop().await;
}

#[tokio::test]
async fn pods_are_bound_once_and_evicted() {
    let replica = Replica::start().await;
    let client = replica.admin();
    post(&client, PODS, &pod("web")).await.expect(201);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "web"},
        "target": {"kind": "Node", "name": "n1"}});
    post(&client, &format!("{PODS}/web/binding"), &binding).await.expect(201);
    let bound = get(&client, &format!("{PODS}/web")).await.expect(200);
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(post(&client, &format!("{PODS}/web/binding"), &binding).await.reason(), "Conflict");

    let status = json!({"status": {"phase": "Running"}, "spec": {"nodeName": "n2"}});
    let running = patch(&client, &format!("{PODS}/web/status"), &status).await.expect(200);
    assert_eq!((&running["status"]["phase"], &running["spec"]["nodeName"]), (&"Running".into(), &"n1".into()));

    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web"}});
    post(&client, &format!("{PODS}/web/eviction"), &eviction).await.expect(201);
    let evicted = get(&client, &format!("{PODS}/web")).await.expect(200);
    assert_eq!(evicted["metadata"]["deletionGracePeriodSeconds"], 30);
    send(&client, Method::DELETE, &format!("{PODS}/web"), &json!({"gracePeriodSeconds": 0})).await.expect(200);
    get(&client, &format!("{PODS}/web")).await.expect(404);
    replica.stop().await;
}

#[tokio::test]
async fn deployments_are_scaled_through_their_scale() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let body = json!({"metadata": {"name": "web"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    post(&client, path, &body).await.expect(201);
    let scale = get(&client, &format!("{path}/web/scale")).await.expect(200);
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&"Scale".into(), &2.into()));
    let scaled = patch(&client, &format!("{path}/web/scale"), &json!({"spec": {"replicas": 5}})).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 5);
    let mut scale = scaled.clone();
    scale["spec"]["replicas"] = 1.into();
    put(&client, &format!("{path}/web/scale"), &scale).await.expect(200);
    assert_eq!(put(&client, &format!("{path}/web/scale"), &scale).await.reason(), "Conflict");
    let deployment = get(&client, &format!("{path}/web")).await.expect(200);
    assert_eq!((&deployment["spec"]["replicas"], &deployment["metadata"]["generation"]), (&1.into(), &3.into()));
    replica.stop().await;
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap_or_else(|| panic!("no list: {list}"));
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}
