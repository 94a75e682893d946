//! The agent on a real Docker engine: Pods of real containers. Needs an engine (`DOCKER_HOST`, or the usual socket) and
//! the images that `deploy/images.sh` makes; fails, saying so, where they are missing.
//!
//! Every test has a cluster name of its own in its labels, so that tests (and other users of the engine) do not meet.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use kontiki_node::agent::{Agent, Directory, Setting};
use kontiki_node::config::{CapacityRule, Pace};
use kontiki_node::docker::Docker;
use kontiki_node::pod::Host;
use kontiki_node::register;
use kontiki_node::report::{self, Rehearsal, Reporter};
use kontiki_node::runtime::{ExecSpec, LogsSpec, NetworkSpec, Owner, Role, Runtime, Signal, State};
use kontiki_node::sync::Policy;
use proto::seam::Env;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

struct Stage {
    docker: Arc<Docker>,
    owner: Owner,
    cluster: Rehearsal,
    directory: Arc<Directory>,
    dir: tempfile::TempDir,
    agent: Option<(tokio::task::JoinHandle<()>, CancellationToken)>,
}

const PAUSE_IMAGE: &str = "kontiki:dev";

impl Stage {
    async fn new(name: &str) -> Stage {
        let docker = Docker::from_host(std::env::var("DOCKER_HOST").ok().as_deref());
        if let Err(error) = docker.ping().await {
            panic!("these tests need a Docker engine (deploy/docker.sh up): {error}");
        }
        for image in [PAUSE_IMAGE, "busybox:1.30", "nginx:1.17.1"] {
            assert!(docker.has_image(image).await.unwrap(), "the image {image} is missing: run deploy/images.sh");
        }
        let owner = Owner { cluster: format!("test-{name}"), node: "n1".into() };
        // What a run that failed has left behind.
        for container in docker.list(&owner).await.unwrap() {
            docker.remove(&container.id).await.unwrap();
        }
        Stage {
            docker: Arc::new(docker),
            owner,
            cluster: Rehearsal::default(),
            directory: Arc::default(),
            dir: tempfile::tempdir().unwrap(),
            agent: None,
        }
    }

    async fn begin(&mut self) {
        let network = NetworkSpec { name: "kontiki".into(), subnet: "10.244.0.0/16".into() };
        self.docker.ensure_network(&network).await.unwrap();
        let info = self.docker.info().await.unwrap();
        let rule = CapacityRule { share: 1, cpu_milli: None, memory_bytes: None, pods: 110 };
        let (api, reporter, shutdown) = (Arc::new(self.cluster.clone()), Reporter::default(), CancellationToken::new());
        let agent = Agent::new(Setting {
            env: Env::real(),
            runtime: self.docker.clone(),
            host: Host {
                owner: self.owner.clone(),
                node_name: "n1".into(),
                ip: "127.0.0.1".parse().unwrap(),
                data_dir: self.dir.path().to_owned(),
                pause_image: PAUSE_IMAGE.into(),
                pod_network: network.name.clone(),
                dns_servers: Vec::new(),
                cluster_domain: "cluster.local".into(),
                capacity: register::capacity(&info, &rule, &register::facts(self.dir.path())),
            },
            network,
            api: api.clone(),
            reporter: reporter.clone(),
            directory: self.directory.clone(),
            back_off: Policy { base: Duration::from_secs(1), ..Policy::default() },
            pace: Pace::default(),
            steps_max: 4,
        });
        let (work, token) = (self.cluster.work(), shutdown.clone());
        let task = tokio::spawn(async move {
            tokio::join!(agent.run(work, token.clone()), report::run(reporter, api, token));
        });
        self.agent = Some((task, shutdown));
    }

    async fn kill(&mut self) {
        if let Some((task, shutdown)) = self.agent.take() {
            task.abort();
            let _ = task.await;
            shutdown.cancel();
        }
    }

    async fn until(&self, what: &str, longest_s: u64, met: impl Fn(&Rehearsal) -> bool) {
        let end = tokio::time::Instant::now() + Duration::from_secs(longest_s);
        while !met(&self.cluster) {
            if tokio::time::Instant::now() >= end {
                let events: Vec<_> =
                    self.cluster.events().into_iter().map(|event| (event.reason, event.message)).collect();
                panic!("{what}: not within {longest_s} s; events: {events:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn delete(&self, name: &str, grace_s: i64) {
        self.cluster.delete(name, now() + jiff::SignedDuration::from_secs(grace_s), grace_s);
    }

    async fn run(&self, pod: &str, command: &[&str], input: Option<&str>) -> (String, Option<i32>) {
        let place = self.directory.find("default", pod).unwrap();
        let id = place.attempt("app", false).unwrap().id.clone();
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let spec = ExecSpec { command, stdin: input.is_some(), stdout: true, stderr: true, tty: false };
        let mut process = self.docker.exec(&id, &spec).await.unwrap();
        if let Some(input) = input {
            process.input.write_all(input.as_bytes()).await.unwrap();
            process.input.shutdown().await.unwrap();
        }
        let mut text = Vec::new();
        while let Some(chunk) = process.output.next().await {
            text.extend_from_slice(chunk.unwrap().bytes());
        }
        (String::from_utf8(text).unwrap(), process.control.exit_code().await.unwrap())
    }

    async fn end(mut self) {
        self.kill().await;
        for container in self.docker.list(&self.owner).await.unwrap() {
            self.docker.remove(&container.id).await.unwrap();
        }
    }
}

fn now() -> Timestamp {
    Timestamp::from_millisecond(Env::real().clock.now_ms() as i64).unwrap()
}

fn shell(script: &str) -> Value {
    json!({"name": "app", "image": "busybox:1.30", "command": ["sh", "-c", script]})
}

fn with(mut container: Value, fields: Value) -> Value {
    container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    container
}

#[tokio::test]
async fn a_web_server_runs_is_probed_restarted_and_deleted() {
    let mut stage = Stage::new("web").await;
    let probe = json!({"readinessProbe": {"httpGet": {"port": "web", "path": "/"}, "periodSeconds": 1}});
    let nginx = json!({"name": "app", "image": "nginx:1.17.1", "ports": [{"name": "web", "containerPort": 80}]});
    stage.cluster.assign("web", json!({"containers": [with(nginx, probe)]}));
    stage.begin().await;
    stage.until("ready", 20, |cluster| cluster.is_ready("web")).await;
    let status = stage.cluster.status("web");
    assert!(status.pod_ip.unwrap().starts_with("10.244."));
    let container = status.container_statuses.unwrap().remove(0);
    assert!(container.container_id.unwrap().starts_with("docker://"));
    assert!(container.image_id.starts_with("docker://sha256:"));

    // Another agent finds it, and touches nothing.
    let before = stage.docker.list(&stage.owner).await.unwrap();
    stage.kill().await;
    stage.begin().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stage.docker.list(&stage.owner).await.unwrap().len(), before.len());
    assert_eq!(stage.cluster.status("web").container_statuses.unwrap()[0].restart_count, 0);

    let (_, code) = stage.run("web", &["sh", "-c", "kill -9 1; kill 1; exit 3"], None).await;
    assert!(code.is_some());
    stage
        .until("restarted", 20, |cluster| {
            cluster.status("web").container_statuses.unwrap()[0].restart_count == 1 && cluster.is_ready("web")
        })
        .await;
    stage.delete("web", 10);
    stage.until("gone", 20, |cluster| cluster.pod("web").is_none()).await;
    assert!(stage.docker.list(&stage.owner).await.unwrap().is_empty());
    stage.end().await;
}

#[tokio::test]
async fn volumes_environment_and_resources_reach_the_container() {
    let mut stage = Stage::new("volumes").await;
    let conf = |text: &str| json!({"metadata": {"name": "conf", "namespace": "default"}, "data": {"key": text}});
    stage.cluster.put("configmaps/default/conf", conf("one"));
    let app = with(
        shell("echo words > /dev/termination-log; sleep 600"),
        json!({
            "env": [
                {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "key"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            ],
            "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}},
            "workingDir": "/scratch",
            "volumeMounts": [
                {"name": "conf", "mountPath": "/conf"}, {"name": "scratch", "mountPath": "/scratch"},
                {"name": "memory", "mountPath": "/memory"}, {"name": "scratch", "mountPath": "/part", "subPath": "a/b"},
            ],
            "securityContext": {"capabilities": {"drop": ["NET_RAW"]}, "readOnlyRootFilesystem": true},
        }),
    );
    let other = json!({"name": "other", "image": "busybox:1.30", "command": ["sleep", "600"],
                       "volumeMounts": [{"name": "memory", "mountPath": "/memory"}]});
    stage.cluster.assign(
        "box",
        json!({
            "hostname": "crate", "containers": [app, other],
            "volumes": [{"name": "conf", "configMap": {"name": "conf"}}, {"name": "scratch", "emptyDir": {}},
                        {"name": "memory", "emptyDir": {"medium": "Memory"}}],
        }),
    );
    stage.begin().await;
    stage.until("ready", 20, |cluster| cluster.is_ready("box")).await;
    let script = "echo $KEY; cat /conf/key; echo; pwd; hostname; touch /part/x; ls /scratch/a/b; \
                  grep ' /memory ' /proc/mounts | cut -d' ' -f1; touch /root/x 2>/dev/null || echo read-only; \
                  cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null";
    let (text, code) = stage.run("box", &["sh", "-c", script], None).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines, ["one", "one", "/scratch", "crate", "x", "tmpfs", "read-only", "67108864"], "{text}");
    assert!(code.is_some());
    let (ip, _) = stage.run("box", &["sh", "-c", "printf %s $IP"], None).await;
    assert_eq!(Some(ip), stage.cluster.status("box").pod_ip);
    stage.cluster.put("configmaps/default/conf", conf("two"));
    let mut follows = String::new();
    for _ in 0..100 {
        follows = stage.run("box", &["cat", "/conf/key"], None).await.0;
        if follows == "two" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(follows, "two");
    // Standard input, its end, and exit codes.
    let (text, code) = stage.run("box", &["sh", "-c", "cat; exit 7"], Some("half\nclosed")).await;
    assert_eq!((text.as_str(), code), ("half\nclosed", Some(7)));
    stage.delete("box", 0);
    stage.until("gone", 20, |cluster| cluster.pod("box").is_none()).await;
    stage.end().await;
}

#[tokio::test]
async fn states_are_worded_as_kubernetes_words_them() {
    let mut stage = Stage::new("states").await;
    let never = |container: Value| json!({"restartPolicy": "Never", "containers": [container]});
    stage.cluster.assign("done", never(shell("echo out; echo err >&2; echo last > /dev/termination-log")));
    stage.cluster.assign("crash", json!({"containers": [shell("exit 3")]}));
    let eater = with(shell("x=a; while true; do x=$x$x$x; done"), json!({"resources": {"limits": {"memory": "8Mi"}}}));
    stage.cluster.assign("eater", never(eater));
    stage.cluster.assign("nope", never(json!({"name": "app", "image": "busybox:1.30", "command": ["/nope"]})));
    let absent = |policy: &str| json!({"name": "app", "image": "localhost:1/none:1", "imagePullPolicy": policy});
    stage.cluster.assign("unpulled", never(absent("Never")));
    stage.cluster.assign("unpullable", never(absent("IfNotPresent")));
    stage.begin().await;

    let end = |cluster: &Rehearsal, name: &str| {
        let status = cluster.status(name).container_statuses?.first()?.clone();
        status.state?.terminated
    };
    let waiting = |cluster: &Rehearsal, name: &str| {
        let status = cluster.status(name).container_statuses.and_then(|list| list.first().cloned());
        status.and_then(|status| status.state?.waiting?.reason).unwrap_or_default()
    };
    stage.until("done", 20, |cluster| cluster.status("done").phase.as_deref() == Some("Succeeded")).await;
    let done = end(&stage.cluster, "done").unwrap();
    assert_eq!((done.reason.as_deref(), done.message.as_deref()), (Some("Completed"), Some("last\n")));
    // The engine may tell the reason a moment after the end.
    stage
        .until("eater", 40, |cluster| {
            end(cluster, "eater").is_some_and(|end| end.reason.as_deref() == Some("OOMKilled"))
        })
        .await;
    assert_eq!(end(&stage.cluster, "eater").unwrap().exit_code, 137);
    stage.until("nope", 20, |cluster| end(cluster, "nope").is_some()).await;
    let nope = end(&stage.cluster, "nope").unwrap();
    assert_eq!((nope.reason.as_deref(), nope.exit_code), (Some("ContainerCannotRun"), 127));
    stage.until("crash", 20, |cluster| waiting(cluster, "crash") == "CrashLoopBackOff").await;
    let last = stage.cluster.status("crash").container_statuses.unwrap()[0].last_state.clone().unwrap();
    assert_eq!(last.terminated.unwrap().exit_code, 3);
    stage.until("unpulled", 20, |cluster| waiting(cluster, "unpulled") == "ErrImageNeverPull").await;
    stage
        .until("unpullable", 40, |cluster| {
            ["ErrImagePull", "ImagePullBackOff"].contains(&waiting(cluster, "unpullable").as_str())
        })
        .await;

    // Logs of a dead container, its two streams apart.
    let place = stage.directory.find("default", "done").unwrap();
    let id = place.attempt("app", false).unwrap().id.clone();
    let mut logs = stage.docker.logs(&id, &LogsSpec::default()).await.unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(chunk) = logs.next().await {
        match chunk.unwrap() {
            kontiki_node::runtime::Chunk::Stdout(bytes) => out.extend_from_slice(&bytes),
            kontiki_node::runtime::Chunk::Stderr(bytes) => err.extend_from_slice(&bytes),
        }
    }
    assert_eq!((out.as_slice(), err.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    stage.end().await;
}

#[tokio::test]
async fn a_deletion_runs_the_hook_and_honours_the_grace_period() {
    let mut stage = Stage::new("grace").await;
    let hook = json!({"lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "echo hook > /keep/said"]}}}});
    let keep = json!({"volumeMounts": [{"name": "keep", "mountPath": "/keep"}]});
    let outside = tempfile::tempdir().unwrap();
    let app =
        with(with(shell("trap 'echo term >> /keep/said; exit 0' TERM; while true; do sleep 0.1; done"), hook), keep);
    stage.cluster.assign(
        "polite",
        json!({"containers": [app], "volumes": [{"name": "keep", "hostPath": {"path": outside.path()}}]}),
    );
    stage.cluster.assign("mule", json!({"containers": [shell("trap '' TERM; while true; do sleep 0.1; done")]}));
    stage.begin().await;
    stage.until("ready", 20, |cluster| cluster.is_ready("polite") && cluster.is_ready("mule")).await;
    // The traps are set a moment after the start.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = tokio::time::Instant::now();
    stage.delete("polite", 10);
    stage.delete("mule", 3);
    stage.until("polite is gone", 8, |cluster| cluster.pod("polite").is_none()).await;
    assert_eq!(std::fs::read_to_string(outside.path().join("said")).unwrap(), "hook\nterm\n");
    stage.until("mule is gone", 10, |cluster| cluster.pod("mule").is_none()).await;
    assert!(begun.elapsed() >= Duration::from_secs(3));
    stage.end().await;
}

#[tokio::test]
async fn pods_reach_each_other_by_their_addresses() {
    let mut stage = Stage::new("network").await;
    stage.cluster.assign("server", json!({"containers": [{"name": "app", "image": "nginx:1.17.1"}]}));
    stage.cluster.assign("client", json!({"containers": [shell("sleep 600")]}));
    stage.begin().await;
    stage.until("ready", 20, |cluster| cluster.is_ready("server") && cluster.is_ready("client")).await;
    let url = format!("http://{}/", stage.cluster.status("server").pod_ip.unwrap());
    let mut text = String::new();
    for _ in 0..50 {
        text = stage.run("client", &["wget", "-q", "-O", "-", &url], None).await.0;
        if text.contains("Welcome") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(text.contains("Welcome to nginx"), "{text}");
    let place = stage.directory.find("default", "server").unwrap();
    assert!(place.containers.iter().all(|one| matches!(one.state, State::Running { .. })));
    stage.end().await;
}

/// The directories of the leases of an address, in all networks of this host.
fn leases(ip: &str) -> Vec<std::path::PathBuf> {
    let networks = std::fs::read_dir("/run/kontiki/networks").into_iter().flatten().flatten();
    networks.map(|network| network.path().join(ip)).filter(|lease| lease.is_dir()).collect()
}

#[tokio::test]
async fn the_agent_makes_a_pods_interface_and_files_and_takes_them_back() {
    let mut stage = Stage::new("interface").await;
    let pod = json!({
        "hostname": "web-0",
        "hostAliases": [{"ip": "10.9.9.9", "hostnames": ["db"]}],
        "dnsConfig": {"nameservers": ["10.9.9.10"], "searches": ["lab.example"], "options": [{"name": "ndots", "value": "3"}]},
        "containers": [shell("sleep 600")],
    });
    stage.cluster.assign("net", pod);
    stage.begin().await;
    stage.until("running", 20, |cluster| cluster.is_ready("net")).await;
    let ip = stage.cluster.status("net").pod_ip.unwrap();
    assert_eq!(leases(&ip).len(), 1, "the agent gives out addresses: it is root, beside the engine");
    let script = "hostname; cat /etc/hostname /etc/resolv.conf; grep -E 'web-0|db' /etc/hosts; \
                  ip -o -4 addr show eth0 | grep -o 'inet [^ ]*'; ip route | head -n 1; ip addr show lo | grep -c 'inet '";
    let (text, _) = stage.run("net", &["sh", "-c", script], None).await;
    let address = format!("inet {ip}/16");
    let own_name = format!("{ip}\tweb-0");
    let resolver = ["nameserver 10.9.9.10", "search lab.example", "options ndots:3"];
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..5], [&["web-0", "web-0"], &resolver[..]].concat(), "{text}");
    assert_eq!(lines[5..7], [own_name.as_str(), "10.9.9.9\tdb"], "{text}");
    assert_eq!(lines[7..], [address.as_str(), "default via 10.244.0.1 dev eth0 ", "1"], "{text}");

    // A sandbox that dies is replaced, and its address is free again.
    let place = stage.directory.find("default", "net").unwrap();
    let pause = place.containers.iter().find(|one| one.labels.role == Role::Pause).unwrap().id.clone();
    stage.docker.signal(&pause, Signal::Kill).await.unwrap();
    let moved =
        |cluster: &Rehearsal| cluster.is_ready("net") && cluster.status("net").pod_ip.is_some_and(|new| new != ip);
    stage.until("in a new sandbox", 30, moved).await;
    let new_ip = stage.cluster.status("net").pod_ip.unwrap();
    stage.until("the dead one's lease is free", 20, |_| leases(&ip).is_empty()).await;
    stage.delete("net", 0);
    stage.until("gone", 20, |cluster| cluster.pod("net").is_none()).await;
    assert!(leases(&new_ip).is_empty());
    stage.end().await;
}

#[tokio::test]
async fn a_port_of_the_host_is_forwarded_by_the_engine() {
    let mut stage = Stage::new("host-port").await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ports = json!({"ports": [{"containerPort": 80, "hostPort": port}]});
    let nginx = with(json!({"name": "app", "image": "nginx:1.17.1"}), ports);
    stage.cluster.assign("door", json!({"containers": [nginx]}));
    stage.begin().await;
    stage.until("ready", 20, |cluster| cluster.is_ready("door")).await;
    // The engine's half of the network: nobody else gives out its addresses.
    let ip: std::net::Ipv4Addr = stage.cluster.status("door").pod_ip.unwrap().parse().unwrap();
    assert!(ip.octets()[2] >= 128, "{ip}");
    let mut answer = String::new();
    for _ in 0..50 {
        if let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
            let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await;
            let _ = tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await;
        }
        if answer.contains("Welcome") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(answer.contains("Welcome to nginx"), "{answer}");
    stage.end().await;
}
