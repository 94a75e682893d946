//! Lifecycle hooks and the grace period.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{SOON, wait_for};
use crate::harness::{Cluster, Namespace, eventually};

#[test]
fn hooks_run_and_the_grace_period_is_kept() {
    let cluster = Cluster::under_test();
    let host = tempfile::tempdir().unwrap();
    let namespace = cluster.namespace("pods-hooks");
    namespace.apply(&include_str!("hooks.yaml").replace("HOST_PATH", &host.path().display().to_string()));
    let ready = "/status/containerStatuses/0/ready";
    let pods = wait_for(
        &namespace,
        &[
            ("post-start", ready, json!(true)),
            ("polite", ready, json!(true)),
            ("stubborn", ready, json!(true)),
            ("http-hook", ready, json!(true)),
            ("post-start-fails", ready, json!(false)),
        ],
    );
    assert_eq!(pods.restarts("post-start"), 0);
    // The container is not running, as Kubernetes tells it, before the hook is done.
    assert_eq!(namespace.kubectl(&["exec", "post-start", "--", "cat", "/tmp/hook"]).expect(), "greeted\n");
    eventually("a hook that fails is told, and ends its container", SOON, || {
        let events = namespace.kubectl(&["get", "events"]).expect();
        let told = events.lines().any(|line| line.contains("post-start-fails") && line.contains("FailedPostStartHook"));
        told && super::Pods::of(&namespace).restarts("post-start-fails") > 0
    });

    let written = |name: &str| std::fs::read_to_string(host.path().join(name)).unwrap_or_default();
    let took = deleted(&namespace, "polite");
    assert_eq!(written("polite"), "hook\nterm\n");
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(15), "its hook takes 1 s, all took {took:?}");
    let took = deleted(&namespace, "stubborn");
    assert_eq!(written("stubborn"), "deaf\n");
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(15), "its grace is 3 s, all took {took:?}");
    let log = std::thread::scope(|scope| {
        let follower = scope.spawn(|| namespace.kubectl(&["logs", "-f", "http-hook"]));
        std::thread::sleep(Duration::from_secs(1));
        deleted(&namespace, "http-hook");
        follower.join().unwrap()
    });
    assert!(log.stdout.contains("GET /bye"), "{}{}", log.stdout, log.stderr);
}

/// Deletes a Pod, waits until it is gone, and says how long that took.
fn deleted(namespace: &Namespace, pod: &str) -> Duration {
    let started = Instant::now();
    namespace.kubectl(&["delete", "pod", pod, "--timeout=60s"]).expect();
    started.elapsed()
}
