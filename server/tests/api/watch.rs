//! Watches: every change once and in order, from where the client says, or 410.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use raft::HistoryWindow;
use serde_json::{Value, json};

use crate::harness::{CONFIG_MAPS, DEADLINE, PODS, Replica, config_map, delete, get, patch, pod, post};

/// An open watch: its lines, as JSON.
struct Lines(BoxStream<'static, Value>);

impl Lines {
    async fn open(client: &kube::Client, path: &str, accept: &str) -> Lines {
        let request = Request::builder().method(Method::GET).uri(path).header("accept", accept);
        let request = request.body(kube::client::Body::empty()).unwrap();
        let response = client.send(request).await.unwrap();
        assert!(response.status().is_success(), "{}", response.status());
        let mut buffered = Vec::new();
        let pieces = response.into_body().into_data_stream();
        let lines = pieces.flat_map(move |piece| {
            buffered.extend_from_slice(&piece.unwrap());
            let end = buffered.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let whole: Vec<u8> = buffered.drain(..end).collect();
            let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let lines: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
            futures::stream::iter(lines)
        });
        Lines(lines.boxed())
    }

    /// The next event: its type, and the name of its object.
    async fn next(&mut self) -> (String, String) {
        let event = self.event().await.expect("the watch goes on");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }

    async fn event(&mut self) -> Option<Value> {
        tokio::time::timeout(DEADLINE, self.0.next()).await.expect("something happens in time")
    }
}

fn told(kind: &str, name: &str) -> (String, String) {
    (kind.into(), name.into())
}

#[tokio::test]
async fn a_watch_begins_with_what_is_there_and_tells_every_change() {
    let replica = Replica::start().await;
    let client = replica.admin();
    post(&client, CONFIG_MAPS, &config_map("old", "a")).await.expect(201);
    let mut lines = Lines::open(&client, &format!("{CONFIG_MAPS}?watch=true"), "application/json").await;
    assert_eq!(lines.next().await, told("ADDED", "old"));
    post(&client, CONFIG_MAPS, &config_map("new", "a")).await.expect(201);
    patch(&client, &format!("{CONFIG_MAPS}/new"), &json!({"data": {"key": "b"}})).await.expect(200);
    delete(&client, &format!("{CONFIG_MAPS}/new")).await.expect(200);
    post(&client, "/api/v1/namespaces/kube-system/configmaps", &config_map("elsewhere", "a")).await.expect(201);
    delete(&client, &format!("{CONFIG_MAPS}/old")).await.expect(200);
    assert_eq!(lines.next().await, told("ADDED", "new"));
    assert_eq!(lines.next().await, told("MODIFIED", "new"));
    let gone = lines.event().await.unwrap();
    assert_eq!((&gone["type"], &gone["object"]["data"]["key"]), (&"DELETED".into(), &"b".into()));
    assert_eq!(lines.next().await, told("DELETED", "old"));
    replica.stop().await;
}

#[tokio::test]
async fn a_watch_may_be_asked_for_for_however_long() {
    let replica = Replica::start().await;
    let client = replica.admin();
    post(&client, CONFIG_MAPS, &config_map("old", "a")).await.expect(201);
    for seconds in [u64::MAX, i64::MAX as u64] {
        let path = format!("{CONFIG_MAPS}?watch=1&timeoutSeconds={seconds}");
        let mut lines = Lines::open(&client, &path, "application/json").await;
        assert_eq!(lines.next().await, told("ADDED", "old"));
    }
    replica.stop().await;
}

#[tokio::test]
async fn a_watch_ends_where_nothing_is_applied_any_more_and_none_begins_there() {
    let replica = Replica::start().await;
    let client = replica.admin();
    post(&client, CONFIG_MAPS, &config_map("old", "a")).await.expect(201);
    let mut lines = Lines::open(&client, &format!("{CONFIG_MAPS}?watch=true"), "application/json").await;
    assert_eq!(lines.next().await, told("ADDED", "old"));
    // As after a failed sync of its disk: the process goes on.
    replica.store.kill().await;
    assert_eq!(lines.event().await, None, "without an error: the client goes on elsewhere from where it is");
    let revision = replica.store.state().revision();
    let path = format!("{CONFIG_MAPS}?watch=1&resourceVersion={revision}");
    get(&client, &path).await.expect(503);
    replica.stop().await;
}

#[tokio::test]
async fn a_watch_goes_on_from_a_revision() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let first = post(&client, CONFIG_MAPS, &config_map("a", "1")).await.expect(201);
    post(&client, CONFIG_MAPS, &config_map("b", "1")).await.expect(201);
    delete(&client, &format!("{CONFIG_MAPS}/a")).await.expect(200);
    let revision = first["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("{CONFIG_MAPS}?watch=1&resourceVersion={revision}");
    let mut lines = Lines::open(&client, &path, "application/json").await;
    assert_eq!(lines.next().await, told("ADDED", "b"));
    let gone = lines.event().await.unwrap();
    assert_eq!((&gone["type"], &gone["object"]["metadata"]["name"]), (&"DELETED".into(), &"a".into()));
    let at: u64 = gone["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    assert_eq!(at, replica.store.state().revision(), "a deletion tells its own revision");
    replica.stop().await;
}

#[tokio::test]
async fn objects_come_into_a_selection_and_leave_it() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let path = format!("{PODS}?watch=true&labelSelector=stage%3Dlive");
    let mut lines = Lines::open(&client, &path, "application/json").await;
    let stage = |stage: &str| json!({"metadata": {"labels": {"stage": stage}}});
    post(&client, PODS, &pod("web")).await.expect(201);
    for stage in [stage("test"), stage("live"), json!({"metadata": {"annotations": {"a": "b"}}}), stage("test")] {
        patch(&client, &format!("{PODS}/web"), &stage).await.expect(200);
    }
    assert_eq!(lines.next().await, told("ADDED", "web"));
    assert_eq!(lines.next().await, told("MODIFIED", "web"));
    let left = lines.event().await.unwrap();
    assert_eq!(left["type"], "DELETED");
    assert_eq!(left["object"]["metadata"]["labels"]["stage"], "live", "the last state that was selected");
    replica.stop().await;
}

#[tokio::test]
async fn a_streamed_list_marks_its_end() {
    let replica = Replica::start().await;
    let client = replica.admin();
    post(&client, CONFIG_MAPS, &config_map("a", "1")).await.expect(201);
    let options = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut lines = Lines::open(&client, &format!("{CONFIG_MAPS}?{options}"), "application/json").await;
    assert_eq!(lines.next().await, told("ADDED", "a"));
    let end = lines.event().await.unwrap();
    assert_eq!((&end["type"], &end["object"]["kind"]), (&"BOOKMARK".into(), &"ConfigMap".into()));
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert!(end["object"]["metadata"]["resourceVersion"].is_string());
    let wrong = get(&client, &format!("{CONFIG_MAPS}?watch=true&sendInitialEvents=true")).await;
    assert_eq!(wrong.code.as_u16(), 400);
    replica.stop().await;
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_up() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let path = format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=1");
    let mut lines = Lines::open(&client, &path, "application/json").await;
    assert_eq!(lines.event().await, None);
    replica.stop().await;
}

/// So that it does not begin anew from what the history has forgotten meanwhile.
#[tokio::test]
async fn a_watch_that_ends_says_how_far_it_was() {
    let replica = Replica::start().await;
    let client = replica.admin();
    let path = format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=2&allowWatchBookmarks=true");
    let mut lines = Lines::open(&client, &path, "application/json").await;
    let path = "/api/v1/namespaces/kube-system/configmaps";
    let elsewhere = post(&client, path, &config_map("elsewhere", "a")).await.expect(201);
    let bookmark = lines.event().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    let told = &bookmark["object"]["metadata"]["resourceVersion"];
    assert_eq!(told, &elsewhere["metadata"]["resourceVersion"]);
    assert_eq!(lines.event().await, None);
    replica.stop().await;
}

#[tokio::test]
async fn watches_are_told_in_tables_too() {
    let replica = Replica::start().await;
    let client = replica.admin();
    post(&client, PODS, &pod("web")).await.expect(201);
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let mut lines = Lines::open(&client, &format!("{PODS}?watch=true"), table).await;
    let event = lines.event().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["kind"]), (&"ADDED".into(), &"Table".into()));
    assert_eq!(event["object"]["rows"][0]["cells"][0], "web");
    replica.stop().await;
}

#[tokio::test]
async fn what_the_history_has_forgotten_is_gone() {
    let window = HistoryWindow { age_max: Duration::from_millis(100), bytes_max: 1 << 20 };
    let replica = Replica::start_with(window).await;
    let client = replica.admin();
    let page = post(&client, CONFIG_MAPS, &config_map("a", "1")).await.expect(201);
    let revision = page["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    post(&client, CONFIG_MAPS, &config_map("b", "1")).await.expect(201);
    let first = get(&client, &format!("{CONFIG_MAPS}?limit=1")).await.expect(200);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let forgotten = async {
        for n in 0.. {
            patch(&client, &format!("{CONFIG_MAPS}/a"), &json!({"data": {"key": n.to_string()}})).await.expect(200);
            if replica.store.watch(bytes::Bytes::new(), revision.parse().unwrap()).is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(DEADLINE, forgotten).await.expect("old history is dropped");
    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={revision}");
    let mut lines = Lines::open(&client, &path, "application/json").await;
    let event = lines.event().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["code"]), (&"ERROR".into(), &410.into()));
    assert_eq!(event["object"]["reason"], "Expired");
    let message = event["object"]["message"].as_str().unwrap();
    let oldest = message.strip_prefix(&format!("too old resource version: {revision} ("));
    let oldest: u64 = oldest.and_then(|rest| rest.strip_suffix(')')).expect(message).parse().unwrap();
    assert!(oldest > revision.parse().unwrap() && oldest <= replica.store.oldest(), "{message}");
    assert_eq!(lines.event().await, None);
    let answer = get(&client, &format!("{CONFIG_MAPS}?limit=1&continue={token}")).await;
    assert_eq!((answer.code.as_u16(), answer.reason()), (410, "Expired"));
    let path = format!("{CONFIG_MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact");
    let answer = get(&client, &path).await;
    assert_eq!((answer.code.as_u16(), answer.reason()), (410, "Expired"));
    assert!(answer.message().starts_with(&format!("too old resource version: {revision} (")), "{}", answer.message());
    replica.stop().await;
}

/// kube-rs keeps its own picture of a collection by listing and watching: it must come out right.
#[tokio::test]
async fn kube_rs_follows_a_collection() {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::{WatchStreamExt as _, watcher};
    let replica = Replica::start().await;
    let client = replica.admin();
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let maps: kube::Api<ConfigMap> = kube::Api::namespaced(client.clone(), "default");
        let mut seen = watcher::watcher(maps.clone(), config).applied_objects().boxed();
        for n in 0..3 {
            let map: ConfigMap = serde_json::from_value(config_map(&format!("m{n}"), "a")).unwrap();
            maps.create(&Default::default(), &map).await.unwrap();
            let next = tokio::time::timeout(DEADLINE, seen.next()).await.unwrap().unwrap().unwrap();
            assert_eq!(next.metadata.name, Some(format!("m{n}")));
        }
        for n in 0..3 {
            maps.delete(&format!("m{n}"), &Default::default()).await.unwrap();
        }
    }
    replica.stop().await;
}
