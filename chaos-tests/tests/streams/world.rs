//! One whole replica, one agent whose containers are plain processes of this host, and stock kubectl. Acts.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use node::session::{Health, Replicas, Work};
use proto::pki::{API_NAME, Authority, PEER_NAME, Request};
use proto::seam::Env;
use proto::tls::Identity;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::processes::Processes;

/// No test waits longer for anything.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// Where several versions of kubectl stand side by side; otherwise the one on the PATH.
const DIRECTORY: &str = "/usr/lib/google-cloud-sdk/bin";

/// One that upgrades to SPDY/3.1, and one that prefers WebSockets.
pub fn programs() -> Vec<String> {
    let found = ["kubectl.1.27", "kubectl.1.33"].map(|name| format!("{DIRECTORY}/{name}"));
    let found: Vec<String> = found.into_iter().filter(|path| std::path::Path::new(path).exists()).collect();
    if found.is_empty() { vec!["kubectl".into()] } else { found }
}

pub struct World {
    pub dir: TempDir,
    pub work: watch::Receiver<Option<Arc<Work>>>,
    stop: CancellationToken,
    run: CancellationToken,
    replica: tokio::task::JoinHandle<Result<(), server::Error>>,
    agent: tokio::task::JoinHandle<Result<(), node::session::Error>>,
    _health: watch::Sender<Health>,
}

/// What a command printed.
pub struct Said {
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub code: Option<i32>,
}

impl Said {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    #[track_caller]
    pub fn ok(self) -> Said {
        assert_eq!(self.code, Some(0), "{}{}", self.text(), self.stderr);
        self
    }
}

impl World {
    pub async fn start() -> World {
        proto::tls::install_provider();
        let dir = tempfile::tempdir().unwrap();
        let (authority, address) = (Authority::make("test").unwrap(), free_address());
        let (stop, env) = (CancellationToken::new(), Env::real());
        let run = stop.child_token();
        let replica = tokio::spawn(server::run(config(&dir, &authority, &address), env.clone(), run.clone()));
        write_kubeconfig(&dir, &authority, &address);
        let (healthy, health) = watch::channel(Health { engine_ready: true, message: String::new() });
        let (deliver, work) = watch::channel(None);
        let session = node::session::Config {
            node: "n1".into(),
            replicas: Replicas::new(vec![address]),
            tls: identity(&authority, "system:node:n1", &["system:nodes"], &[]),
            heartbeat_interval: Duration::from_secs(1),
            state_dir: None,
        };
        let tunnels = Arc::new(Processes);
        let agent = tokio::spawn(node::session::run(session, env, health, deliver, tunnels, stop.clone()));
        let mut world = World { dir, work, stop, run, replica, agent, _health: healthy };
        world.work(Option::is_some).await;
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}).to_string();
        world.kubectl(&programs()[0], &["apply", "-f", "-"], node.as_bytes()).await.ok();
        world
    }

    /// The run of the replica ends, and this process goes on. It is not to be waited for again.
    pub async fn end_run(&mut self) {
        self.run.cancel();
        let ended = tokio::time::timeout(DEADLINE, &mut self.replica).await;
        ended.expect("it ends in time").unwrap().unwrap();
    }

    /// Both end in order and in time.
    pub async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(DEADLINE, async { (self.replica.await.unwrap(), self.agent.await.unwrap()) });
        let (replica, agent) = ended.await.expect("everything stops in time");
        replica.unwrap();
        agent.unwrap();
    }

    /// What the agent was told to run, as soon as it is as wanted.
    pub async fn work(&mut self, wanted: impl FnMut(&Option<Arc<Work>>) -> bool) -> Arc<Work> {
        let found = tokio::time::timeout(DEADLINE, self.work.wait_for(wanted)).await;
        found.expect("the work comes in time").unwrap().clone().expect("there is work")
    }

    pub async fn kubectl(&self, program: &str, args: &[&str], stdin: &[u8]) -> Said {
        let mut child = self.spawn(program, args);
        let (mut input, stdin) = (child.stdin.take().unwrap(), stdin.to_vec());
        let writing = tokio::spawn(async move {
            // A command that does not read its input closes it.
            let _ = input.write_all(&stdin).await;
        });
        let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await;
        let output = output.unwrap_or_else(|_| panic!("{program} {args:?} does not end")).unwrap();
        writing.abort();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Said { stdout: output.stdout, stderr, code: output.status.code() }
    }

    pub fn spawn(&self, program: &str, args: &[&str]) -> tokio::process::Child {
        tokio::process::Command::new(program)
            .arg("--kubeconfig")
            .arg(self.dir.path().join("kubeconfig"))
            .arg("--cache-dir")
            .arg(self.dir.path().join("cache"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("this test needs {program}: {error}"))
    }

    /// A Pod on the agent's node with these containers, all running according to its status.
    pub async fn pod(&self, program: &str, name: &str, containers: &[&str]) {
        let list: Vec<_> = containers.iter().map(|name| json!({"name": name, "image": "busybox:1.30"})).collect();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"nodeName": "n1", "containers": list}});
        self.kubectl(program, &["apply", "-f", "-"], pod.to_string().as_bytes()).await.ok();
        let running = json!({"running": {"startedAt": "2026-01-02T03:04:05Z"}});
        let statuses: Vec<_> = containers
            .iter()
            .map(|name| {
                json!({"name": name, "image": "busybox:1.30", "imageID": "", "ready": true, "restartCount": 0,
                    "state": running})
            })
            .collect();
        let patch = json!({"status": {"phase": "Running", "containerStatuses": statuses}}).to_string();
        let args = ["patch", "pod", name, "--subresource=status", "--type=merge", "-p", &patch];
        self.kubectl(program, &args, b"").await.ok();
    }
}

/// Free until somebody else takes it: the store insists on knowing its address beforehand.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn config(dir: &TempDir, authority: &Authority, address: &str) -> server::Config {
    let pki = dir.path().join("pki");
    let peers = Authority::make("peers").unwrap();
    let hosts = |name: &str| vec![name.to_owned(), "127.0.0.1".to_owned()];
    for (name, signer, ca, host) in [("api", authority, "api-ca", API_NAME), ("peer", &peers, "peer-ca", PEER_NAME)] {
        let (common_name, hosts) = ("kontiki:replica:1", hosts(host));
        let pair = signer.sign(&Request { common_name, organizations: &[], hosts: &hosts }).unwrap();
        proto::pki::write(&pki, name, &pair).unwrap();
        std::fs::write(pki.join(format!("{ca}.crt")), signer.certificate_pem()).unwrap();
    }
    let peer = free_address();
    let yaml = json!({
        "clusterId": "test", "id": 1, "data": dir.path().join("data"), "pki": pki,
        "listen": address, "peerListen": peer,
        "members": [{"id": 1, "peerAddress": peer, "clientAddress": address}],
    });
    let path: PathBuf = dir.path().join("replica.yaml");
    std::fs::write(&path, yaml.to_string()).unwrap();
    server::Config::load(&path).unwrap()
}

fn identity(authority: &Authority, common_name: &str, organizations: &[&str], hosts: &[String]) -> Identity {
    let pair = authority.sign(&Request { common_name, organizations, hosts }).unwrap();
    let authority_pem = authority.certificate_pem().to_owned();
    Identity { certificate_pem: pair.certificate_pem, key_pem: pair.key_pem, authority_pem }
}

fn write_kubeconfig(dir: &TempDir, authority: &Authority, address: &str) {
    let admin = identity(authority, "admin", &["system:masters"], &[]);
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "clusters": [{"name": "test", "cluster": {"server": format!("https://{address}"),
            "certificate-authority": file("ca.crt", authority.certificate_pem())}}],
        "users": [{"name": "admin", "user": {"client-certificate": file("admin.crt", &admin.certificate_pem),
            "client-key": file("admin.key", &admin.key_pem)}}],
    });
    file("kubeconfig", &kubeconfig.to_string());
}
