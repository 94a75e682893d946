//! Reaching what runs: logs and exec by container, port-forward, cp, and traffic between Pods on all nodes.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::json;

use super::wait_for;
use crate::harness::{Cluster, Namespace};

#[test]
fn pods_are_reached_by_people_and_by_each_other() {
    let cluster = Cluster::under_test();
    let namespace = cluster.namespace("pods-reach");
    namespace.apply(include_str!("reach.yaml"));
    let ready = |name| (name, "/status/containerStatuses/1/ready", json!(true));
    let pods = wait_for(&namespace, &[ready("reach-1"), ready("reach-2"), ready("reach-3")]);
    let kubectl = |args: &[&str]| namespace.kubectl(args).expect();

    // Everyone to everyone, over the nodes' borders; a Pod's containers share its address.
    for from in ["reach-1", "reach-2", "reach-3"] {
        for to in ["reach-1", "reach-2", "reach-3"] {
            let url = format!("http://{}/", pods.at(to, "/status/podIP").as_str().unwrap());
            let page = kubectl(&["exec", from, "-c", "side", "--", "wget", "-qO-", &url]);
            assert!(page.contains("nginx"), "{from} -> {to}: {page}");
        }
        assert!(kubectl(&["exec", from, "-c", "side", "--", "wget", "-qO-", "http://localhost/"]).contains("nginx"));
    }

    assert_eq!(kubectl(&["logs", "reach-1", "-c", "side"]), "first of reach-1\n");
    let all = kubectl(&["logs", "reach-2", "--all-containers", "--prefix"]);
    assert!(all.contains("[pod/reach-2/side] first of reach-2") && all.contains("[pod/reach-2/web]"), "{all}");
    let mut of_set: Vec<String> =
        kubectl(&["logs", "-l", "set=reach", "-c", "side"]).lines().map(str::to_owned).collect();
    of_set.sort();
    assert_eq!(of_set, ["first of reach-1", "first of reach-2", "first of reach-3"]);
    let stamped = kubectl(&["logs", "reach-1", "-c", "side", "--timestamps"]);
    assert!(stamped.starts_with("20") && stamped.contains("Z first of"), "{stamped}");
    assert_eq!(kubectl(&["logs", "reach-1", "-c", "web", "--tail=2"]).lines().count(), 2);
    let wrong = namespace.kubectl(&["logs", "reach-1", "-c", "nothing"]).expect_failure();
    assert!(wrong.contains("nothing") && wrong.contains("not valid"), "{wrong}");
    let wrong = namespace.kubectl(&["logs", "reach-1", "-c", "side", "--previous"]).expect_failure();
    assert!(wrong.contains("previous terminated container \"side\" in pod \"reach-1\" not found"), "{wrong}");
    // Docker's own words come on standard output, as they do from the kubelet with Docker.
    let wrong = namespace.kubectl(&["exec", "reach-1", "-c", "side", "--", "/no/such"]);
    assert!(!wrong.ok && wrong.stdout.contains("/no/such: no such file"), "{}{}", wrong.stdout, wrong.stderr);

    let folder = tempfile::tempdir().unwrap();
    let (there, back) = (folder.path().join("there"), folder.path().join("back"));
    std::fs::create_dir_all(there.join("deep")).unwrap();
    std::fs::write(there.join("deep/file"), "words").unwrap();
    kubectl(&["cp", "-c", "side", there.to_str().unwrap(), "reach-3:/tmp/there"]);
    kubectl(&["cp", "-c", "side", "reach-3:/tmp/there", back.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(back.join("deep/file")).unwrap(), "words");
    for target in ["pod/reach-2", "service/reach"] {
        forwards(&namespace, target);
    }
}

fn forwards(namespace: &Namespace, target: &str) {
    let mut forward = Command::new("timeout")
        .args(["-k", "1", "20", "kubectl", "-n", &namespace.name, "port-forward", target, ":80"])
        .env("KUBECONFIG", namespace.cluster.dir().join("kubeconfig"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Kept open to the end: kubectl writes a line for every connection.
    let mut said = BufReader::new(forward.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    // "Forwarding from 127.0.0.1:40123 -> 80"
    let address = line.split_whitespace().nth(2).unwrap_or_else(|| panic!("{target} said {line:?}")).to_owned();
    for _ in 0..3 {
        let page =
            namespace.cluster.run("curl", &["-sS", "--max-time", "10", &format!("http://{address}/")], "").expect();
        assert!(page.contains("nginx"), "{target}: {page}");
    }
    // `timeout` hands a TERM on, which it could not do with a KILL.
    Command::new("kill").args(["-TERM", &forward.id().to_string()]).status().unwrap();
    forward.wait().unwrap();
}
