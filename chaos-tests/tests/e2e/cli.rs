//! `kontiki`'s own verbs, for people without kubectl: what they print, how they fail, and that they end well in pipes.

use std::time::Duration;

use crate::harness::{Cluster, Output, eventually};

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: main, image: 'busybox:1.30', command: [sh, -c, 'echo hello from $HOSTNAME; sleep 1000']}
      - {name: side, image: 'busybox:1.30', command: [sleep, '1000']}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
";

/// The verbs in a namespace.
struct Cli<'a>(&'a Cluster, &'static str);

impl Cli<'_> {
    fn run(&self, args: &[&str]) -> Output {
        self.with_input(args, "")
    }

    fn with_input(&self, args: &[&str], input: &str) -> Output {
        let binary = self.0.binary().to_str().unwrap();
        let words = args.iter().take_while(|word| **word != "--").count();
        self.0.run(binary, &[&args[..words], &["-n", self.1], &args[words..]].concat(), input)
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        self.run(args).expect()
    }

    /// Ends with that exit code, and with these words on standard error.
    #[track_caller]
    fn fails(&self, args: &[&str], words: &[&str]) {
        let output = self.run(args);
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(!output.ok && !said.contains("panicked"), "{args:?} said {said}");
        for word in words {
            assert!(output.stderr.contains(word), "{args:?}: {word:?} is missing in: {said}");
        }
    }
}

#[test]
fn a_person_without_kubectl_is_served() {
    let cluster = Cluster::under_test();
    let namespace = cluster.namespace("cli-served");
    let cli = Cli(&cluster, "cli-served");
    let applied = cli.with_input(&["apply", "-f", "-"], WEB).expect();
    assert_eq!(applied, "deployment.apps/web created\nservice/web created\n");
    let again = cli.with_input(&["apply", "-f", "-"], WEB).expect();
    assert_eq!(again, "deployment.apps/web unchanged\nservice/web unchanged\n");
    namespace.wait_running("app=web", 2, Duration::from_secs(40));
    let pods = cli.ok(&["get", "pods", "-o", "name", "-l", "app=web"]);
    let pod = pods.lines().next().unwrap();
    assert_eq!(pods.lines().count(), 2, "{pods}");

    let table = cli.ok(&["get", "pods"]);
    assert!(table.starts_with("NAME ") && table.contains("2/2") && table.contains("Running"), "{table}");
    assert!(cli.ok(&["get", "pods", "-o", "wide"]).contains("node-"));
    assert!(cli.ok(&["get", "pods", "-A"]).starts_with("NAMESPACE"));
    assert!(cli.ok(&["get", "po", "--show-labels"]).contains("app=web,pod-template-hash="));
    let both = cli.ok(&["get", "deploy,svc"]);
    assert!(
        both.contains("deployment.apps/web") && both.contains("\n\nNAME") && both.contains("service/web"),
        "{both}"
    );
    let all = cli.ok(&["get", "all"]);
    for kind in ["pod/web-", "service/web", "deployment.apps/web", "replicaset.apps/web-"] {
        assert!(all.contains(kind), "{kind} is missing in\n{all}");
    }
    let json: serde_json::Value = serde_json::from_str(&cli.ok(&["get", "deploy/web", "-o", "json"])).unwrap();
    assert_eq!(json["spec"]["replicas"], 2);
    assert!(cli.ok(&["get", "deploy", "web", "-o", "yaml"]).contains("\n  replicas: 2\n"));
    let described = cli.ok(&["describe", pod]);
    assert!(described.contains("Events:") && described.contains("Started container main"), "{described}");

    assert_eq!(cli.ok(&["scale", "deploy/web", "--replicas", "3"]), "deployment.apps/web scaled\n");
    namespace.wait_running("app=web", 3, Duration::from_secs(40));
    let name = pod.trim_start_matches("pod/");
    assert_eq!(cli.ok(&["logs", pod, "-c", "main"]), format!("hello from {name}\n"));
    assert_eq!(cli.ok(&["logs", name, "-c", "main", "--tail", "0"]), "");
    assert_eq!(cli.ok(&["exec", name, "-c", "side", "--", "echo", "two words"]), "two words\n");
    let through = cli.with_input(&["exec", "-i", pod, "-c", "side", "--", "cat"], "through and back");
    assert_eq!(through.expect(), "through and back");

    assert_eq!(cli.ok(&["delete", "svc/web"]), "service/web deleted\n");
    assert_eq!(cli.ok(&["delete", "pods", "-l", "app=web"]).lines().count(), 3);
    assert_eq!(cli.with_input(&["delete", "-f", "-"], WEB).stdout, "deployment.apps/web deleted\n");
    eventually("all Pods are gone", Duration::from_secs(30), || cli.ok(&["get", "pods"]).is_empty());
}

#[test]
fn slips_on_the_command_line_are_told() {
    let cluster = Cluster::under_test();
    let _namespace = cluster.namespace("cli-slips");
    let cli = Cli(&cluster, "cli-slips");
    for (args, words) in [
        (&["get", "nonsense"][..], &["no kind \"nonsense\"", "pods"][..]),
        (&["get", "pods", "nope"], &["pods \"nope\" not found"]),
        (&["get"], &["required", "get"]),
        (&["get", "pods", "-o", "nonsense"], &["nonsense", "yaml"]),
        (&["get", "pods", "-l", "a=b=c"], &["unable to parse requirement"]),
        (&["get", "pod/a", "svc"], &["KIND/NAME"]),
        (&["describe", "pods"], &["name one of the pods"]),
        (&["delete"], &["required"]),
        (&["delete", "pods"], &["by name, with --selector, or --all"]),
        (&["delete", "deploy/nope"], &["deployments.apps \"nope\" not found"]),
        (&["delete", "pods", "a", "-f", "b.yaml"], &["cannot be used with"]),
        (&["scale", "deploy/nope", "--replicas=1"], &["deployments.apps \"nope\" not found"]),
        (&["scale", "deploy", "--replicas=1"], &["say which of the deployments"]),
        (&["scale", "svc/nope", "--replicas=1"], &["services cannot be scaled"]),
        (&["scale", "deploy/nope", "--replicas=-1"], &["-1", "0..=2147483647"]),
        (&["logs", "nope"], &["pods \"nope\" not found"]),
        (&["logs", "deploy/web"], &["deploy/web is no Pod"]),
        (&["exec", "nope", "--", "ls"], &["pods \"nope\" not found"]),
        (&["exec", "nope"], &["-- <COMMAND>"]),
        (&["apply"], &["--filename"]),
        (&["apply", "-f", "/no/such.yaml"], &["/no/such.yaml", "No such file"]),
        (&["get", "pods", "--kubeconfig", "/no/such"], &["/no/such", "No such file"]),
        (&["get", "pods", "--kubeconfig", "/etc/passwd"], &["/etc/passwd"]),
        (&["nonsense"], &["unrecognized subcommand"]),
    ] {
        cli.fails(args, words);
    }
    assert!(cli.run(&["get", "pods"]).stderr.contains("no pods found in the namespace cli-slips"));
    for (manifest, words) in [
        ("{", &["standard input"][..]),
        ("words", &["no apiVersion or no kind"]),
        ("{apiVersion: v1, kind: namespace, metadata: {name: a}}", &["no kind \"namespace\"", "Namespace"]),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a}], image: x}}",
            &["spec.image", "indentation"],
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: aB}, spec: {containers: [{name: a, image: x}]}}",
            &["metadata.name", "lower case"],
        ),
    ] {
        let said = cli.with_input(&["apply", "-f", "-"], manifest).expect_failure();
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} for {manifest}: {said}");
    }
}

#[test]
fn exit_codes_and_pipes_are_as_a_shell_expects_them() {
    let cluster = Cluster::under_test();
    let namespace = cluster.namespace("cli-pipes");
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: one}, spec: {terminationGracePeriodSeconds: 0, containers: \
               [{name: main, image: 'busybox:1.30', command: [sh, -c, 'seq 200000; sleep 1000']}]}}";
    namespace.apply(pod);
    namespace.kubectl(&["wait", "--for=condition=Ready", "pod/one", "--timeout=40s"]).expect();
    let shell = |script: &str| {
        let script = script.replace("kontiki ", &format!("{} ", cluster.binary().display()));
        cluster.run("bash", &["-c", &script], "")
    };
    let code = shell("kontiki exec -n cli-pipes one -- sh -c 'exit 5'; echo $?");
    assert_eq!((code.stdout.as_str(), code.stderr.contains("exit code 5")), ("5\n", true), "{}", code.stderr);
    assert_eq!(shell("kontiki get pods -n cli-pipes nope 2>/dev/null; echo $?").stdout, "1\n");
    // A reader that has seen enough ends the verb without a word.
    for verb in [
        "logs -n cli-pipes one",
        "get pods -A -o json",
        "get pods -A -o yaml",
        "describe -n cli-pipes pod one",
        "status",
    ] {
        let cut = shell(&format!("kontiki {verb} | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}"));
        assert!(["0\n", "141\n"].contains(&cut.stdout.as_str()), "{verb}: {}", cut.stdout);
        assert_eq!(cut.stderr, "", "{verb}");
        let closed = shell(&format!("kontiki {verb} | true; echo ${{PIPESTATUS[0]}}"));
        assert_eq!(closed.stderr, "", "{verb}");
    }
    let session = format!(
        "{} exec -n cli-pipes -it one -- sh -c 'test -t 0 && echo terminal; exit 3'",
        cluster.binary().display()
    );
    let with_terminal = cluster.run("script", &["-qec", &session, "/dev/null"], "");
    assert!(with_terminal.stdout.contains("terminal"), "{}{}", with_terminal.stdout, with_terminal.stderr);
}

#[test]
fn status_is_a_table_for_people_and_json_for_programs() {
    let cluster = Cluster::under_test();
    cluster.settled();
    let table = cluster.kontiki(&["status"]).expect();
    for words in ["REPLICA", "leader: replica", "NODE", "node-3", "follower"] {
        assert!(table.contains(words), "{words} is missing in\n{table}");
    }
    let status = cluster.status();
    let replicas = status["replicas"].as_array().unwrap();
    let leaders: Vec<_> = replicas.iter().filter(|replica| replica["role"] == "leader").collect();
    assert_eq!((replicas.len(), leaders.len()), (3, 1));
    assert_eq!(leaders[0]["id"], status["leader"]);
    assert!(status["term"].as_u64() >= Some(1) && leaders[0]["appliedIndex"].as_u64() > Some(0), "{status}");
    for replica in replicas {
        assert!(replica["address"].as_str().unwrap().contains(':') && replica["lag"].is_u64(), "{replica}");
    }
    let late = cluster.kontiki(&["status", "--wait", "1s", "--nodes", "9"]).expect_failure();
    assert!(late.contains("3 of 9 nodes"), "{late}");
}
