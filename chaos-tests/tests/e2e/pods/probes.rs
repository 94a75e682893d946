//! Liveness, readiness and startup probes by exec, HTTP and TCP, and what they do.

use serde_json::json;

use super::{Pods, SOON, wait_for};
use crate::harness::{Cluster, Namespace, eventually, eventually_ok};

/// The container of these is restarted, for the reason that the event gives.
const RESTARTED: [(&str, &str); 5] = [
    ("live-exec", "Liveness probe failed"),
    ("live-http", "Liveness probe failed: HTTP probe failed with statuscode: 404"),
    ("live-tcp", "connection refused"),
    ("live-hangs", "Liveness probe failed"),
    ("never-starts", "Startup probe failed"),
];

#[test]
fn probes_restart_what_is_not_alive_and_hide_what_is_not_ready() {
    let cluster = Cluster::under_test();
    let namespace = cluster.namespace("pods-probes");
    namespace.apply(include_str!("probes.yaml"));
    let ready = "/status/containerStatuses/0/ready";
    // `slow-start` needs four seconds: seen now, its probe has not passed.
    let pods = wait_for(&namespace, &[("well", ready, json!(true)), ("slow-start", "/status/phase", json!("Running"))]);
    let (started, restarts) = (pods.container("slow-start", "/started"), pods.restarts("slow-start"));
    assert_eq!((started, pods.container("slow-start", "/ready"), restarts), (&json!(false), &json!(false), 0));

    readiness_decides_about_endpoints(&namespace);
    eventually_ok("what is not alive is restarted", SOON, || {
        let pods = Pods::of(&namespace);
        match RESTARTED.iter().find(|(name, _)| pods.restarts(name) == 0) {
            None => Ok(()),
            Some((name, _)) => Err(format!("{name} was not: {}", pods.container(name, ""))),
        }
    });
    eventually_ok("the events say why", SOON, || {
        let events = namespace.kubectl(&["get", "events"]).expect();
        for (name, words) in RESTARTED {
            let pod = format!("pod/{name} ");
            let of_pod = |reason: &str, words: &str| {
                events.lines().any(|line| line.contains(&pod) && line.contains(reason) && line.contains(words))
            };
            if !of_pod("Unhealthy", words) || !of_pod("Killing", "will be restarted") {
                return Err(format!("{name}: {words:?} or its Killing is missing in\n{events}"));
            }
        }
        Ok(())
    });
    let pods = wait_for(&namespace, &[("slow-start", ready, json!(true))]);
    for untouched in ["well", "slow-start", "switch"] {
        assert_eq!(pods.restarts(untouched), 0, "{untouched}");
    }
}

fn readiness_decides_about_endpoints(namespace: &Namespace) {
    let address = |path: &str| {
        let endpoints = namespace.json(&["get", "endpoints", "switch"]);
        endpoints.pointer(&format!("/subsets/0/{path}/0/ip")).cloned().unwrap_or_default()
    };
    let table = || namespace.kubectl(&["get", "pod", "switch", "--no-headers"]).expect();
    let ip = || namespace.kubectl(&["get", "pod", "switch", "-o", "jsonpath={.status.podIP}"]).expect();
    eventually("a Pod that is not ready is among the addresses that are not", SOON, || {
        !ip().is_empty() && address("notReadyAddresses") == ip()
    });
    assert!(table().contains("0/1") && address("addresses").is_null(), "{}", table());
    for _ in 0..2 {
        namespace.kubectl(&["exec", "switch", "--", "touch", "/tmp/ready"]).expect();
        eventually("a Pod that is ready is among the Endpoints", SOON, || address("addresses") == ip());
        assert!(table().contains("1/1"), "{}", table());
        namespace.kubectl(&["exec", "switch", "--", "rm", "/tmp/ready"]).expect();
        eventually("a Pod that is not ready leaves the Endpoints", SOON, || address("addresses").is_null());
        assert!(table().contains("0/1") && table().contains("Running"), "{}", table());
    }
}
