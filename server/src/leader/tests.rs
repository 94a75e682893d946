//! A term on a real store of one replica: from a Deployment to bound pods, from a dead node to replacements.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::Key;
use bytes::Bytes;
use control::Liveness;
use control::controllers::node_lifecycle::GRACE;
use proto::seam::{Clock, Env};
use raft::{Action, Command, Op, Outcome, Precondition};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::prepared::Prepared;
use super::{Heartbeats, Leader, Role, driver};
use crate::fixtures::store;

/// Wall-clock time that a test can move.
struct MovedClock {
    real: Arc<dyn Clock>,
    ahead_ms: AtomicI64,
}

impl Clock for MovedClock {
    fn now_ms(&self) -> u64 {
        self.real.now_ms().saturating_add_signed(self.ahead_ms.load(Ordering::SeqCst))
    }
}

/// Nodes that are heard of whenever somebody asks.
struct Alive {
    /// Since when nothing is heard of it.
    nodes: Mutex<BTreeMap<String, Option<Instant>>>,
}

impl Heartbeats for Alive {
    fn snapshot(&self) -> BTreeMap<String, Liveness> {
        let liveness = |stopped: &Option<Instant>| {
            let silent_for = stopped.map_or(Duration::ZERO, |at| at.elapsed());
            Liveness { silent_for, engine_ready: true, engine_message: String::new() }
        };
        let nodes = self.nodes.lock().expect("not poisoned");
        nodes.iter().map(|(name, stopped)| (name.clone(), liveness(stopped))).collect()
    }
}

impl Alive {
    fn stop(&self, node: &str) {
        self.nodes.lock().expect("not poisoned").insert(node.into(), Some(Instant::now()));
    }
}

struct Cluster {
    leader: Leader,
    alive: Arc<Alive>,
    clock: Arc<MovedClock>,
    stop: CancellationToken,
    role: watch::Receiver<Role>,
    running: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Cluster {
    /// One replica that leads, with these nodes.
    async fn start(nodes: &[&str]) -> Cluster {
        let (sender, role) = watch::channel(Role::Follower);
        let mut cluster = Cluster::led_by(nodes, |leader, stop| super::run(leader, sender, stop)).await;
        cluster.role = role;
        cluster
    }

    /// As `start`, with something else for the leader to do.
    async fn led_by<F>(nodes: &[&str], run: impl FnOnce(Leader, CancellationToken) -> F) -> Cluster
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let dir = tempfile::tempdir().expect("a directory");
        let real = Env::real();
        let clock = Arc::new(MovedClock { real: real.clock.clone(), ahead_ms: AtomicI64::new(0) });
        let env = Env { clock: clock.clone(), ..real };
        let store = store(dir.path(), env.clone()).await;
        let heard = nodes.iter().map(|name| (name.to_string(), None)).collect();
        let alive = Arc::new(Alive { nodes: Mutex::new(heard) });
        let leader = Leader { store, env, heartbeats: alive.clone(), replicas: Vec::new() };
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(leader.clone(), stop.clone()));
        let (_, role) = watch::channel(Role::Follower);
        let cluster = Cluster { leader, alive, clock, stop, role, running, _dir: dir };
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
        cluster.put("", "namespaces", namespace).await;
        for name in nodes {
            cluster.put("", "nodes", node(name)).await;
        }
        cluster
    }

    async fn put(&self, group: &str, resource: &str, mut object: Value) -> u64 {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let (namespace, name) = (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
        object["metadata"]["uid"] = json!(self.leader.env.random.uuid());
        object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        let op = Op {
            key: Bytes::from(Key::new(group, resource, &namespace, &name).encode()),
            precondition: Precondition::Absent,
            action: Action::Put(serde_json::to_vec(&object).expect("JSON").into()),
        };
        let command =
            Command { fence: None, proposed_at_ms: self.clock.now_ms(), author: "test".into(), ops: vec![op] };
        match self.leader.store.propose(command).await.expect("an outcome") {
            Outcome::Applied { revisions } => revisions[0],
            refused => panic!("{refused:?}"),
        }
    }

    fn all(&self, group: &str, resource: &str) -> Vec<Value> {
        let state = self.leader.store.state();
        let range = state.range(&Key::prefix(group, resource, ""), None);
        range.map(|(_, versioned)| serde_json::from_slice(&versioned.value).expect("JSON")).collect()
    }

    /// How many pods that are not going are bound to each node ("" for none).
    fn pods_by_node(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for pod in self.all("", "pods").iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()) {
            *counts.entry(pod["spec"]["nodeName"].as_str().unwrap_or("").to_string()).or_default() += 1;
        }
        counts
    }

    /// What the conditions of the nodes say of their readiness.
    fn ready(&self) -> Vec<String> {
        let nodes = self.all("", "nodes");
        nodes.iter().map(|node| node["status"]["conditions"][0]["status"].as_str().unwrap_or("").into()).collect()
    }

    /// A change that makes the controllers plan the node.
    async fn touch(&self, name: &str) {
        let key = Bytes::from(Key::new("", "nodes", "", name).encode());
        let state = self.leader.store.state();
        let stored = state.get(&key).expect("the node");
        let mut node: Value = serde_json::from_slice(&stored.value).expect("JSON");
        node["metadata"]["annotations"] = json!({"touched": self.leader.env.random.uuid()});
        let action = Action::Put(serde_json::to_vec(&node).expect("JSON").into());
        let ops = vec![Op { key, precondition: Precondition::AtRevision(stored.revision), action }];
        let command = Command { fence: None, proposed_at_ms: self.clock.now_ms(), author: "test".into(), ops };
        self.leader.store.propose(command).await.expect("an outcome");
    }

    async fn until(&self, what: &str, within: Duration, holds: impl Fn(&Cluster) -> bool) -> Duration {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < within, "{what} within {within:?}: {:?}", self.pods_by_node());
            sleep(Duration::from_millis(2)).await;
        }
        start.elapsed()
    }

    async fn end(mut self) {
        self.stop.cancel();
        timeout(Duration::from_secs(10), &mut self.running).await.expect("it ends in time").expect("it does not panic");
        assert_eq!(*self.role.borrow(), Role::Follower);
        self.leader.store.shutdown().await;
    }
}

fn node(name: &str) -> Value {
    let status = json!({
        "allocatable": {"cpu": "8", "memory": "8Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True"}],
    });
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}, "status": status})
}

fn deployment(name: &str, replicas: u32) -> Value {
    let toleration = |key: &str| json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1});
    let pod = json!({
        "containers": [{"name": "c", "image": "web:1", "resources": {}}],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "tolerations": [toleration("not-ready"), toleration("unreachable")],
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default", "generation": 1},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        },
    })
}

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_becomes_bound_pods_and_then_there_is_silence() {
    let cluster = Cluster::start(&["n1", "n2", "n3"]).await;
    cluster.put("apps", "deployments", deployment("web", 30)).await;
    let even = BTreeMap::from(["n1", "n2", "n3"].map(|name| (name.to_string(), 10)));
    let took = cluster.until("30 pods are bound evenly", SOON, |cluster| cluster.pods_by_node() == even).await;
    println!("30 pods were bound after {took:?}");
    let said = |reason: &str| {
        let events = cluster.all("", "events");
        events.iter().filter(|event| event["reason"] == reason).count()
    };
    cluster.until("the events are written", SOON, |_| said("Scheduled") == 30).await;
    assert!(
        cluster.all("", "pods").iter().all(|pod| pod["metadata"]["uid"].as_str().is_some_and(|uid| uid.len() == 36))
    );
    let quiet = async {
        loop {
            let before = cluster.leader.store.state().revision();
            sleep(Duration::from_secs(1)).await;
            if cluster.leader.store.state().revision() == before {
                break;
            }
        }
    };
    timeout(SOON, quiet).await.expect("an idle cluster writes nothing");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_a_dead_node_are_made_anew_elsewhere() {
    let cluster = Cluster::start(&["n1", "n2", "n3"]).await;
    cluster.put("apps", "deployments", deployment("web", 6)).await;
    let on = |cluster: &Cluster, node: &str| cluster.pods_by_node().get(node).copied().unwrap_or(0);
    cluster.until("the pods are bound", SOON, |cluster| on(cluster, "n1") == 2 && on(cluster, "n3") == 2).await;
    cluster.alive.stop("n1");
    cluster.until("the pods are replaced", SOON, |cluster| on(cluster, "n2") == 3 && on(cluster, "n3") == 3).await;
    assert_eq!(on(&cluster, "n1"), 0);
    let node = cluster.all("", "nodes").remove(0);
    assert_eq!(node["status"]["conditions"][0]["status"], "Unknown", "{node}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_is_set_back_keeps_no_dead_node_alive() {
    let cluster = Cluster::start(&["n1", "n2", "n3"]).await;
    cluster.clock.ahead_ms.fetch_sub(30 * 60 * 1000, Ordering::SeqCst);
    cluster.alive.stop("n1");
    cluster.until("the silence is noticed", SOON, |cluster| cluster.ready()[0] == "Unknown").await;
    assert_eq!(cluster.ready()[1..], ["True", "True"]);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_clock_that_is_set_forward_makes_nobody_silent() {
    let began = Instant::now();
    let cluster = Cluster::start(&["n1", "n2", "n3"]).await;
    // This one may have died, or not have found the new leader yet: it is too early to tell.
    cluster.alive.nodes.lock().expect("not poisoned").remove("n3");
    for _ in 0..5 {
        cluster.clock.ahead_ms.fetch_add(60 * 60 * 1000, Ordering::SeqCst);
        for name in ["n1", "n2", "n3"] {
            cluster.touch(name).await;
        }
        sleep(Duration::from_millis(200)).await;
        let ready = cluster.ready();
        assert_eq!(ready[..2], ["True", "True"]);
        assert!(ready[2] == "True" || began.elapsed() > GRACE, "the leader has not led for long");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_fits_nowhere_is_told_why_and_bound_when_there_is_room() {
    let cluster = Cluster::start(&[]).await;
    let mut object = deployment("web", 1);
    object["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "4"}});
    cluster.put("apps", "deployments", object).await;
    let told = |cluster: &Cluster, message: &str| {
        cluster.all("", "pods").iter().any(|pod| pod["status"]["conditions"].to_string().contains(message))
    };
    cluster.until("there is no node", SOON, |cluster| told(cluster, "no nodes available to schedule pods")).await;
    let mut small = node("n1");
    small["status"]["allocatable"]["cpu"] = json!("1");
    cluster.alive.nodes.lock().expect("not poisoned").insert("n1".into(), None);
    cluster.put("", "nodes", small).await;
    cluster
        .until("it is too small", SOON, |cluster| told(cluster, "0/1 nodes are available: 1 Insufficient cpu."))
        .await;
    cluster.alive.nodes.lock().expect("not poisoned").insert("n2".into(), None);
    cluster.put("", "nodes", node("n2")).await;
    cluster.until("it is bound", SOON, |cluster| cluster.pods_by_node() == BTreeMap::from([("n2".into(), 1)])).await;
    cluster.end().await;
}

/// Panics over everything that is called `bad`, and over changes of what is called `worse`.
struct Touchy;

impl control::Controller for Touchy {
    fn name(&self) -> &'static str {
        "touchy"
    }

    fn affected(&self, change: &control::Change, _: &control::View) -> Vec<Key> {
        assert_ne!(change.key.name, "worse", "this panic is part of the test");
        vec![change.key.clone()]
    }

    fn plan(&self, view: &control::View, key: &Key) -> control::Plan {
        assert_ne!(key.name, "bad", "this panic is part of the test");
        let Some(entry) = view.get(key).filter(|entry| entry.key.resource == "nodes") else {
            return control::Plan::default();
        };
        let write = control::Write::Delete { key: key.clone(), at: entry.revision };
        control::Plan { writes: vec![write], ..control::Plan::default() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_object_does_not_stop_the_others() {
    let cluster = Cluster::led_by(&[], |leader, stop| async move {
        let term = leader.store.standing().borrow().term;
        driver::run(leader, term, vec![Box::new(Touchy)], stop).await;
    })
    .await;
    for name in ["bad", "worse", "good"] {
        cluster.put("", "nodes", node(name)).await;
    }
    let left = |cluster: &Cluster| {
        cluster.all("", "nodes").iter().map(|node| node["metadata"]["name"].clone()).collect::<Vec<_>>()
    };
    cluster.until("the good one is dealt with", SOON, |cluster| left(cluster) == ["bad", "worse"]).await;
    // The next leader meets them, too, all at once.
    let mut prepared = Prepared::new(&cluster.leader.store.state(), vec![Box::new(Touchy)]);
    let looked_at: Vec<_> = std::iter::from_fn(|| prepared.queue.pop()).map(|(_, key)| key.name).collect();
    assert_eq!(looked_at, ["default", "bad"]);
    cluster.end().await;
}

/// Takes its time over every node, and notes how many turns others had had by then.
struct Slow {
    turns: Arc<AtomicI64>,
    planned: Arc<Mutex<Vec<i64>>>,
}

impl control::Controller for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn affected(&self, change: &control::Change, _: &control::View) -> Vec<Key> {
        vec![change.key.clone()]
    }

    fn plan(&self, _: &control::View, _: &Key) -> control::Plan {
        std::thread::sleep(Duration::from_millis(4));
        self.planned.lock().expect("not poisoned").push(self.turns.load(Ordering::SeqCst));
        control::Plan::default()
    }
}

/// The thread is the one that says that this leader lives.
#[tokio::test]
async fn others_on_the_thread_have_their_turns_while_much_is_planned() {
    const NODES: usize = 30;
    let names: Vec<String> = (0..NODES).map(|number| format!("node-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cluster = Cluster::led_by(&names, |_, _| async {}).await;
    let (turns, planned) = <(Arc<AtomicI64>, Arc<Mutex<Vec<i64>>>)>::default();
    let turning = tokio::spawn({
        let turns = turns.clone();
        async move {
            loop {
                turns.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        }
    });
    let term = cluster.leader.store.standing().borrow().term;
    let slow = Box::new(Slow { turns, planned: planned.clone() });
    let driving = tokio::spawn(driver::run(cluster.leader.clone(), term, vec![slow], cluster.stop.clone()));
    cluster.until("all are planned", SOON, |_| planned.lock().expect("not poisoned").len() >= NODES).await;
    let mut seen = planned.lock().expect("not poisoned").clone();
    seen.dedup();
    assert!(seen.len() > 3, "planned at {seen:?}");
    turning.abort();
    cluster.end().await;
    driving.await.expect("it ends in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_term_that_is_not_the_present_one_decides_nothing() {
    let cluster = Cluster::led_by(&[], |_, _| async {}).await;
    let revision = cluster.put("apps", "deployments", deployment("web", 1)).await;
    let store = cluster.leader.store.clone();
    let old_term = store.standing().borrow().term - 1;
    let term = driver::run(cluster.leader.clone(), old_term, super::controllers(&[]), cluster.stop.clone());
    let ended = timeout(SOON, term).await.expect("it ends by itself");
    assert!(matches!(ended, driver::Ended::Fenced { .. }), "{ended:?}");
    assert_eq!(store.state().revision(), revision, "nothing was written");
    cluster.end().await;
}
