//! One replica with a real store in a temporary directory, its REST door on a free port, and clients for it. Acts.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use kontiki_server as server;
use proto::pki::{self, API_NAME, Authority, PEER_NAME, Request as Certificate};
use proto::seam::Env;
use proto::tls::{self, ClientCertificate, Identity};
use raft::{HistoryWindow, Member, Store, Timing};
use serde_json::{Value, json};
use server::http::Doors;
use server::metrics::Metrics;
use server::objects::{Body, Create, Objects, Target, WriteOptions};
use server::sessions::Sessions;
use server::streams::Streams;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// No test waits longer for anything.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Replica {
    pub dir: TempDir,
    pub address: String,
    authority: Authority,
    pub store: Store,
    shutdown: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

/// What was answered: the code, the headers, and the body as JSON (a string where it is none).
pub struct Answer {
    pub code: StatusCode,
    pub headers: http::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }

    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    #[track_caller]
    pub fn expect(self, code: u16) -> Value {
        assert_eq!(self.code.as_u16(), code, "{}", self.body);
        self.body
    }
}

impl Replica {
    pub async fn start() -> Replica {
        Replica::start_with(HistoryWindow::default()).await
    }

    pub async fn start_with(history: HistoryWindow) -> Replica {
        tls::install_provider();
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::make("test").unwrap();
        let env = Env::real();
        let store = open_store(&dir, &authority, env.clone(), history).await;
        let standing = store.standing();
        let sessions =
            server::sessions::Config { cluster_id: "test".into(), epoch: 0, roster: store.roster(), standing };
        let sessions = Sessions::new(sessions, env.clone());
        let objects = Objects::new(store.clone(), env.clone());
        make_namespaces(&objects).await;
        let shutdown = CancellationToken::new();
        let doors = Doors {
            objects,
            streams: Streams::new(store.clone(), sessions, shutdown.clone()),
            store: store.clone(),
            env: env.clone(),
            metrics: Metrics::new(),
            shutdown: shutdown.clone(),
        };
        let listener = env.net.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_address().unwrap().to_string();
        let identity = sign(&authority, "replica", &["system:masters"], &[API_NAME, "127.0.0.1"]);
        let acceptor = tls::acceptor(&identity, ClientCertificate::Optional, &["h2", "http/1.1"]).unwrap();
        let router = server::http::router(doors);
        let served = tokio::spawn(server::http::serve(listener, acceptor, router, shutdown.clone()));
        Replica { dir, address, authority, store, shutdown, served }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.served).await.expect("the door closes in time").unwrap();
        self.store.shutdown().await;
    }

    pub fn identity(&self, user: &str, groups: &[&str]) -> Identity {
        sign(&self.authority, user, groups, &[])
    }

    pub fn admin(&self) -> kube::Client {
        self.client("admin", &["system:masters"])
    }

    pub fn client(&self, user: &str, groups: &[&str]) -> kube::Client {
        let Identity { certificate_pem, key_pem, .. } = self.identity(user, groups);
        let mut config = kube::Config::new(format!("https://{}", self.address).parse().unwrap());
        config.default_retry = false;
        config.root_cert = Some(vec![der(self.authority.certificate_pem())]);
        config.auth_info.client_certificate_data = Some(base64(&certificate_pem));
        config.auth_info.client_key_data = Some(base64(&key_pem).into());
        kube::Client::try_from(config).unwrap()
    }

    pub fn anonymous(&self) -> kube::Client {
        let mut config = kube::Config::new(format!("https://{}", self.address).parse().unwrap());
        config.default_retry = false;
        config.root_cert = Some(vec![der(self.authority.certificate_pem())]);
        kube::Client::try_from(config).unwrap()
    }

    /// A TLS connection that speaks HTTP/1.1 by hand.
    pub async fn raw(&self) -> tokio_rustls::client::TlsStream<Box<dyn proto::seam::Stream>> {
        let connector = tls::connector(&self.identity("admin", &["system:masters"]), &["http/1.1"]).unwrap();
        let stream = Env::real().net.connect(&self.address).await.unwrap();
        tls::connect(&connector, API_NAME, stream).await.unwrap()
    }

    /// Runs stock kubectl and answers its output; fails the test unless it ends with `code`.
    pub async fn kubectl(&self, program: &Path, args: &[&str], stdin: &str, code: i32) -> String {
        use tokio::io::AsyncWriteExt as _;
        let mut child = tokio::process::Command::new(program)
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .arg("--cache-dir")
            .arg(self.dir.path().join("kubectl-cache"))
            .args(args)
            // What `kubectl edit` does instead of asking a person.
            .env("KUBE_EDITOR", "sed -i s/red/green/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("this test needs {program:?}: {error}"));
        let mut input = child.stdin.take().unwrap();
        input.write_all(stdin.as_bytes()).await.unwrap();
        drop(input);
        let output =
            tokio::time::timeout(DEADLINE, child.wait_with_output()).await.expect("kubectl ends in time").unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{program:?} {args:?} said:\n{text}");
        text
    }

    fn kubeconfig(&self) -> PathBuf {
        let path = self.dir.path().join("kubeconfig");
        if !path.exists() {
            let Identity { certificate_pem, key_pem, .. } = self.identity("admin", &["system:masters"]);
            let file = json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
                "clusters": [{"name": "test", "cluster": {
                    "server": format!("https://{}", self.address),
                    "certificate-authority-data": base64(self.authority.certificate_pem())}}],
                "users": [{"name": "admin", "user": {
                    "client-certificate-data": base64(&certificate_pem), "client-key-data": base64(&key_pem)}}],
            });
            std::fs::write(&path, file.to_string()).unwrap();
        }
        path
    }
}

/// Sends a request as JSON (a string as it is) and reads the whole answer.
pub async fn send(client: &kube::Client, method: Method, path: &str, body: &Value) -> Answer {
    let content_type = match method {
        Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    send_as(client, method, path, content_type, "application/json", body).await
}

pub async fn send_as(
    client: &kube::Client,
    method: Method,
    path: &str,
    content_type: &str,
    accept: &str,
    body: &Value,
) -> Answer {
    use http_body_util::BodyExt as _;
    let bytes = match body {
        Value::Null => Vec::new(),
        Value::String(text) => text.clone().into_bytes(),
        value => serde_json::to_vec(value).unwrap(),
    };
    let request = Request::builder().method(method).uri(path).header("content-type", content_type);
    let request = request.header("accept", accept).body(kube::client::Body::from(bytes)).unwrap();
    let exchange = async {
        let (head, body) = client.send(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
        Answer { code: head.status, headers: head.headers, body }
    };
    tokio::time::timeout(DEADLINE, exchange).await.expect("the answer comes in time")
}

pub async fn get(client: &kube::Client, path: &str) -> Answer {
    send(client, Method::GET, path, &Value::Null).await
}

pub async fn post(client: &kube::Client, path: &str, body: &Value) -> Answer {
    send(client, Method::POST, path, body).await
}

pub async fn put(client: &kube::Client, path: &str, body: &Value) -> Answer {
    send(client, Method::PUT, path, body).await
}

pub async fn patch(client: &kube::Client, path: &str, body: &Value) -> Answer {
    send(client, Method::PATCH, path, body).await
}

pub async fn delete(client: &kube::Client, path: &str) -> Answer {
    send(client, Method::DELETE, path, &Value::Null).await
}

pub fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": value}})
}

pub fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "busybox:1.30"}]}})
}

pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const PODS: &str = "/api/v1/namespaces/default/pods";

async fn open_store(dir: &TempDir, authority: &Authority, env: Env, history: HistoryWindow) -> Store {
    // The port is free until somebody else takes it: the store insists on knowing it beforehand.
    let peer_listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let member = Member { id: 1, peer_address: peer_listen.clone(), client_address: String::new() };
    let config = raft::Config {
        id: 1,
        dir: dir.path().join("data"),
        peer_listen,
        initial_members: vec![member],
        cluster_id: "test".into(),
        tls: sign(authority, "kontiki:replica:1", &[], &[PEER_NAME]),
        timing: Timing::default(),
        history,
        renewals: Default::default(),
    };
    let store = Store::open(config, env).await.unwrap();
    let mut standing = store.standing();
    let leads = standing.wait_for(|standing| standing.leads_in_term.is_some());
    tokio::time::timeout(DEADLINE, leads).await.expect("a lone replica leads").unwrap();
    store
}

pub async fn make_namespaces(objects: &Objects) {
    let kind = api::kinds::find("", "v1", "namespaces").unwrap();
    for name in ["default", "kube-system"] {
        let body = Body::json(json!({"metadata": {"name": name}}).to_string());
        let user = server::auth::Identity::system("test");
        let create = Create { target: Target::collection(kind, ""), body, options: WriteOptions::default(), user };
        objects.create(create).await.unwrap();
    }
}

pub fn sign(authority: &Authority, common_name: &str, organizations: &[&str], hosts: &[&str]) -> Identity {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let pki::Pair { certificate_pem, key_pem } =
        authority.sign(&Certificate { common_name, organizations, hosts: &hosts }).unwrap();
    Identity { certificate_pem, key_pem, authority_pem: authority.certificate_pem().to_owned() }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn der(pem: &str) -> Vec<u8> {
    use base64::Engine as _;
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}
