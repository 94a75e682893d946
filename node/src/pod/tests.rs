//! What a Pod's spec comes to: tables of texts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{Attempt, Capacity, Host, Quality, Refs, app, expand, name_comes_back, pause, quality};
use crate::runtime::{ContainerId, ContainerSpec, Ipc, MountSource, Network, Owner, Role};
use crate::session::Work;

fn host() -> Host {
    Host {
        owner: Owner { cluster: "c".into(), node: "n1".into() },
        node_name: "n1".into(),
        ip: "192.168.0.1".parse().unwrap(),
        data_dir: PathBuf::from("/data"),
        pause_image: "pause".into(),
        pod_network: "pods".into(),
        dns_servers: vec!["10.96.0.10".into()],
        cluster_domain: "cluster.local".into(),
        capacity: Capacity { cpu_milli: 4000, memory_bytes: 8 << 30, storage_bytes: 1 << 40, pods: 110 },
    }
}

fn pod(spec: Value) -> Pod {
    let metadata = json!({"name": "web", "namespace": "default", "uid": "u1",
                          "labels": {"app": "web"}, "annotations": {"note": "a b"}});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

fn work() -> Work {
    let objects = [
        ("configmaps/default/conf", json!({"metadata": {"name": "conf"}, "data": {"a": "1", "b": "2"}})),
        ("secrets/default/pass", json!({"metadata": {"name": "pass"}, "data": {"word": "c2VzYW1l"}})),
        (
            "services/default/my-db",
            json!({"metadata": {"name": "my-db", "namespace": "default"},
                   "spec": {"clusterIP": "10.96.0.7", "ports": [{"name": "sql", "port": 5432}]}}),
        ),
        (
            "services/other/hidden",
            json!({"metadata": {"name": "hidden", "namespace": "other"},
                   "spec": {"clusterIP": "10.96.0.8", "ports": [{"port": 1}]}}),
        ),
        (
            "services/default/headless",
            json!({"metadata": {"name": "headless", "namespace": "default"},
                   "spec": {"clusterIP": "None", "ports": [{"port": 1}]}}),
        ),
    ];
    let items = objects.into_iter().map(|(key, object)| (key.to_owned(), Bytes::from(object.to_string()))).collect();
    Work { term: 1, sequence: 1, items, ..Work::default() }
}

fn build(spec: Value) -> Result<ContainerSpec, String> {
    let (pod, work, host) = (pod(spec), work(), host());
    let sandbox = ContainerId("p1".into());
    let attempt = Attempt {
        role: Role::App,
        number: 2,
        failures: 1,
        sandbox: &sandbox,
        pod_ip: Some("10.244.0.9".parse().unwrap()),
    };
    let container = &pod.spec.as_ref().unwrap().containers[0];
    app(&pod, container, &host, &Refs(&work), &attempt).map_err(|error| error.to_string())
}

fn container(fields: Value) -> Value {
    let mut container = json!({"name": "app", "image": "nginx:1"});
    container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"containers": [container]})
}

fn env(fields: Value) -> BTreeMap<String, String> {
    let spec = build(container(fields)).unwrap();
    spec.env.iter().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

#[test]
fn variables_are_expanded_as_kubernetes_does() {
    let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
    for (text, expected) in [
        ("$(A)", "1"),
        ("x$(A)y$(A)", "x1y1"),
        ("$(B)", "$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("a$", "a$"),
        ("", ""),
    ] {
        assert_eq!(expand(text, lookup), expected, "{text}");
    }
}

#[test]
fn the_environment_comes_from_everywhere_and_later_names_win() {
    let env = env(json!({
        "envFrom": [{"configMapRef": {"name": "conf"}, "prefix": "C_"}, {"secretRef": {"name": "none", "optional": true}}],
        "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}},
        "env": [
            {"name": "PLAIN", "value": "x"},
            {"name": "JOINED", "value": "$(PLAIN)-$(C_a)-$(MY_DB_SERVICE_HOST)"},
            {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "b"}}},
            {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "pass", "key": "word"}}},
            {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "pass", "key": "x", "optional": true}}},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "MILLI", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
            {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "C_b", "value": "replaced"},
        ],
    }));
    let get = |name: &str| env.get(name).map(String::as_str);
    assert_eq!(get("JOINED"), Some("x-1-10.96.0.7"));
    assert_eq!((get("KEY"), get("WORD"), get("GONE")), (Some("2"), Some("sesame"), None));
    assert_eq!((get("NAME"), get("LABEL")), (Some("web"), Some("web")));
    assert_eq!((get("IP"), get("HOST"), get("NODE")), (Some("10.244.0.9"), Some("192.168.0.1"), Some("n1")));
    assert_eq!((get("CPU"), get("MILLI"), get("MEMORY")), (Some("2"), Some("1500"), Some("64")));
    assert_eq!((get("C_a"), get("C_b")), (Some("1"), Some("replaced")));
    assert_eq!(get("MY_DB_SERVICE_PORT_SQL"), Some("5432"));
    assert_eq!(get("MY_DB_PORT_5432_TCP_ADDR"), Some("10.96.0.7"));
    assert_eq!((get("HIDDEN_SERVICE_HOST"), get("HEADLESS_SERVICE_HOST")), (None, None));
}

#[test]
fn what_is_missing_is_named() {
    for (source, expected) in [
        (json!({"configMapKeyRef": {"name": "no", "key": "a"}}), "configmap \"no\" not found"),
        (json!({"configMapKeyRef": {"name": "conf", "key": "z"}}), "couldn't find key z in ConfigMap default/conf"),
        (json!({"secretKeyRef": {"name": "no", "key": "a"}}), "secret \"no\" not found"),
        (json!({"secretKeyRef": {"name": "pass", "key": "z"}}), "couldn't find key z in Secret default/pass"),
        (json!({"fieldRef": {"fieldPath": "status.nope"}}), "unsupported fieldPath: status.nope"),
    ] {
        let error = build(container(json!({"env": [{"name": "X", "valueFrom": source}]}))).unwrap_err();
        assert_eq!(error, expected);
    }
}

#[test]
fn a_container_shares_its_sandbox_and_carries_its_labels() {
    let spec = build(container(json!({"command": ["run", "$(NAME)"], "args": ["$(NAME)$$"],
                                      "env": [{"name": "NAME", "value": "n"}]})))
    .unwrap();
    assert_eq!(spec.network, Network::Container(ContainerId("p1".into())));
    assert_eq!(spec.ipc, Ipc::Container(ContainerId("p1".into())));
    assert_eq!((spec.command, spec.args), (vec!["run".to_owned(), "n".into()], vec!["n$".to_owned()]));
    assert_eq!(spec.name, "kontiki_app_web_default_u1_2");
    assert_eq!((spec.labels.attempt, spec.labels.failures, spec.labels.sandbox.as_str()), (2, 1, "p1"));
    let read = crate::runtime::Labels::from_map(|key| spec.labels.to_map().get(key).map(|text| &**text).map(leak));
    assert_eq!(read, Some(spec.labels));
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

#[test]
fn the_sandbox_has_the_name_the_ports_and_the_names_to_resolve() {
    let pod = pod(json!({
        "hostname": "front", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["one", "two"]}],
        "containers": [{"name": "app", "image": "i", "ports": [
            {"containerPort": 80, "hostPort": 8080}, {"containerPort": 53, "protocol": "UDP"},
        ]}],
    }));
    let spec = pause(&pod, &host(), 3);
    assert_eq!(spec.hostname.as_deref(), Some("front"));
    assert_eq!(spec.extra_hosts, ["one:1.2.3.4", "two:1.2.3.4"]);
    assert_eq!(spec.ports.len(), 1);
    assert_eq!((spec.ports[0].host_port, spec.ports[0].container_port), (8080, 80));
    assert_eq!(spec.dns_searches, ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"]);
    assert_eq!(spec.name, "kontiki_POD_web_default_u1_3");
    assert!(!spec.keeps_logs);
}

#[test]
fn a_sandbox_has_no_rights_and_a_filter_where_others_see_it() {
    let security = |fields: Value| {
        let mut spec = container(json!({}));
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        pause(&pod(spec), &host(), 0).security
    };
    let alone = security(json!({}));
    assert!(alone.read_only_root && alone.no_new_privileges && !alone.privileged);
    assert_eq!(alone.capabilities_drop, ["ALL"]);
    assert_eq!(alone.options, ["seccomp=unconfined"]);
    for shared in [json!({"shareProcessNamespace": true}), json!({"hostPID": true})] {
        assert_eq!(security(shared.clone()).options, [""; 0], "{shared}");
    }
}

#[test]
fn limits_are_the_kernels() {
    let spec = build(container(json!({"resources": {
        "requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"cpu": "500m", "memory": "2Gi"},
    }})))
    .unwrap();
    assert_eq!((spec.limits.cpu_shares, spec.limits.cpu_milli_max), (256, 500));
    assert_eq!(spec.limits.memory_bytes_max, 2 << 30);
    assert_eq!(spec.limits.oom_score_adj, 875);
    assert_eq!(build(container(json!({}))).unwrap().limits.oom_score_adj, 1000);
    let fixed = json!({"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}});
    assert_eq!(build(container(fixed.clone())).unwrap().limits.oom_score_adj, 0);
    assert_eq!(quality(&pod(container(fixed))), Quality::Guaranteed);
}

#[test]
fn mounts_point_into_the_pods_own_directory() {
    let spec = build(json!({
        "containers": [{"name": "app", "image": "i", "volumeMounts": [
            {"name": "e", "mountPath": "/e", "subPath": "part"}, {"name": "h", "mountPath": "/h", "readOnly": true},
            {"name": "m", "mountPath": "/m"},
        ]}],
        "volumes": [{"name": "e", "emptyDir": {}}, {"name": "h", "hostPath": {"path": "/srv"}},
                    {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}],
    }))
    .unwrap();
    let path = |index: usize| match &spec.mounts[index].source {
        MountSource::Path(path) => path.clone(),
        MountSource::Memory { name, size_bytes } => format!("{name} {size_bytes:?}"),
    };
    assert_eq!(path(0), "/data/pods/u1/volumes/e/part");
    assert_eq!((path(1), spec.mounts[1].read_only), ("/srv".to_owned(), true));
    assert_eq!(path(2), "kontiki-u1-m Some(1048576)");
    assert_eq!(path(3), "/data/pods/u1/messages/app.2");
    let error = build(json!({
        "containers": [{"name": "app", "image": "i", "volumeMounts": [
            {"name": "e", "mountPath": "/e", "subPath": "../../x"}]}],
        "volumes": [{"name": "e", "emptyDir": {}}],
    }))
    .unwrap_err();
    assert!(error.contains("must be a relative path inside the volume"), "{error}");
}

#[test]
fn root_is_refused_where_it_is_forbidden() {
    let error = build(container(json!({"securityContext": {"runAsNonRoot": true, "runAsUser": 0}}))).unwrap_err();
    assert_eq!(error, "container's runAsUser breaks non-root policy");
    let spec = build(container(json!({"securityContext": {"runAsUser": 5, "runAsGroup": 6}}))).unwrap();
    assert_eq!(spec.security.user.as_deref(), Some("5:6"));
}

#[test]
fn only_a_name_that_bears_its_generate_name_and_five_characters_does_not_come_back() {
    let set = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u2", "controller": true}]);
    for (name, base, owners, comes_back) in [
        ("web-4xk2z", "web-", &set, false),
        ("web-4xk2z", "web-", &json!([]), false),
        // As a StatefulSet names its Pods.
        ("web-0", "web-", &json!([]), true),
        ("db-4xk2z", "web-", &set, true),
        // Made by hand, and taken over by a ReplicaSet.
        ("web-4xk2z", "", &set, true),
        ("web", "", &json!([]), true),
    ] {
        let metadata = json!({"name": name, "generateName": base, "ownerReferences": owners});
        let pod: Pod = serde_json::from_value(json!({"metadata": metadata})).unwrap();
        assert_eq!(name_comes_back(&pod), comes_back, "{name} of {base:?}, {owners}");
    }
}
