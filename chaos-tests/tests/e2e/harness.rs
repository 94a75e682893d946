//! The cluster under test: kubectl, its processes, its containers. Acts.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::explain;

pub struct Cluster {
    dir: PathBuf,
    binary: PathBuf,
    logs: Logs,
}

/// Where the logs of a cluster's replicas and agents are.
pub enum Logs {
    /// `<process>/log` in the cluster's directory.
    Files,
    /// Docker has them: the containers' names start with this.
    Containers(&'static str),
}

/// What a command printed, and whether it succeeded.
pub struct Output {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Standard output of a command that must have succeeded.
    #[track_caller]
    pub fn expect(self) -> String {
        assert!(self.ok, "the command failed:\n{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Standard error of a command that must have failed.
    #[track_caller]
    pub fn expect_failure(self) -> String {
        assert!(!self.ok, "the command succeeded, and should not have:\n{}{}", self.stdout, self.stderr);
        self.stderr
    }
}

/// The directory of this package. Asked now: checkouts may share what was built.
pub fn package() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this"))
}

impl Cluster {
    pub fn under_test() -> Cluster {
        let dir = std::env::var_os("KONTIKI_DIR").expect("KONTIKI_DIR names a running cluster: use `make test`");
        let dir = PathBuf::from(dir);
        assert!(dir.join("kubeconfig").exists(), "{} holds no cluster: use `make test`", dir.display());
        let binary = dir.join("bin/kontiki");
        Cluster { dir, binary, logs: Logs::Files }
    }

    /// The cluster of a directory, with the binary to talk to it.
    pub fn at(dir: PathBuf, binary: PathBuf, logs: Logs) -> Cluster {
        Cluster { dir, binary, logs }
    }

    /// A namespace of the test's own, empty; deleted when dropped.
    pub fn namespace(&self, name: &str) -> Namespace<'_> {
        if self.kubectl(&["get", "namespace", name]).ok {
            self.kubectl(&["delete", "namespace", name, "--timeout=60s"]).expect();
        }
        self.kubectl(&["create", "namespace", name]).expect();
        Namespace { cluster: self, name: name.into() }
    }

    pub fn kubectl(&self, args: &[&str]) -> Output {
        self.kubectl_with_input(args, "")
    }

    pub fn kubectl_with_input(&self, args: &[&str], input: &str) -> Output {
        self.run("kubectl", args, input)
    }

    pub fn kontiki(&self, args: &[&str]) -> Output {
        self.run(self.binary.to_str().unwrap(), args, "")
    }

    pub fn binary(&self) -> &PathBuf {
        &self.binary
    }

    pub fn run(&self, program: &str, args: &[&str], input: &str) -> Output {
        let mut command = Command::new("timeout");
        command.args(["-k", "5", "120", program]).args(args);
        command.env("KUBECONFIG", self.dir.join("kubeconfig"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        // A command that does not read its input to the end is no failure of ours.
        let feeder = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        Output {
            ok: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn status(&self) -> Value {
        serde_json::from_str(&self.kontiki(&["status", "-o", "json"]).expect()).unwrap()
    }

    /// The leader's number, once there is one.
    pub fn leader(&self) -> u64 {
        let mut leader = None;
        eventually("there is a leader", Duration::from_secs(20), || {
            leader = self.status()["leader"].as_u64();
            leader.is_some()
        });
        leader.unwrap()
    }

    /// Waits until all replicas are reachable and have caught up and all nodes are ready.
    #[track_caller]
    pub fn settled(&self) {
        eventually("all replicas and nodes are well", Duration::from_secs(60), || {
            let status = self.status();
            let replicas = status["replicas"].as_array().unwrap();
            let nodes = status["nodes"].as_array().unwrap();
            status["leader"].is_u64()
                && replicas.iter().all(|replica| replica["reachable"] == true && replica["lag"].as_u64() < Some(50))
                && nodes.len() == 3
                && nodes.iter().all(|node| node["ready"] == true)
        });
    }

    pub fn pid(&self, process: &str) -> u32 {
        std::fs::read_to_string(self.dir.join(process).join("pid")).unwrap().trim().parse().unwrap()
    }

    /// Sends a signal to `replica-1` … `node-3`.
    pub fn signal(&self, process: &str, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid(process).to_string()]).status().unwrap();
        assert!(sent.success(), "{process} could not be sent {signal}");
    }

    /// Starts a process again, as `make up` does.
    pub fn start(&self, process: &str) {
        let dir = self.dir.join(process);
        let verb = if process.starts_with("replica") { "server" } else { "node" };
        let log = std::fs::OpenOptions::new().append(true).create(true).open(dir.join("log")).unwrap();
        // Through a shell that goes away, so that the process is nobody's zombie when it is killed again.
        let script = format!(
            "setsid {} {verb} --config {} </dev/null & echo $! > {}",
            self.binary.display(),
            dir.join("config.yaml").display(),
            dir.join("pid").display()
        );
        let started = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        assert!(started.success());
    }

    pub fn dir(&self) -> &PathBuf {
        &self.dir
    }

    /// `docker` with a deadline.
    pub fn docker(&self, args: &[&str]) -> Output {
        self.run("docker", args, "")
    }

    /// The ids of the running containers that carry a label `io.kontiki.<name>=<value>` of this cluster.
    pub fn containers(&self, label: &str) -> Vec<String> {
        let cluster = std::fs::read_to_string(self.dir.join("cluster-id")).unwrap();
        let mine = format!("label=io.kontiki.cluster={}", cluster.trim());
        let label = format!("label=io.kontiki.{label}");
        let listed = self.docker(&["ps", "-q", "--no-trunc", "--filter", &mine, "--filter", &label]).expect();
        let mut ids: Vec<String> = listed.split_whitespace().map(str::to_owned).collect();
        ids.sort();
        ids
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            explain::cluster(self, &self.logs);
        }
    }
}

pub struct Namespace<'a> {
    pub cluster: &'a Cluster,
    pub name: String,
}

impl Namespace<'_> {
    pub fn kubectl(&self, args: &[&str]) -> Output {
        self.cluster.kubectl(&[&["-n", &self.name], args].concat())
    }

    #[track_caller]
    pub fn apply(&self, manifest: &str) -> String {
        self.cluster.kubectl_with_input(&["-n", &self.name, "apply", "-f", "-"], manifest).expect()
    }

    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.kubectl(&[args, &["-o", "json"]].concat()).expect()).unwrap()
    }

    /// Pods as (name, phase, node, container ids, restarts).
    pub fn pods(&self, selector: &str) -> Vec<Pod> {
        let list = self.json(&["get", "pods", "-l", selector]);
        list["items"].as_array().unwrap().iter().map(Pod::read).collect()
    }

    #[track_caller]
    pub fn wait_running(&self, selector: &str, count: usize, within: Duration) -> Vec<Pod> {
        let mut pods = Vec::new();
        eventually(&format!("{count} Pods of {selector} are ready"), within, || {
            pods = self.pods(selector);
            pods.retain(|pod| !pod.terminating);
            pods.len() == count && pods.iter().all(|pod| pod.ready)
        });
        pods
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            explain::namespace(self);
        }
        self.cluster.kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub name: String,
    pub node: String,
    pub ip: String,
    pub ready: bool,
    pub terminating: bool,
    pub containers: Vec<String>,
    pub restarts: u64,
}

impl Pod {
    fn read(pod: &Value) -> Pod {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array).cloned().unwrap_or_default();
        let id = |status: &Value| status["containerID"].as_str().unwrap_or_default().to_owned();
        let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        Pod {
            name: text("/metadata/name"),
            node: text("/spec/nodeName"),
            ip: text("/status/podIP"),
            ready: conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True"),
            terminating: pod.pointer("/metadata/deletionTimestamp").is_some(),
            containers: statuses.iter().map(id).collect(),
            restarts: statuses.iter().filter_map(|status| status["restartCount"].as_u64()).sum(),
        }
    }
}

/// Asks again and again until it holds; fails with the words when it does not in time.
#[track_caller]
pub fn eventually(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    eventually_ok(what, within, || if holds() { Ok(()) } else { Err("it does not hold") });
}

/// Asks again and again until the answer is good; fails with the last one that was not.
#[track_caller]
pub fn eventually_ok<T, E: std::fmt::Display>(
    what: &str,
    within: Duration,
    mut ask: impl FnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(error) => assert!(start.elapsed() < within, "not within {} s: {what}\n{error}", within.as_secs()),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
