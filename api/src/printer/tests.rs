//! What `kubectl get` shows, kind by kind.

use super::*;
use crate::kinds::KINDS;
use serde_json::json;

const NOW: &str = "2026-01-02T00:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn printer(group: &str, plural: &str) -> &'static Printer {
    let kind = KINDS.iter().find(|kind| kind.group == group && kind.plural == plural);
    &kind.unwrap_or_else(|| panic!("{plural} are not served")).printer
}

/// The cells of one object, joined by `|`.
fn cells(group: &str, plural: &str, object: Value) -> String {
    let stored = object.to_string();
    let printer = printer(group, plural);
    let row = (printer.row)(stored.as_bytes(), now()).unwrap_or_else(|error| panic!("{stored}: {error}"));
    assert_eq!(row.cells.len(), printer.columns.len(), "{plural}");
    let text = row.cells.iter().map(|cell| cell.as_str().map_or_else(|| cell.to_string(), String::from));
    text.collect::<Vec<_>>().join("|")
}

fn meta() -> Value {
    json!({"name": "a", "creationTimestamp": "2026-01-01T23:58:20Z"})
}

fn pod(mut spec: Value, status: Value, deleted: bool) -> String {
    let mut metadata = meta();
    if deleted {
        metadata["deletionTimestamp"] = NOW.into();
    }
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "c", "image": "i"}]);
    }
    let object = json!({"metadata": metadata, "spec": spec, "status": status});
    cells("", "pods", object).split('|').take(4).collect::<Vec<_>>().join("|")
}

#[test]
fn words_for_pods() {
    let state = |state: Value| json!({"name": "c", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": state});
    let running = |ready: bool| json!({"name": "c", "ready": ready, "restartCount": 0, "image": "", "imageID": "", "state": {"running": {}}});
    let of = |statuses: Value| json!({"phase": "Running", "containerStatuses": statuses});
    let two_inits = || json!({"initContainers": [{"name": "i"}, {"name": "j"}]});
    let init = |state: Value| {
        json!({"phase": "Pending", "initContainerStatuses": [
        {"name": "i", "ready": true, "restartCount": 0, "image": "", "imageID": "", "state": {"terminated": {"exitCode": 0}}},
        {"name": "j", "ready": false, "restartCount": 2, "image": "", "imageID": "", "state": state}],
        "containerStatuses": [{"name": "c", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": {"waiting": {"reason": "PodInitializing"}}}]})
    };
    let cases = [
        (json!({}), json!({"phase": "Pending"}), "a|0/1|Pending|0"),
        (json!({}), json!({"phase": "Failed", "reason": "Evicted"}), "a|0/1|Evicted|0"),
        (
            json!({}),
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
            "a|0/1|SchedulingGated|0",
        ),
        (json!({}), of(json!([running(true)])), "a|1/1|Running|0"),
        (json!({}), of(json!([running(false)])), "a|0/1|Running|0"),
        (
            json!({}),
            of(json!([state(json!({"waiting": {"reason": "ContainerCreating"}}))])),
            "a|0/1|ContainerCreating|0",
        ),
        (json!({}), of(json!([state(json!({"waiting": {"reason": "ImagePullBackOff"}}))])), "a|0/1|ImagePullBackOff|0"),
        (
            json!({}),
            of(
                json!([{"name": "c", "ready": false, "restartCount": 3, "image": "", "imageID": "", "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T23:55:00Z"}}}]),
            ),
            "a|0/1|CrashLoopBackOff|3 (5m ago)",
        ),
        (
            json!({}),
            of(json!([state(json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}))])),
            "a|0/1|OOMKilled|0",
        ),
        (json!({}), of(json!([state(json!({"terminated": {"exitCode": 2}}))])), "a|0/1|ExitCode:2|0"),
        (json!({}), of(json!([state(json!({"terminated": {"exitCode": 137, "signal": 9}}))])), "a|0/1|Signal:9|0"),
        (
            json!({}),
            json!({"phase": "Succeeded", "containerStatuses": [state(json!({"terminated": {"exitCode": 0, "reason": "Completed"}}))]}),
            "a|0/1|Completed|0",
        ),
        (
            json!({"containers": [{"name": "c"}, {"name": "d"}]}),
            of(json!([state(json!({"terminated": {"exitCode": 0, "reason": "Completed"}})), running(true)])),
            "a|1/2|NotReady|0",
        ),
        (two_inits(), init(json!({"running": {}})), "a|0/1|Init:1/2|2"),
        (two_inits(), init(json!({"waiting": {"reason": "CrashLoopBackOff"}})), "a|0/1|Init:CrashLoopBackOff|2"),
        (two_inits(), init(json!({"waiting": {"reason": "PodInitializing"}})), "a|0/1|Init:1/2|2"),
        (two_inits(), init(json!({"terminated": {"exitCode": 1, "reason": "Error"}})), "a|0/1|Init:Error|2"),
        (two_inits(), init(json!({"terminated": {"exitCode": 1}})), "a|0/1|Init:ExitCode:1|2"),
        (two_inits(), init(json!({"terminated": {"exitCode": 0}})), "a|0/1|PodInitializing|0"),
    ];
    for (spec, status, expected) in cases {
        assert_eq!(pod(spec, status.clone(), false), expected, "{status}");
    }
    let sidecar = json!({"initContainers": [{"name": "i", "restartPolicy": "Always"}]});
    let status = json!({"phase": "Running", "containerStatuses": [running(true)], "initContainerStatuses": [
        {"name": "i", "ready": true, "started": true, "restartCount": 1, "image": "", "imageID": "", "state": {"running": {}}}]});
    assert_eq!(pod(sidecar, status, false), "a|2/2|Running|1");
    assert_eq!(pod(json!({}), of(json!([running(true)])), true), "a|1/1|Terminating|0");
    assert_eq!(pod(json!({}), json!({"phase": "Succeeded"}), true), "a|0/1|Succeeded|0");
    assert_eq!(pod(json!({}), json!({"phase": "Running", "reason": "NodeLost"}), true), "a|0/1|Unknown|0");
}

#[test]
fn wide_columns_of_pods() {
    let object = json!({"metadata": meta(), "spec": {"nodeName": "n1", "containers": [{"name": "c"}],
        "readinessGates": [{"conditionType": "x"}, {"conditionType": "y"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "x", "status": "True"}]}});
    assert_eq!(cells("", "pods", object), "a|0/1|Running|0|100s|10.0.0.1|n1|<none>|1/2");
}

#[test]
fn cells_of_other_kinds() {
    let template = json!({"spec": {"containers": [{"name": "c", "image": "x"}, {"name": "d", "image": "y"}]}});
    let selector = json!({"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "t", "operator": "In", "values": ["1", "2"]}]});
    let cases = [
        (
            "apps",
            "deployments",
            json!({"spec": {"replicas": 3, "selector": selector, "template": template},
            "status": {"readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2}}),
            "a|2/3|1|2|100s|c,d|x,y|app=a,t in (1,2)",
        ),
        (
            "apps",
            "replicasets",
            json!({"spec": {"replicas": 3, "selector": {}, "template": template}, "status": {"replicas": 2, "readyReplicas": 1}}),
            "a|3|2|1|100s|c,d|x,y|<none>",
        ),
        (
            "",
            "services",
            json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "selector": {"a": "b"},
            "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
            "a|NodePort|10.96.0.9|<none>|80:30080/TCP,53/UDP|100s|a=b",
        ),
        (
            "",
            "services",
            json!({"spec": {"clusterIP": "None", "externalIPs": ["1.2.3.4"]}}),
            "a|ClusterIP|None|1.2.3.4|<none>|100s|<none>",
        ),
        (
            "",
            "services",
            json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 1}]}}),
            "a|LoadBalancer|<none>|<pending>|1/TCP|100s|<none>",
        ),
        (
            "",
            "services",
            json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "9.9.9.9"}, {"hostname": "h"}]}}}),
            "a|LoadBalancer|<none>|9.9.9.9,h|<none>|100s|<none>",
        ),
        (
            "",
            "services",
            json!({"spec": {"type": "ExternalName", "externalName": "x.org"}}),
            "a|ExternalName|<none>|x.org|<none>|100s|<none>",
        ),
        (
            "",
            "endpoints",
            json!({"subsets": [{"addresses": [{"ip": "1.1.1.1"}, {"ip": "2.2.2.2"}], "ports": [{"port": 80}, {"port": 81}]}]}),
            "a|1.1.1.1:80,2.2.2.2:80,1.1.1.1:81 + 1 more...|100s",
        ),
        ("", "endpoints", json!({}), "a|<none>|100s"),
        (
            "discovery.k8s.io",
            "endpointslices",
            json!({"addressType": "IPv4", "ports": [{"port": 80}, {}], "endpoints": [{"addresses": ["1.1.1.1"]}]}),
            "a|IPv4|80,*|1.1.1.1|100s",
        ),
        (
            "discovery.k8s.io",
            "endpointslices",
            json!({"addressType": "IPv4", "endpoints": []}),
            "a|IPv4|<unset>|<unset>|100s",
        ),
        ("", "namespaces", json!({"status": {"phase": "Active"}}), "a|Active|100s"),
        ("", "configmaps", json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "AA=="}}), "a|3|100s"),
        ("", "secrets", json!({"type": "Opaque", "data": {"c": "AA=="}}), "a|Opaque|1|100s"),
        ("", "serviceaccounts", json!({}), "a|0|100s"),
        ("coordination.k8s.io", "leases", json!({"spec": {"holderIdentity": "me"}}), "a|me|100s"),
        (
            "",
            "nodes",
            json!({"spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}],
            "addresses": [{"type": "InternalIP", "address": "10.1.1.1"}],
            "nodeInfo": {"kubeletVersion": "v1", "osImage": "Debian", "kernelVersion": "6", "containerRuntimeVersion": "docker://20",
                "architecture": "", "bootID": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "systemUUID": ""}}}),
            "a|NotReady,SchedulingDisabled|<none>|100s|v1|10.1.1.1|<none>|Debian|6|docker://20",
        ),
        (
            "",
            "events",
            json!({"involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{c}"}, "type": "Warning", "reason": "BackOff", "message": " again \n",
            "source": {"component": "kubelet", "host": "n1"}, "count": 4, "firstTimestamp": "2026-01-01T22:00:00Z", "lastTimestamp": "2026-01-01T23:59:00Z"}),
            "60s|Warning|BackOff|pod/web|spec.containers{c}|kubelet, n1|again|120m|4|a",
        ),
        (
            "",
            "events",
            json!({"involvedObject": {"kind": "Node"}, "eventTime": "2026-01-01T23:59:00.000000Z", "reportingComponent": "x"}),
            "60s|||node||x||60s|1|a",
        ),
    ];
    for (group, plural, mut object, expected) in cases {
        object["metadata"] = meta();
        assert_eq!(cells(group, plural, object), expected);
    }
}

#[test]
fn roles_come_from_labels() {
    let object = json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "worker"}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    assert_eq!(
        cells("", "nodes", object),
        "n|Ready|control-plane,worker|<unknown>||<none>|<none>|<unknown>|<unknown>|<unknown>"
    );
}

#[test]
fn tables_carry_what_was_asked_for() {
    let stored = br#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"},"status":{"phase":"Active"}}"#;
    let list = ListMeta { resource_version: "9".into(), continue_token: "next".into(), remaining_item_count: Some(3) };
    let made = |include| {
        let table =
            table(printer("", "namespaces"), [(&stored[..], 7), (&stored[..], 8)], &list, include, now()).unwrap();
        serde_json::from_slice::<Value>(&table).unwrap()
    };
    let table_ = made(Include::Metadata);
    assert_eq!((&table_["kind"], &table_["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert_eq!(table_["metadata"], json!({"resourceVersion": "9", "continue": "next", "remainingItemCount": 3}));
    assert_eq!(table_["columnDefinitions"][0]["format"], "name");
    assert_eq!(table_["rows"][1]["cells"], json!(["a", "Active", "<unknown>"]));
    let partial = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a", "resourceVersion": "8"}});
    assert_eq!(table_["rows"][1]["object"], partial);
    assert_eq!(made(Include::None)["rows"][0].get("object"), None);
    assert_eq!(made(Include::Object)["rows"][0]["object"]["metadata"]["resourceVersion"], "7");
    assert_eq!(made(Include::Object)["rows"][0]["object"]["status"]["phase"], "Active");
    assert!(table(printer("", "pods"), [(&b"{"[..], 1)], &list, Include::None, now()).is_err());
    assert!(Include::parse(Some("All")).is_err());
    let done =
        json!({"metadata": {"name": "a"}, "spec": {"containers": []}, "status": {"phase": "Succeeded"}}).to_string();
    let done = table(printer("", "pods"), [(done.as_bytes(), 1)], &ListMeta::default(), Include::None, now()).unwrap();
    assert!(String::from_utf8(done).unwrap().contains(r#""reason":"Succeeded""#));
}
