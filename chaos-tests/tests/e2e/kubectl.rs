//! Stock kubectl, several versions of it, against the cluster: every verb that a person uses.

use std::time::Duration;

use crate::harness::{Cluster, Namespace, eventually};

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: busybox:1.30
        command: [sh, -c, "echo hello from $NAME; trap 'exit 0' TERM; while true; do sleep 1; done"]
        env: [{name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
"#;

fn web<'a>(cluster: &'a Cluster, name: &str) -> Namespace<'a> {
    let namespace = cluster.namespace(name);
    namespace.apply(WEB);
    namespace.wait_running("app=web", 2, Duration::from_secs(30));
    namespace
}

/// The versions of kubectl on this machine: the one on PATH, and those beside it.
fn versions() -> Vec<String> {
    let mut found = vec!["kubectl".to_owned()];
    let on_path = std::process::Command::new("sh").args(["-c", "readlink -f $(command -v kubectl)"]).output().unwrap();
    let path = String::from_utf8(on_path.stdout).unwrap();
    let dir = std::path::Path::new(path.trim()).parent().expect("kubectl is on PATH");
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("kubectl.1.") {
            found.push(path.to_string_lossy().into_owned());
        }
    }
    found
}

#[test]
fn every_version_at_hand_gets_applies_explains_and_runs_commands() {
    let cluster = Cluster::under_test();
    let namespace = web(&cluster, "kubectl-versions");
    let pod = namespace.pods("app=web")[0].name.clone();
    for kubectl in versions() {
        let run = |args: &[&str]| cluster.run(&kubectl, &[&["-n", "kubectl-versions"], args].concat(), "");
        let applied = cluster.run(&kubectl, &["-n", "kubectl-versions", "apply", "-f", "-"], WEB).expect();
        assert!(applied.contains("deployment.apps/web unchanged"), "{kubectl}: {applied}");
        let table = run(&["get", "deploy,rs,pods", "-o", "wide"]).expect();
        assert!(table.contains("READY") && table.contains("CONTAINERS") && table.contains("NOMINATED NODE"), "{table}");
        let explained = run(&["explain", "pod.spec.containers.image"]).expect();
        assert!(explained.contains("image <string>") || explained.contains("<string>"), "{kubectl}: {explained}");
        let resources = run(&["api-resources"]).expect();
        assert!(resources.contains("deployments") && resources.contains("deploy "), "{kubectl}: {resources}");
        assert!(run(&["api-versions"]).expect().contains("discovery.k8s.io/v1"));
        assert!(run(&["version"]).expect().contains("Server Version"));
        assert!(run(&["cluster-info"]).expect().contains("is running at"));
        assert_eq!(run(&["exec", &pod, "--", "echo", "words"]).expect(), "words\n", "{kubectl}");
        assert!(run(&["logs", &pod]).expect().contains(&format!("hello from {pod}")));
        assert!(run(&["describe", "pod", &pod]).expect().contains("Started"), "{kubectl}");
    }
}

#[test]
fn get_prints_every_form() {
    let cluster = Cluster::under_test();
    let namespace = web(&cluster, "kubectl-get");
    let get = |args: &[&str]| namespace.kubectl(&[&["get"], args].concat()).expect();
    assert!(get(&["deploy", "web", "-o", "yaml"]).contains("kind: Deployment"));
    assert_eq!(get(&["deploy", "web", "-o", "jsonpath={.spec.replicas}"]), "2");
    assert_eq!(get(&["deploy", "-o", "name"]), "deployment.apps/web\n");
    assert!(get(&["pods", "--show-labels"]).contains("app=web,pod-template-hash="));
    assert!(
        get(&["pods", "-l", "app in (web, other)"]).contains("2/2")
            || get(&["pods", "-l", "app in (web)"]).contains("1/1")
    );
    assert_eq!(namespace.kubectl(&["get", "pods", "-l", "app!=web"]).stdout, "");
    assert!(get(&["pods", "-A"]).lines().next().unwrap().starts_with("NAMESPACE"));
    assert!(get(&["pods", "--field-selector", "status.phase=Running"]).contains("Running"));
    assert!(get(&["all"]).contains("replicaset.apps/web-"));
    let namespaces = cluster.kubectl(&["get", "ns"]).expect();
    for initial in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        assert!(namespaces.contains(initial), "{namespaces}");
    }
    let nodes = cluster.kubectl(&["get", "nodes", "-o", "wide"]).expect();
    assert!(nodes.contains("docker://") && nodes.contains("Ready"), "{nodes}");
    let described = cluster.kubectl(&["describe", "node", "node-1"]).expect();
    assert!(described.contains("Allocatable") && described.contains("Non-terminated Pods"), "{described}");
}

#[test]
fn objects_are_changed_in_every_way() {
    let cluster = Cluster::under_test();
    let namespace = web(&cluster, "kubectl-change");
    let run = |args: &[&str]| namespace.kubectl(args).expect();
    let replicas = || run(&["get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"]);
    run(&["scale", "deploy/web", "--replicas=3"]);
    assert_eq!(replicas(), "3");
    run(&["patch", "deploy", "web", "-p", r#"{"spec":{"replicas":1}}"#]);
    assert_eq!(replicas(), "1");
    run(&["patch", "deploy", "web", "--type=merge", "-p", r#"{"spec":{"replicas":2}}"#]);
    assert_eq!(replicas(), "2");
    run(&["patch", "deploy", "web", "--type=json", "-p", r#"[{"op":"replace","path":"/spec/replicas","value":1}]"#]);
    assert_eq!(replicas(), "1");
    run(&["label", "deploy", "web", "tier=front"]);
    namespace.kubectl(&["label", "deploy", "web", "tier=back"]).expect_failure();
    run(&["label", "deploy", "web", "tier=back", "--overwrite"]);
    assert_eq!(run(&["get", "deploy", "-l", "tier=back", "-o", "name"]), "deployment.apps/web\n");
    run(&["label", "deploy", "web", "tier-"]);
    run(&["annotate", "deploy", "web", "note=words"]);
    let editor = r#"sed -i "s/replicas: 1/replicas: 2/""#;
    let edit = format!("KUBE_EDITOR='{editor}' kubectl -n kubectl-change edit deployment web");
    assert!(cluster.run("sh", &["-c", &edit], "").expect().contains("edited"));
    assert_eq!(replicas(), "2");
    let diff = cluster
        .kubectl_with_input(&["-n", "kubectl-change", "diff", "-f", "-"], &WEB.replace("replicas: 2", "replicas: 5"));
    assert!(diff.stdout.contains("+  replicas: 5"), "{}{}", diff.stdout, diff.stderr);
    assert_eq!(replicas(), "2", "a diff changes nothing");
    run(&["create", "configmap", "settings", "--from-literal=a=1"]);
    run(&["create", "secret", "generic", "keys", "--from-literal=b=2"]);
    assert_eq!(run(&["get", "secret", "keys", "-o", "jsonpath={.data.b}"]), "Mg==");
    run(&["expose", "deploy", "web", "--port=80", "--target-port=8080", "--type=NodePort"]);
    let address = run(&["get", "svc", "web", "-o", "jsonpath={.spec.clusterIP}"]);
    assert!(address.starts_with("10.96."), "{address}");
    let port: u16 = run(&["get", "svc", "web", "-o", "jsonpath={.spec.ports[0].nodePort}"]).parse().unwrap();
    assert!((30000..=32767).contains(&port));
    run(&["delete", "svc,cm,secret", "web", "settings", "keys", "--ignore-not-found"]);
    run(&["delete", "deploy", "web"]);
    eventually("the Deployment's Pods are gone with it", Duration::from_secs(30), || {
        namespace.pods("app=web").is_empty()
    });
}

#[test]
fn a_rollout_goes_on_back_and_waits() {
    let cluster = Cluster::under_test();
    let namespace = web(&cluster, "kubectl-rollout");
    let run = |args: &[&str]| namespace.kubectl(args).expect();
    let word = || {
        run(&[
            "get",
            "deploy",
            "web",
            "-o",
            "jsonpath={.spec.template.spec.containers[0].env[?(@.name==\"WORD\")].value}",
        ])
    };
    run(&["set", "env", "deploy/web", "WORD=two"]);
    run(&["rollout", "status", "deploy/web", "--timeout=60s"]);
    run(&["set", "image", "deploy/web", "main=busybox:1.30.1"]);
    // The new image does not exist, so the old Pods go on.
    eventually("the new Pod's image cannot be had", Duration::from_secs(60), || {
        let table = run(&["get", "pods"]);
        table.contains("ImagePullBackOff") || table.contains("ErrImagePull")
    });
    assert!(namespace.pods("app=web").iter().filter(|pod| pod.ready).count() >= 2);
    let history = run(&["rollout", "history", "deploy/web"]);
    assert!(history.contains('3'), "{history}");
    run(&["rollout", "undo", "deploy/web"]);
    run(&["rollout", "status", "deploy/web", "--timeout=60s"]);
    assert_eq!(word(), "two");
    run(&["rollout", "undo", "deploy/web", "--to-revision=1"]);
    run(&["rollout", "status", "deploy/web", "--timeout=60s"]);
    assert_eq!(word(), "");
    let before = namespace.wait_running("app=web", 2, Duration::from_secs(30));
    run(&["rollout", "pause", "deploy/web"]);
    run(&["set", "env", "deploy/web", "WORD=three"]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(namespace.pods("app=web"), before, "a paused Deployment rolls nothing");
    run(&["rollout", "resume", "deploy/web"]);
    run(&["rollout", "status", "deploy/web", "--timeout=60s"]);
    assert_eq!(word(), "three");
    run(&["rollout", "restart", "deploy/web"]);
    run(&["rollout", "status", "deploy/web", "--timeout=60s"]);
}

#[test]
fn processes_and_files_in_containers_are_reached() {
    let cluster = Cluster::under_test();
    let namespace = web(&cluster, "kubectl-streams");
    let pod = namespace.pods("app=web")[0].name.clone();
    let input =
        |args: &[&str], input: &str| cluster.kubectl_with_input(&[&["-n", "kubectl-streams"], args].concat(), input);
    assert_eq!(input(&["exec", "-i", &pod, "--", "cat"], "through and back").expect(), "through and back");
    let failed = namespace.kubectl(&["exec", &pod, "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert!(
        !failed.ok && failed.stdout == "out\n" && failed.stderr.contains("err"),
        "{}{}",
        failed.stdout,
        failed.stderr
    );
    assert!(failed.stderr.contains("exit code 7"), "{}", failed.stderr);
    // A megabyte each way, byte for byte.
    let directory = tempfile::tempdir().unwrap();
    let (there, back) = (directory.path().join("there"), directory.path().join("back"));
    let bytes: Vec<u8> = (0..1_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(&there, &bytes).unwrap();
    namespace.kubectl(&["cp", there.to_str().unwrap(), &format!("{pod}:/tmp/file")]).expect();
    namespace.kubectl(&["cp", &format!("{pod}:/tmp/file"), back.to_str().unwrap()]).expect();
    assert!(std::fs::read(&back).unwrap() == bytes, "the file came back changed");
    // With a terminal, as a person has one.
    let session = format!("kubectl -n kubectl-streams exec -it {pod} -- sh -c 'tty; exit 3'");
    let with_terminal = cluster.run("script", &["-qec", &session, "/dev/null"], "");
    assert!(with_terminal.stdout.contains("/dev/pts/"), "{}{}", with_terminal.stdout, with_terminal.stderr);
    // Follow a log until the container ends, then read it as the previous one.
    namespace.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: talker}, spec: {containers: [{name: main, image: 'busybox:1.30', \
         command: [sh, -c, 'for i in 1 2 3; do echo line $i; sleep 0.5; done']}]}}",
    );
    eventually("the talker has started", Duration::from_secs(20), || namespace.kubectl(&["logs", "talker"]).ok);
    let followed = namespace.kubectl(&["logs", "-f", "talker"]).expect();
    assert!(followed.contains("line 3"), "{followed}");
    eventually("the log of the run before can be read", Duration::from_secs(30), || {
        namespace.kubectl(&["logs", "--previous", "talker", "--tail=1"]).stdout == "line 3\n"
    });
    // Attach to what is running, and read what it says from now on.
    namespace.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: clock}, spec: {terminationGracePeriodSeconds: 0, containers: \
         [{name: main, image: 'busybox:1.30', command: [sh, -c, 'while true; do echo tick; sleep 0.2; done']}]}}",
    );
    namespace.kubectl(&["wait", "--for=condition=Ready", "pod/clock", "--timeout=30s"]).expect();
    let attached = cluster.run("timeout", &["3", "kubectl", "-n", "kubectl-streams", "attach", "clock"], "");
    assert!(attached.stdout.contains("tick"), "{}{}", attached.stdout, attached.stderr);
}

#[test]
fn run_wait_watch_and_drain() {
    let cluster = Cluster::under_test();
    cluster.settled();
    let namespace = cluster.namespace("kubectl-run");
    let said =
        namespace.kubectl(&["run", "one", "--image=busybox:1.30", "--restart=Never", "--", "echo", "done"]).expect();
    assert!(said.contains("pod/one created"));
    let waited = ["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/one", "--timeout=30s"];
    namespace.kubectl(&waited).expect();
    assert!(namespace.kubectl(&["get", "pods"]).expect().contains("Completed"));
    let watch = ["-k", "1", "4", "kubectl", "-n", "kubectl-run", "get", "pods", "-w", "-o", "name"];
    let watching = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| cluster.run("timeout", &watch, ""));
        std::thread::sleep(Duration::from_secs(1));
        namespace.kubectl(&["run", "two", "--image=kontiki:dev", "--", "pause"]).expect();
        watcher.join().unwrap()
    });
    assert!(watching.stdout.contains("pod/one") && watching.stdout.contains("pod/two"), "{}", watching.stdout);
    namespace.apply(WEB);
    namespace.wait_running("app=web", 2, Duration::from_secs(30));
    cluster.kubectl(&["cordon", "node-3"]).expect();
    assert!(cluster.kubectl(&["get", "nodes"]).expect().contains("SchedulingDisabled"));
    let drain = ["drain", "node-3", "--force", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s"];
    cluster.kubectl(&drain).expect();
    let pods = namespace.wait_running("app=web", 2, Duration::from_secs(30));
    assert!(pods.iter().all(|pod| pod.node != "node-3"), "{pods:?}");
    cluster.kubectl(&["uncordon", "node-3"]).expect();
}
