//! Services, pods, and what is said of them in Endpoints and EndpointSlices.

use std::collections::BTreeSet;

use api::Key;
use serde_json::{Value, json};

use super::endpoint_slices::{ENDPOINTS_MAX, EndpointSlices};
use super::endpoints::ServiceEndpoints;
use crate::scheduler::fixtures::*;
use crate::{Change, Controller, Write};

fn service(name: &str, spec: Value) -> Value {
    let base = json!({"selector": {"app": "web"}, "clusterIP": "10.96.0.7", "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]});
    let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": base});
    with(object, json!({ "spec": spec }))
}

fn web(name: &str, address: &str, ready: bool) -> Value {
    let status = json!({"phase": "Running", "podIP": address, "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]});
    let containers = json!([{"name": "c", "ports": [{"name": "main", "containerPort": 9090, "protocol": "TCP"}]}]);
    with(labelled(bound(name, "n1"), &[("app", "web")]), json!({"spec": {"containers": containers}, "status": status}))
}

fn key(name: &str) -> Key {
    Key::new("", "services", "default", name)
}

fn replicas() -> Vec<std::net::SocketAddr> {
    ["10.0.0.2:6443", "10.0.0.1:6443"].iter().map(|text| text.parse().expect("an address")).collect()
}

fn endpoints() -> ServiceEndpoints {
    ServiceEndpoints { replicas: replicas() }
}

fn slices() -> EndpointSlices {
    EndpointSlices { replicas: replicas() }
}

/// `ready | not ready @ port name=number`, a subset on each line.
fn subsets(world: &World, name: &str) -> String {
    let object = world.get(&Key::new("", "endpoints", "default", name)).expect("Endpoints");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let ips = |addresses: &Value| {
        list(addresses).iter().map(|a| a["ip"].as_str().unwrap_or("").to_string()).collect::<Vec<_>>().join(",")
    };
    let ports = |ports: &Value| {
        list(ports)
            .iter()
            .map(|p| format!("{}={}", p["name"].as_str().unwrap_or(""), p["port"]))
            .collect::<Vec<_>>()
            .join(",")
    };
    let subset =
        |s: &Value| format!("{} | {} @ {}", ips(&s["addresses"]), ips(&s["notReadyAddresses"]), ports(&s["ports"]));
    list(&object["subsets"]).iter().map(subset).collect::<Vec<_>>().join("\n")
}

/// The slices of a Service, in the order of their names.
fn slices_of(world: &World, name: &str) -> Vec<Value> {
    let all = world.view.of_kind_in("discovery.k8s.io", "endpointslices", "default");
    let objects = all.map(|entry| serde_json::from_slice::<Value>(&entry.encode()).expect("JSON"));
    objects.filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == name).collect()
}

/// `address ready/serving/terminating`
fn conditions(world: &World, name: &str) -> Vec<String> {
    let flag = |value: &Value, yes: char| if value == true { yes } else { '-' };
    let endpoint = |endpoint: &Value| {
        let c = &endpoint["conditions"];
        let flags: String =
            [flag(&c["ready"], 'r'), flag(&c["serving"], 's'), flag(&c["terminating"], 't')].iter().collect();
        format!("{} {flags}", endpoint["addresses"][0].as_str().unwrap_or(""))
    };
    let mut found: Vec<String> = slices_of(world, name)
        .iter()
        .flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default())
        .map(|e| endpoint(&e))
        .collect();
    found.sort();
    found
}

fn going(pod: Value) -> Value {
    with(pod, json!({"metadata": {"deletionTimestamp": "1970-01-12T13:46:40Z"}}))
}

#[test]
fn ready_pods_are_behind_the_service() {
    let mut world = World::new([
        service("web", json!({})),
        web("b", "10.244.0.3", true),
        web("a", "10.244.0.2", true),
        web("c", "10.244.0.4", false),
        web("no-address", "", true),
        going(web("going", "10.244.0.5", true)),
        with(web("done", "10.244.0.6", true), json!({"status": {"phase": "Succeeded"}})),
        labelled(web("other", "10.244.0.7", true), &[("app", "db")]),
    ]);
    assert_eq!(world.settle(&endpoints(), &key("web")).len(), 1);
    assert_eq!(subsets(&world, "web"), "10.244.0.2,10.244.0.3 | 10.244.0.4 @ http=8080");
    assert_eq!(world.settle(&slices(), &key("web")).len(), 1);
    assert_eq!(conditions(&world, "web"), ["10.244.0.2 rs-", "10.244.0.3 rs-", "10.244.0.4 ---", "10.244.0.5 -st"]);
    let slice = &slices_of(&world, "web")[0];
    assert_eq!(slice["metadata"]["ownerReferences"][0]["uid"], "uid-web");
    assert_eq!(slice["ports"][0]["port"], 8080);
    assert_eq!(slice["endpoints"][0]["nodeName"], "n1");
    assert_eq!(slice["endpoints"][0]["targetRef"]["name"], "a");
}

#[test]
fn a_service_may_want_the_unready_too() {
    let mut world = World::new([
        service("web", json!({"publishNotReadyAddresses": true})),
        web("a", "10.244.0.2", false),
        going(web("b", "10.244.0.3", true)),
    ]);
    world.settle(&endpoints(), &key("web"));
    world.settle(&slices(), &key("web"));
    assert_eq!(subsets(&world, "web"), "10.244.0.2,10.244.0.3 |  @ http=8080");
    assert_eq!(conditions(&world, "web"), ["10.244.0.2 r--", "10.244.0.3 rst"]);
}

#[test]
fn named_ports_are_looked_up_on_each_pod() {
    let other = with(
        web("b", "10.244.0.3", true),
        json!({"spec": {"containers": [{"name": "c", "ports": [{"name": "main", "containerPort": 7070}]}]}}),
    );
    let lacks = with(web("c", "10.244.0.4", true), json!({"spec": {"containers": [{"name": "c"}]}}));
    let ports = json!({"ports": [{"name": "http", "port": 80, "targetPort": "main", "protocol": "TCP"}]});
    let mut world = World::new([service("web", ports), web("a", "10.244.0.2", true), other, lacks]);
    world.settle(&endpoints(), &key("web"));
    assert_eq!(subsets(&world, "web"), "10.244.0.3 |  @ http=7070\n10.244.0.2 |  @ http=9090");
    world.settle(&slices(), &key("web"));
    let ports: BTreeSet<String> = slices_of(&world, "web").iter().map(|slice| slice["ports"].to_string()).collect();
    assert_eq!(ports.len(), 3, "a slice for each set of ports: {ports:?}");
}

/// A new slice is refused while disks are short of room, and what is deleted in the same command stays then.
#[test]
fn a_service_that_loses_its_last_pod_keeps_a_slice_and_makes_none() {
    let other = json!({"spec": {"containers": [{"name": "c", "ports": [{"name": "main", "containerPort": 7070}]}]}});
    let ports = json!({"ports": [{"name": "http", "port": 80, "targetPort": "main", "protocol": "TCP"}]});
    let pods = [web("a", "10.244.0.2", true), with(web("b", "10.244.0.3", true), other)];
    let mut world = World::new(pods.into_iter().chain([service("web", ports)]));
    world.settle(&slices(), &key("web"));
    let before = slices_of(&world, "web");
    assert_eq!(before.len(), 2);
    for name in ["a", "b"] {
        world.delete(&Key::new("", "pods", "default", name));
    }
    let plans = world.settle(&slices(), &key("web"));
    assert_eq!(plans.len(), 1);
    let writes = &plans[0].writes;
    assert!(matches!(writes.as_slice(), [Write::Update { .. }, Write::Delete { .. }]), "{writes:?}");
    let after = slices_of(&world, "web");
    assert_eq!((after.len(), &after[0]["metadata"]["name"]), (1, &before[0]["metadata"]["name"]));
    assert_eq!(conditions(&world, "web"), [""; 0]);
}

#[test]
fn a_headless_service_is_marked_and_names_its_hosts() {
    let named = with(web("db-0", "10.244.0.2", true), json!({"spec": {"hostname": "db-0", "subdomain": "db"}}));
    let mut world = World::new([service("db", json!({"clusterIP": "None"})), named]);
    world.settle(&endpoints(), &key("db"));
    world.settle(&slices(), &key("db"));
    let object = world.get(&Key::new("", "endpoints", "default", "db")).expect("Endpoints");
    assert_eq!(object["metadata"]["labels"]["service.kubernetes.io/headless"], "");
    assert_eq!(object["subsets"][0]["addresses"][0]["hostname"], "db-0");
    let slice = &slices_of(&world, "db")[0];
    assert_eq!(slice["endpoints"][0]["hostname"], "db-0");
    assert_eq!(slice["metadata"]["labels"]["service.kubernetes.io/headless"], "");
}

#[test]
fn a_selector_that_changes_moves_the_traffic() {
    let mut world = World::new([
        service("web", json!({})),
        web("blue", "10.244.0.2", true),
        labelled(web("green", "10.244.0.3", true), &[("app", "green")]),
    ]);
    world.settle(&endpoints(), &key("web"));
    world.settle(&slices(), &key("web"));
    world.put(service("web", json!({"selector": {"app": "green"}})));
    world.settle(&endpoints(), &key("web"));
    world.settle(&slices(), &key("web"));
    assert_eq!(subsets(&world, "web"), "10.244.0.3 |  @ http=8080");
    assert_eq!(conditions(&world, "web"), ["10.244.0.3 rs-"]);
    assert_eq!(slices_of(&world, "web").len(), 1);
}

#[test]
fn the_api_itself_has_endpoints() {
    let object = service("kubernetes", json!({"selector": null, "ports": [{"name": "https", "port": 443}]}));
    let mut world = World::new([object]);
    world.settle(&endpoints(), &key("kubernetes"));
    world.settle(&slices(), &key("kubernetes"));
    assert_eq!(subsets(&world, "kubernetes"), "10.0.0.1,10.0.0.2 |  @ https=6443");
    assert_eq!(conditions(&world, "kubernetes"), ["10.0.0.1 r--", "10.0.0.2 r--"]);
}

#[test]
fn without_a_selector_others_say_what_is_behind() {
    let mut world = World::new([service("web", json!({"selector": null})), web("a", "10.244.0.2", true)]);
    assert!(world.settle(&endpoints(), &key("web")).is_empty());
    assert!(world.settle(&slices(), &key("web")).is_empty());
}

#[test]
fn endpoints_go_with_their_service() {
    let mut world = World::new([service("web", json!({}))]);
    world.settle(&endpoints(), &key("web"));
    assert_eq!(subsets(&world, "web"), "");
    world.delete(&key("web"));
    assert_eq!(world.settle(&endpoints(), &key("web")).len(), 1);
    assert!(world.get(&Key::new("", "endpoints", "default", "web")).is_none());
}

#[test]
fn slices_are_bounded_and_a_change_touches_one() {
    let count = 2 * ENDPOINTS_MAX + 50;
    let address = |number: usize| format!("10.244.{}.{}", number / 200, number % 200 + 1);
    let pods = (0..count).map(|number| web(&format!("w{number}"), &address(number), true));
    let mut world = World::new(pods.chain([service("web", json!({}))]));
    world.settle(&slices(), &key("web"));
    let sizes = |world: &World| -> Vec<usize> {
        let slices = slices_of(world, "web");
        let mut sizes: Vec<usize> =
            slices.iter().map(|slice| slice["endpoints"].as_array().map_or(0, Vec::len)).collect();
        sizes.sort();
        sizes
    };
    assert_eq!(sizes(&world), [50, 100, 100]);
    world.delete(&Key::new("", "pods", "default", "w0"));
    let plans = world.settle(&slices(), &key("web"));
    assert_eq!(plans.iter().map(|plan| plan.writes.len()).sum::<usize>(), 1);
    world.put(web("new", "10.244.9.9", true));
    let plans = world.settle(&slices(), &key("web"));
    assert_eq!(plans.iter().map(|plan| plan.writes.len()).sum::<usize>(), 1, "it takes the place that is free");
    assert_eq!(conditions(&world, "web").len(), count);
}

#[test]
fn pods_wake_the_services_that_select_them_before_or_after() {
    let mut world = World::new([service("web", json!({})), service("db", json!({"selector": {"app": "db"}}))]);
    let woken = |change: Change, world: &World| -> Vec<String> {
        endpoints().affected(&change, &world.view).into_iter().map(|key| key.name).collect()
    };
    let change = world.put(web("a", "10.244.0.2", true));
    assert_eq!(woken(change, &world), ["web"]);
    let change = world.put(labelled(web("a", "10.244.0.2", true), &[("app", "db")]));
    assert_eq!(woken(change, &world), ["db", "web"]);
    let change = world.delete(&Key::new("", "pods", "default", "a")).expect("a change");
    assert_eq!(woken(change, &world), ["db"]);
}
