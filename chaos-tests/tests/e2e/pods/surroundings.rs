//! What a container finds around it: environment, working directory, volumes that follow their sources.

use std::collections::BTreeMap;

use serde_json::json;

use super::{SOON, wait_for};
use crate::harness::{Cluster, Namespace, eventually, eventually_ok};

#[test]
fn containers_find_the_environment_and_the_volumes_they_asked_for() {
    let cluster = Cluster::under_test();
    let host = tempfile::tempdir().unwrap();
    let path = host.path().join("made");
    let namespace = cluster.namespace("pods-surroundings");
    namespace.apply(&include_str!("surroundings.yaml").replace("HOST_PATH", &path.display().to_string()));
    let pods = wait_for(
        &namespace,
        &[
            ("environment", "/status/phase", json!("Succeeded")),
            ("volumes", "/status/containerStatuses/0/ready", json!(true)),
            ("volumes", "/status/containerStatuses/1/ready", json!(true)),
        ],
    );
    let fact = |pointer: &str| pods.at("environment", pointer).as_str().unwrap().to_owned();
    environment_is_complete(&namespace, fact);
    volumes_hold_what_they_should(&namespace);
    assert_eq!(std::fs::read_to_string(path.join("from-inside")).unwrap(), "written\n");
    files_follow_their_sources(&namespace);
}

fn environment_is_complete(namespace: &Namespace, fact: impl Fn(&str) -> String) {
    let log = namespace.kubectl(&["logs", "environment"]).expect();
    let found: BTreeMap<&str, &str> = log.lines().filter_map(|line| line.split_once('=')).collect();
    let (uid, ip, node) = (fact("/metadata/uid"), fact("/status/podIP"), fact("/spec/nodeName"));
    for (name, value) in [
        ("color", "blue"),
        ("shape", "round"),
        ("SECRET_password", "pass $(word)"),
        ("SECRET_key", "abc"),
        ("GREETING", "hello world"),
        ("ESCAPED", "$(WHO)"),
        ("DANGLING", "$(NOBODY)"),
        ("FROM_MAP", "blue"),
        ("FROM_SECRET", "pass $(word)"),
        ("POD", "environment"),
        ("POD_NAMESPACE", "pods-surroundings"),
        ("POD_UID", uid.as_str()),
        ("POD_IP", ip.as_str()),
        ("NODE", node.as_str()),
        ("TIER", "back"),
        ("NOTE", "some words"),
        ("CPUS", "2"),
        ("CPU_MILLIS", "20"),
        ("MEMORY_MI", "64"),
        ("HOSTNAME", "environment"),
        ("KUBERNETES_SERVICE_PORT", "443"),
    ] {
        assert_eq!(found.get(name), Some(&value), "{name} in\n{log}");
    }
    // A key that is no variable's name is left out, and so is what is optional and absent.
    assert!(!found.contains_key("OPTIONAL") && !found.contains_key("file.conf"), "{log}");
    for line in ["/var/www", "ARG hello world-$(NOWHERE)", "DOUBLE $(GREETING)", "environment"] {
        assert!(log.lines().any(|found| found == line), "no line {line:?} in\n{log}");
    }
}

fn shell(namespace: &Namespace, container: &str, script: &str) -> String {
    namespace.kubectl(&["exec", "volumes", "-c", container, "--", "sh", "-c", script]).expect()
}

fn volumes_hold_what_they_should(namespace: &Namespace) {
    let main = |script: &str| shell(namespace, "main", script);
    for (script, expected) in [
        ("cat /map/color", "blue"),
        ("cat /etc/one.conf", "first line\n"),
        ("cat /one/deep/renamed.conf; ls /one", "first line\ndeep\n"),
        ("stat -L -c %a /one/deep/renamed.conf /hidden/password", "640\n400\n"),
        ("cat /hidden/password", "pass $(word)"),
        ("cat /about/name", "volumes"),
        ("cat /about/labels", "set=\"surroundings\"\ntier=\"back\"\n"),
        ("cat /about/cpu", "250"),
        ("cat /all/color /all/key; grep -h ^note /all/annotations", "blueabcnote=\"some words\"\n"),
        ("grep ' /memory ' /proc/mounts | cut -d' ' -f3", "tmpfs\n"),
        ("head -c 2000000 /dev/zero > /memory/big 2>/dev/null || echo full", "full\n"),
        ("touch /map/new 2>/dev/null || echo no", "no\n"),
        ("echo written > /host/from-inside; echo common > /shared/file", ""),
    ] {
        let found = main(script);
        assert_eq!(found.trim_end(), expected.trim_end(), "{script}");
    }
    let other = shell(namespace, "other", "cat /shared/file; touch /shared/new 2>/dev/null || echo no; ls -A /part");
    assert_eq!(other, "common\nno\n");
    shell(namespace, "other", "touch /part/mine");
    assert_eq!(main("ls /shared/part"), "mine\n", "a subPath is a folder of the volume");
}

/// Whole files and keys that appear or go, at once in every volume of a source; a subPath stays as it was.
fn files_follow_their_sources(namespace: &Namespace) {
    let merge = |kind: &str, name: &str, patch: &str| {
        namespace.kubectl(&["patch", kind, name, "--type=merge", "-p", patch]).expect();
    };
    merge("configmap", "settings", r#"{"data":{"color":"red","shape":null,"size":"big","file.conf":"second line\n"}}"#);
    merge("secret", "hidden", r#"{"stringData":{"password":"changed"}}"#);
    merge("pod", "volumes", r#"{"metadata":{"labels":{"tier":"front"}}}"#);
    eventually_ok("the files follow", SOON, || {
        let script = "cat /map/color /map/size /hidden/password /all/color /one/deep/renamed.conf; grep tier /about/labels; ls /map";
        let found = shell(namespace, "main", script);
        let expected = "redbigchangedredsecond line\ntier=\"front\"\ncolor\nfile.conf\nsize\n";
        if found == expected { Ok(()) } else { Err(found) }
    });
    assert_eq!(shell(namespace, "main", "cat /etc/one.conf"), "first line\n");
    eventually("nothing was restarted for it", SOON, || super::Pods::of(namespace).restarts("volumes") == 0);
}
