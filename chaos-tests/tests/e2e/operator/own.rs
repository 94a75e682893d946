//! A cluster of a test's own, in a directory of its own: replicas without nodes, which run until the test ends. Acts.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Cluster, Logs, Output, eventually, eventually_ok};

/// How long whatever the cluster does by itself may take.
pub const SOON: Duration = Duration::from_secs(30);
const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";

pub struct Own {
    // In this order they go: a failed test is explained while the replicas still answer.
    cluster: Cluster,
    running: BTreeMap<u64, Running>,
    dir: TempDir,
    port: u16,
}

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Own {
    /// Only its files: nothing runs.
    pub fn new(replicas: u64) -> Own {
        static CLUSTERS: AtomicU16 = AtomicU16::new(0);
        let port = 20_000 + 100 * CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let dir = tempfile::tempdir().unwrap();
        let binary = Cluster::under_test().binary().clone();
        let cluster = Cluster::at(dir.path().join("cluster"), binary, Logs::Files);
        let own = Own { cluster, running: BTreeMap::new(), dir, port };
        let (replicas, port) = (replicas.to_string(), port.to_string());
        let shape = ["--replicas", &replicas, "--nodes", "0", "--replica-host", &host(), "--port", &port];
        own.kontiki(&[&["init", "--dir", &own.path("")], &shape[..]].concat()).expect();
        own
    }

    /// All its replicas run, and there is a leader.
    pub fn running(replicas: u64) -> Own {
        let mut own = Own::new(replicas);
        (1..=replicas).for_each(|id| own.start(id));
        own.serves();
        own
    }

    /// In the cluster's directory.
    pub fn path(&self, below: &str) -> String {
        let path = self.cluster.dir().join(below).display().to_string();
        path.trim_end_matches('/').to_owned()
    }

    /// Beside the cluster's directory.
    pub fn beside(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub fn config(&self, id: u64) -> String {
        self.path(&format!("replica-{id}/config.yaml"))
    }

    pub fn id(&self) -> String {
        std::fs::read_to_string(self.path("cluster-id")).unwrap().trim().to_owned()
    }

    pub fn kontiki(&self, args: &[&str]) -> Output {
        self.cluster.kontiki(args)
    }

    pub fn kontiki_with_input(&self, args: &[&str], input: &str) -> Output {
        self.cluster.run(self.cluster.binary().to_str().unwrap(), args, input)
    }

    /// Begins a command that waits for something. It says into a file.
    pub fn begin(&self, args: &[&str], said: &str) -> Child {
        let out = File::create(said).unwrap();
        let mut command = Command::new("timeout");
        command.args(["-k", "2", "60"]).arg(self.cluster.binary()).args(args);
        command.env("KUBECONFIG", self.path("kubeconfig")).stdin(Stdio::null());
        command.stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap()
    }

    /// What a command that has it answers with `-o json`.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.kontiki(&[args, &["-o", "json"]].concat()).expect()).unwrap()
    }

    /// Asks the first replica that runs.
    pub fn kubectl(&self, args: &[&str]) -> Output {
        let id = *self.running.keys().next().expect("a replica runs");
        self.kubectl_at(id, args)
    }

    pub fn kubectl_at(&self, id: u64, args: &[&str]) -> Output {
        let server = format!("--server=https://{}:{}", host(), self.port_of(id));
        self.cluster.kubectl(&[&[server.as_str(), "--request-timeout=10s"], args].concat())
    }

    /// Where clients reach a replica; other replicas reach it at the next one. So `kontiki init` has it for the first.
    pub fn port_of(&self, id: u64) -> u16 {
        self.port + 2 * (id as u16 - 1)
    }

    /// What the new replica with this id is to be told of its place.
    pub fn place_of(&self, id: u64) -> [String; 6] {
        let words = ["--dir", &self.path(""), "--host", &host(), "--port", &self.port_of(id).to_string()];
        words.map(str::to_owned)
    }

    pub fn start(&mut self, id: u64) {
        let log = File::create(self.log_file(id)).unwrap();
        let mut command = Command::new(self.cluster.binary());
        command.args(["server", "--config", &self.config(id)]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.running.insert(id, Running(command.spawn().unwrap()));
    }

    /// As a power cut does.
    pub fn kill(&mut self, id: u64) {
        drop(self.running.remove(&id).expect("it runs"));
    }

    /// A replica's process ends by itself, with an error. Returns its log.
    #[track_caller]
    pub fn ends(&mut self, id: u64) -> String {
        let mut running = self.running.remove(&id).expect("it runs");
        eventually(&format!("replica {id} ends by itself"), SOON, || running.0.try_wait().unwrap().is_some());
        let log = self.log(id);
        assert!(!running.0.wait().unwrap().success(), "replica {id} ended as if all were well:\n{log}");
        assert!(!log.contains("panicked"), "{log}");
        log
    }

    fn log_file(&self, id: u64) -> String {
        self.path(&format!("replica-{id}/log"))
    }

    fn log(&self, id: u64) -> String {
        std::fs::read_to_string(self.log_file(id)).unwrap()
    }

    /// Waits until every replica that runs answers, and one leads.
    #[track_caller]
    pub fn serves(&self) {
        eventually_ok("the replicas serve", SOON, || {
            for id in self.running.keys() {
                let ready = self.kubectl_at(*id, &["get", "--raw", "/readyz"]);
                if !ready.ok {
                    return Err(format!("replica {id}: {}", ready.stderr));
                }
            }
            let leader = &self.json(&["replica", "list"])["leader"];
            if leader.is_u64() { Ok(()) } else { Err("there is no leader".to_owned()) }
        });
    }

    /// Waits until no replica that runs lags behind. Returns up to which entry they have applied.
    #[track_caller]
    pub fn caught_up(&self) -> u64 {
        eventually_ok("all replicas have caught up", SOON, || {
            let members = self.members();
            let applied: Vec<u64> = members.iter().filter_map(|member| member["appliedIndex"].as_u64()).collect();
            let level = applied.iter().all(|index| *index == applied[0]) && applied[0] > 0;
            if level { Ok(applied[0]) } else { Err(format!("applied: {applied:?}")) }
        })
    }

    /// As `kontiki replica list` has them.
    #[track_caller]
    pub fn members(&self) -> Vec<Value> {
        self.json(&["replica", "list"])["replicas"].as_array().unwrap().clone()
    }

    /// Ids of those with a vote and of those without.
    #[track_caller]
    pub fn voters_and_learners(&self) -> (Vec<u64>, Vec<u64>) {
        voters_and_learners(&self.members())
    }

    /// These are the replicas with a vote, and these the ones without: so says the first list that a majority confirms, for
    /// every change that was answered is in it.
    #[track_caller]
    pub fn consists_of(&self, voters: &[u64], learners: &[u64]) {
        let members = eventually_ok("a majority confirms the list of the replicas", SOON, || {
            let list = self.json(&["replica", "list"]);
            if list["mayBeOld"] == false {
                Ok(list["replicas"].as_array().unwrap().clone())
            } else {
                Err(list.to_string())
            }
        });
        assert_eq!(voters_and_learners(&members), (voters.to_vec(), learners.to_vec()));
    }

    /// Makes a ConfigMap. Returns its resourceVersion.
    #[track_caller]
    pub fn writes(&self, name: &str) -> u64 {
        let (data, version) = (format!("--from-literal=name={name}"), "-o=jsonpath={.metadata.resourceVersion}");
        self.kubectl(&["create", "configmap", name, &data, version]).expect().parse().unwrap()
    }

    /// The ConfigMaps that are there, each with what [`Own::writes`] put into it.
    #[track_caller]
    pub fn held(&self) -> Vec<String> {
        let shown = self.kubectl(&["get", "configmaps", "-o", "jsonpath={range .items[*]}{.data.name} {end}"]);
        shown.expect().split_whitespace().map(str::to_owned).collect()
    }

    /// What a watch of the ConfigMaps that begins after this resourceVersion gets within a second.
    #[track_caller]
    pub fn watched_since(&self, version: u64) -> String {
        let path = format!("{CONFIGMAPS}?watch=true&timeoutSeconds=1&resourceVersion={version}");
        self.kubectl(&["get", "--raw", &path]).expect()
    }

    /// A watch that begins there is told that it must start over.
    #[track_caller]
    pub fn has_forgotten(&self, version: u64) {
        let told: Value = serde_json::from_str(&self.watched_since(version)).expect("one event");
        assert_eq!((&told["type"], &told["object"]["code"]), (&"ERROR".into(), &410.into()), "{told}");
        assert_eq!(told["object"]["reason"], "Expired");
    }
}

fn voters_and_learners(members: &[Value]) -> (Vec<u64>, Vec<u64>) {
    let ids = |voter: bool| {
        let these = members.iter().filter(|member| member["voter"] == voter);
        these.map(|member| member["id"].as_u64().unwrap()).collect()
    };
    (ids(true), ids(false))
}

/// A loopback address that no other process listens on: tests that run beside this one have other addresses, so that all
/// may use the same ports, and none can be taken by an outgoing connection before a replica that comes late listens on it.
pub fn host() -> String {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    format!("127.{}.{middle}.{low}", 64 | high)
}
