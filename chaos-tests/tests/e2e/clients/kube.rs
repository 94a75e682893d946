//! The kube crate: typed calls, watching with its runtime, logs, exec, and what it does when the cluster says no.

use std::time::Duration;

use futures::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::{
    Api, AttachParams, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Config};
use serde_json::json;

use crate::harness::Cluster;

const WITHIN: Duration = Duration::from_secs(40);

#[tokio::test]
async fn the_kube_crate_does_its_daily_work() {
    let cluster = Cluster::under_test();
    let namespace = cluster.namespace("clients-kube");
    let kubeconfig = Kubeconfig::read_from(cluster.dir().join("kubeconfig")).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    let work = async {
        assert_eq!(Api::<Node>::all(client.clone()).list(&ListParams::default()).await.unwrap().items.len(), 3);
        objects_and_watches(Api::namespaced(client.clone(), &namespace.name)).await;
        a_deployment_and_its_pods(client.clone(), &namespace.name).await;
    };
    tokio::time::timeout(3 * WITHIN, work).await.expect("all is done in time");
}

async fn objects_and_watches(maps: Api<ConfigMap>) {
    let map = |name: &str, value: &str| -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": name, "labels": {"of": "kube"}}, "data": {"a": value}}))
            .unwrap()
    };
    let made = maps.create(&PostParams::default(), &map("one", "1")).await.unwrap();
    let twice = maps.create(&PostParams::default(), &map("one", "1")).await.unwrap_err();
    assert!(
        matches!(&twice, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists"),
        "{twice}"
    );
    maps.replace("one", &PostParams::default(), &ConfigMap { data: map("one", "2").data, ..made.clone() })
        .await
        .unwrap();
    let stale = maps.replace("one", &PostParams::default(), &made).await.unwrap_err();
    assert!(matches!(&stale, kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict"), "{stale}");

    // A raw watch from a known revision: every change once, in order.
    let since = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let changes = maps.watch(&WatchParams::default().labels("of=kube").timeout(30), &since).await.unwrap();
    maps.create(&PostParams::default(), &map("two", "1")).await.unwrap();
    maps.patch("two", &PatchParams::default(), &Patch::Merge(json!({"data": {"a": "2"}}))).await.unwrap();
    maps.delete("one", &DeleteParams::default()).await.unwrap();
    let seen: Vec<String> = changes
        .try_filter_map(async |event| {
            Ok(match event {
                WatchEvent::Added(map) => Some(format!("added {}", map.metadata.name.unwrap())),
                WatchEvent::Modified(map) => Some(format!("modified {}", map.metadata.name.unwrap())),
                WatchEvent::Deleted(map) => Some(format!("deleted {}", map.metadata.name.unwrap())),
                WatchEvent::Bookmark(_) => None,
                WatchEvent::Error(status) => panic!("the watch broke: {status:?}"),
            })
        })
        .take(3)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(seen, ["added two", "modified two", "deleted one"]);

    // The runtime's watcher: the list first, then what comes.
    let mut touched =
        std::pin::pin!(watcher(maps.clone(), watcher::Config::default().labels("of=kube")).touched_objects());
    assert_eq!(touched.next().await.unwrap().unwrap().metadata.name.as_deref(), Some("two"));
    maps.create(&PostParams::default(), &map("three", "1")).await.unwrap();
    assert_eq!(touched.next().await.unwrap().unwrap().metadata.name.as_deref(), Some("three"));
}

async fn a_deployment_and_its_pods(client: Client, namespace: &str) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [
                {"name": "main", "image": "busybox:1.30", "command": ["sh", "-c", "for i in 1 2 3; do echo line $i; done; sleep 1000"]}]}}}
    }));
    deployments.create(&PostParams::default(), &deployment.unwrap()).await.unwrap();
    let rolled_out = await_condition(deployments.clone(), "web", conditions::is_deployment_completed());
    tokio::time::timeout(WITHIN, rolled_out).await.expect("it rolls out in time").unwrap();
    let patch = Patch::Merge(json!({"spec": {"replicas": 1}}));
    deployments.patch_scale("web", &PatchParams::default(), &patch).await.unwrap();
    let scaled = await_condition(deployments.clone(), "web", |found: Option<&Deployment>| {
        found.and_then(|found| found.status.as_ref()).is_some_and(|status| status.replicas == Some(1))
    });
    tokio::time::timeout(WITHIN, scaled).await.expect("it shrinks in time").unwrap();

    let running = ListParams::default().labels("app=web").fields("status.phase=Running");
    let name = pods.list(&running).await.unwrap().items.remove(0).metadata.name.unwrap();
    let follow = LogParams { follow: true, tail_lines: Some(2), ..LogParams::default() };
    let lines = pods.log_stream(&name, &follow).await.unwrap().lines();
    let lines: Vec<String> = lines.take(2).try_collect().await.unwrap();
    assert_eq!(lines, ["line 2", "line 3"]);
    let mut process = pods.exec(&name, ["sh", "-c", "echo out; exit 3"], &AttachParams::default()).await.unwrap();
    let status = process.take_status().unwrap();
    let mut said = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut process.stdout().unwrap(), &mut said).await.unwrap();
    let status = status.await.unwrap();
    assert_eq!((said.as_str(), status.reason.as_deref()), ("out\n", Some("NonZeroExitCode")), "{status:?}");

    let uid = deployments.get("web").await.unwrap().metadata.uid.unwrap();
    deployments.delete("web", &DeleteParams::foreground()).await.unwrap();
    let gone = await_condition(deployments.clone(), "web", conditions::is_deleted(&uid));
    tokio::time::timeout(WITHIN, gone).await.expect("it is gone in time").unwrap();
    assert!(pods.list(&ListParams::default().labels("app=web")).await.unwrap().items.is_empty());
}
