//! Steps of controllers that are within their bounds, and some that are not.

use raft::Previous;
use serde_json::{Value, json};

use super::*;

/// (author, when, key, object)
type Row = (&'static str, u64, String, Value);

fn history(rows: Vec<Row>) -> Vec<Change> {
    let change = |(n, (author, proposed_at_ms, key, object)): (usize, Row)| Change {
        revision: n as u64 + 1,
        key: key.into(),
        value: (!object.is_null()).then(|| object.to_string().into()),
        previous: Previous::Absent,
        author: author.into(),
        proposed_at_ms,
    };
    rows.into_iter().enumerate().map(change).collect()
}

const D: &str = "system:kontiki:deployment";
const R: &str = "system:kontiki:replicaset";

fn deployment(replicas: i32, surge: Value, unavailable: Value) -> Row {
    let strategy = json!({"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
    let template = json!({"metadata": {}, "spec": {"containers": []}});
    let spec = json!({"replicas": replicas, "strategy": strategy, "selector": {}, "template": template});
    ("user", 0, "apps/deployments/d/web".into(), json!({"metadata": {"uid": "web"}, "spec": spec}))
}

fn set(author: &'static str, at: u64, name: &str, replicas: i32) -> Row {
    let object = json!({"metadata": {"uid": name}, "spec": {"replicas": replicas, "selector": {}}});
    (author, at, format!("apps/replicasets/d/{name}"), object)
}

fn pod(author: &'static str, at: u64, name: &str, ready: bool) -> Row {
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": &name[..1]});
    let status = json!({"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]});
    let object = json!({"metadata": {"uid": name, "ownerReferences": [owner]}, "status": status});
    (author, at, format!("core/pods/d/{name}"), object)
}

fn gone(at: u64, name: &str) -> Row {
    (R, at, format!("core/pods/d/{name}"), Value::Null)
}

/// Two of two old Pods are available, a new set has one more that may be ready.
fn rolling(ready: bool) -> Vec<Row> {
    let mut rows = vec![deployment(2, json!(1), json!(0)), set(D, 1, "a", 2)];
    rows.extend([
        pod(R, 2, "a1", false),
        pod(R, 2, "a2", false),
        pod("node", 3, "a1", true),
        pod("node", 3, "a2", true),
    ]);
    rows.extend([set(D, 4, "b", 1), pod(R, 5, "b1", false), pod("node", 6, "b1", ready)]);
    rows
}

fn judged(mut rows: Vec<Row>, more: impl IntoIterator<Item = Row>) -> Result<(), String> {
    rows.extend(more);
    check(&history(rows))
}

#[test]
fn an_old_pod_goes_once_a_new_one_serves() {
    judged(rolling(true), [set(D, 7, "a", 1), gone(8, "a1"), set(D, 9, "b", 2), pod(R, 10, "b2", false)]).unwrap();
    assert!(judged(rolling(false), [set(D, 7, "a", 1)]).is_err(), "too early");
    assert!(judged(rolling(true), [set(D, 7, "a", 0)]).is_err(), "too many");
}

#[test]
fn no_more_pods_than_the_surge_allows() {
    assert!(judged(rolling(true), [set(D, 7, "b", 2)]).is_err(), "asked for");
    assert!(judged(rolling(true), [pod(R, 7, "b2", false)]).is_err(), "made");
    let percent =
        |surge: &str, more: i32| judged(vec![deployment(4, json!(surge), json!("0%"))], [set(D, 1, "a", 4 + more)]);
    percent("26%", 2).unwrap();
    assert!(percent("25%", 2).is_err());
}

#[test]
fn a_set_gives_up_first_what_serves_nobody() {
    let rows = || {
        let mut rows = vec![deployment(1, json!(1), json!(0)), set(D, 1, "a", 2)];
        rows.extend([pod(R, 2, "a1", true), pod(R, 2, "a2", false), set(D, 3, "a", 1)]);
        rows
    };
    judged(rows(), [gone(4, "a2")]).unwrap();
    assert!(judged(rows(), [gone(4, "a1")]).is_err());
}

#[test]
fn what_a_controller_cannot_have_seen_is_not_its_fault() {
    let late = || [pod("node", 7, "b1", false), set(D, 8, "a", 1)];
    judged(rolling(true), late()).unwrap();
    // With the Deployment's next revision it must have seen that the Pod is not ready.
    let [unready, scaled] = late();
    assert!(judged(rolling(true), [unready, deployment(2, json!(1), json!(0)), scaled]).is_err());
}

#[test]
fn a_user_may_ask_for_fewer_and_a_node_may_die() {
    judged(rolling(true), [deployment(1, json!(1), json!(0)), set(D, 7, "a", 0)]).unwrap();
    judged(rolling(false), [pod("node", 7, "a1", false), pod("node", 8, "a2", false)]).unwrap();
}
