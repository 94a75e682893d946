//! Manifests as people write them when they learn: as tutorials print them, with and without their slips. What is right
//! rolls out; a slip is answered with what was meant.

use std::time::Duration;

use crate::harness::{Cluster, Namespace, eventually, eventually_ok};

const SOON: Duration = Duration::from_secs(40);

const NAMESPACE: &str = "
apiVersion: v1
kind: Namespace
metadata:
  name: lessons
";

const FIRST: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: nginxpod
  namespace: lessons
spec:
  containers:
  - name: nginx-containers
    image: nginx:1.17.1
";

/// Two containers, one of which has nothing to do and ends again and again.
const BASE: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: pod-base
  namespace: lessons
  labels:
    user: learner
spec:
  containers:
    - name: nginx
      image: nginx:1.17.1
    - name: busybox
      image: busybox:1.30
";

const COMMAND: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: pod-command
  namespace: lessons
  labels:
    user: learner
spec:
  containers:
    - name: nginx
      image: nginx:1.17.1
      ports:
      - containerPort: 80
        name: nginx-port
        protocol: TCP
    - name: busybox
      image: busybox:1.30
      command: ["/bin/sh", "-c", "touch /tmp/hello.txt;while true; do /bin/echo $(date +%T) >> /tmp/hello.txt; sleep 3; done;"]
      env:
      - name: "username"
        value: "prog"
      - name: "password"
        value: "123456"
"#;

const RESOURCES: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: pod-resources
  namespace: lessons
spec:
  containers:
    - name: nginx
      image: nginx:1.17.1
      resources:
        limits:
          cpu: "200"
          memory: "10Gi"
        requests:
          cpu: "100"
          memory: "10Mi"
"#;

/// Indented by four, with an image that is not to be had here.
const WEB: &str = "
apiVersion: v1
kind: Pod
metadata:
    name: myweb
    labels:
        name: myweb
spec:
    containers:
    - name: myweb
      image: registry.invalid/tomcat-app:v1
      ports:
      - containerPort: 8080
";

#[test]
fn the_lessons_go_as_the_books_tell_them() {
    let cluster = Cluster::under_test();
    let namespace = cluster.namespace("lessons");
    let run = |args: &[&str]| namespace.kubectl(args).expect();
    // A namespace and a Pod in it, in one file.
    let first = format!("{NAMESPACE}\n---\n{FIRST}");
    for manifest in [first.as_str(), BASE, COMMAND, RESOURCES, WEB] {
        namespace.apply(manifest);
    }
    let again = namespace.apply(&first);
    assert!(again.contains("namespace/lessons unchanged") && again.contains("pod/nginxpod unchanged"), "{again}");
    let said = run(&["run", "nginx", "--image=nginx:1.17.1", "--port=80"]);
    assert!(said.contains("pod/nginx created"), "{said}");
    run(&["create", "deployment", "web", "--image=nginx:1.17.1", "--port=80", "--replicas=3"]);
    let ready = ["wait", "--for=condition=Ready", "pod/nginxpod", "pod/pod-command", "pod/nginx", "--timeout=40s"];
    run(&ready);
    run(&["rollout", "status", "deployment/web", "--timeout=40s"]);
    assert!(run(&["get", "deploy"]).contains("3/3"));

    // A container without a task completes, is started again, and the Pod says so.
    eventually_ok("the idle busybox loops", SOON, || {
        let row = run(&["get", "pod", "pod-base", "--no-headers"]);
        let loops = row.contains("1/2") && (row.contains("CrashLoopBackOff") || row.contains("NotReady"));
        if loops && !row.contains(" 0 ") { Ok(()) } else { Err(row) }
    });
    assert!(run(&["describe", "pod", "pod-base"]).contains("Back-off restarting failed container busybox"));
    eventually("an image that is not to be had is told", SOON, || {
        run(&["get", "pod", "myweb"]).contains("ImagePullBackOff")
    });
    // Nobody has a hundred processors to spare.
    let described = run(&["describe", "pod", "pod-resources"]);
    assert!(described.contains("Pending") && described.contains("3 Insufficient cpu"), "{described}");

    eventually("the file has a line", SOON, || {
        !run(&["exec", "pod-command", "-c", "busybox", "--", "cat", "/tmp/hello.txt"]).is_empty()
    });
    let environment = run(&["exec", "pod-command", "-c", "busybox", "--", "env"]);
    assert!(environment.contains("username=prog\n") && environment.contains("password=123456\n"), "{environment}");
    services_and_labels(&namespace);
}

fn services_and_labels(namespace: &Namespace) {
    let run = |args: &[&str]| namespace.kubectl(args).expect();
    run(&["label", "pod", "nginxpod", "version=1.0"]);
    namespace.kubectl(&["label", "pod", "nginxpod", "version=2.0"]).expect_failure();
    run(&["label", "pod", "nginxpod", "version=2.0", "--overwrite"]);
    for selector in ["version=2.0", "version in (1.0, 2.0),user!=learner", "version,version notin (1.0)"] {
        assert_eq!(run(&["get", "pods", "-l", selector, "-o", "name"]), "pod/nginxpod\n", "{selector}");
    }
    run(&["label", "pod", "nginxpod", "version-"]);
    assert_eq!(run(&["get", "pods", "-l", "version", "-o", "name"]), "");

    let expose = ["expose", "pod", "nginx", "--port=80", "--target-port=80", "--name"];
    run(&[&expose[..], &["inside", "--type=ClusterIP"]].concat());
    run(&[&expose[..], &["outside", "--type=NodePort"]].concat());
    let inside = namespace.json(&["get", "service", "inside"]);
    assert!(inside["spec"]["clusterIP"].as_str().unwrap().starts_with("10.96."), "{inside}");
    assert_eq!(inside["spec"]["selector"]["run"], "nginx");
    let outside = namespace.json(&["get", "service", "outside"]);
    assert!((30000..=32767).contains(&outside["spec"]["ports"][0]["nodePort"].as_u64().unwrap()), "{outside}");
    eventually("the Pod is behind the Service", SOON, || run(&["get", "endpoints", "inside"]).contains(":80"));
}

#[test]
fn slips_of_learners_are_answered_with_what_was_meant() {
    let cluster = Cluster::under_test();
    let namespace = cluster.namespace("lessons-slips");
    let here = |manifest: &str| manifest.replace("namespace: lessons\n", "namespace: lessons-slips\n");
    for (manifest, slip, written, words) in [
        (NAMESPACE, "kind: Namespace", "kind: namespace", &["did you mean \"Namespace\"", "case-sensitive"][..]),
        (BASE, "kind: Pod", "kind: pod", &["did you mean \"Pod\""]),
        (BASE, "name: pod-base", "name: podBase", &["metadata.name", "\"podBase\"", "lower case"]),
        (
            FIRST,
            "    image: nginx:1.17.1",
            "  image: nginx:1.17.1",
            &["spec.image", "spec.containers[*].image", "indentation"],
        ),
        (
            BASE,
            "    - name: busybox\n      image: busybox:1.30",
            "    - name: busybox",
            &["spec.containers[1].image", "Required"],
        ),
        (BASE, "    user: learner", "    - name: learner", &["labels"]),
        (BASE, "apiVersion: v1", "apiVersion: apps/v1", &["no matches for kind \"Pod\" in version \"apps/v1\""]),
        (COMMAND, "containerPort: 80", "containerPort: int", &["ports[0].containerPort", "\"int\"", "integer"]),
        (COMMAND, "containerPort: 80", "containerPort: 80000", &["ports[0].containerPort", "80000", "65535"]),
        (COMMAND, "value: \"123456\"", "value: 123456", &["env[1].value", "quotes"]),
        (COMMAND, "protocol: TCP", "protocol: tcp", &["ports[0].protocol", "\"tcp\"", "\"TCP\""]),
        (COMMAND, "command: [", "comand: [", &["spec.containers[1].comand", "did you mean \"command\""]),
        (RESOURCES, "resources:", "resoueces:", &["spec.containers[0].resoueces", "did you mean \"resources\""]),
        (RESOURCES, "10Gi", "10Gib", &["resources.limits[memory]", "\"10Gib\"", "quantities must match"]),
        (
            RESOURCES,
            "cpu: \"200\"",
            "cpu: \"2\"",
            &["resources.requests", "\"100\"", "less than or equal to cpu limit"],
        ),
        (
            WEB,
            "    - name: myweb\n      image",
            "    - name: myweb\n      imagePullPolicy: [ Always|Never ]\n      image",
            &["imagePullPolicy", "found a list"],
        ),
        (WEB, "spec:", "spec:\n    restartPolicy: [Always | Never]", &["spec.restartPolicy", "found a list"]),
        (
            WEB,
            "spec:",
            "spec:\n    restartPolicy: Sometimes",
            &["spec.restartPolicy", "\"Sometimes\"", "\"OnFailure\""],
        ),
        (WEB, "spec:", "spec:\n    hostNetWork: true", &["spec.hostNetWork", "did you mean \"hostNetwork\""]),
        (WEB, "spec:", "spec:\n    nodeSelector: obeject", &["spec.nodeSelector", "\"obeject\"", "map"]),
        (
            WEB,
            "spec:",
            "spec:\n    volumes: [{name: a, hostPath: /tmp}]",
            &["spec.volumes[0].hostPath", "expected an object"],
        ),
        (
            WEB,
            "spec:",
            "spec:\n    volumes: [{name: a, secret: {scretname: b}}]",
            &["scretname", "did you mean \"secretName\""],
        ),
        (WEB, "spec:", "spec:\n    livenessProbe: {tcpSocket: {port: 80}}", &["spec.livenessProbe", "indentation"]),
        (
            WEB,
            "      ports:",
            "      livenessProbe: {httpGet: {path: /, port: 80, HttpHeaders: []}}\n      ports:",
            &["HttpHeaders", "did you mean \"httpHeaders\""],
        ),
        (
            WEB,
            "      ports:",
            "      volumeMounts: [{name: storage, mountPath: /data}]\n      ports:",
            &["volumeMounts[0].name", "\"storage\""],
        ),
    ] {
        assert!(manifest.contains(slip), "{slip:?} is not in {manifest}");
        let manifest = here(&manifest.replacen(slip, written, 1));
        // As strict as kubectl is by itself, without asking for more.
        let said =
            cluster.kubectl_with_input(&["-n", "lessons-slips", "create", "-f", "-"], &manifest).expect_failure();
        for word in words {
            assert!(said.contains(word), "{word:?} is missing for {written:?}:\n{said}");
        }
    }
    assert!(namespace.kubectl(&["get", "pods", "-l", "name in(a)"]).ok);
    let said = namespace.kubectl(&["get", "pods", "-l", "name not in(front)"]).expect_failure();
    assert!(said.contains("not"), "{said}");
    assert_eq!(namespace.kubectl(&["get", "pods", "-o", "name"]).expect(), "", "a slip leaves nothing behind");
}
