//! An agent and a replica over real TLS: heartbeats, work, tunnels. No containers, no store.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use node::session::{Health, Known, Refusal, Replicas, Request, TunnelIo, Tunnels, Work};
use proto::pki::{API_NAME, Authority};
use proto::seam::Env;
use proto::session::{Assignment, Exec, Item, Logs, ReplicaMessage, replica_message};
use proto::tls::{ClientCertificate, Identity};
use raft::{Member, Role, Roster, Standing};
use server::sessions::{Config, Connected, Ended, OpenError, Output, Sessions};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(10);

fn identity(authority: &Authority, name: &str, organizations: &[&str], hosts: &[String]) -> Identity {
    let request = proto::pki::Request { common_name: name, organizations, hosts };
    let pair = authority.sign(&request).unwrap();
    Identity {
        certificate_pem: pair.certificate_pem,
        key_pem: pair.key_pem,
        authority_pem: authority.certificate_pem().to_owned(),
    }
}

struct Replica {
    sessions: Sessions,
    address: SocketAddr,
    standing: watch::Sender<Standing>,
    roster: watch::Sender<Roster>,
    _stop: tokio_util::sync::DropGuard,
}

/// A replica's door, with the sessions behind it and nothing else.
async fn replica(authority: &Authority, id: u64) -> Replica {
    proto::tls::install_provider();
    let env = Env::real();
    let role = Role::Follower;
    let (standing, standings) =
        watch::channel(Standing { id, role, term: 1, leader: None, applied_index: 0, leads_in_term: None });
    let (roster, rosters) = watch::channel(Roster::default());
    let config = Config { cluster_id: "test".into(), epoch: 0, roster: rosters, standing: standings };
    let sessions = Sessions::new(config, env.clone());
    let tls = identity(authority, "replica", &[], &[API_NAME.to_owned()]);
    let acceptor = proto::tls::acceptor(&tls, ClientCertificate::Optional, &["h2", "http/1.1"]).unwrap();
    let listener = env.net.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_address().unwrap();
    let router = tonic::service::Routes::new(sessions.service()).into_axum_router();
    let stop = CancellationToken::new();
    tokio::spawn(server::http::serve(listener, acceptor, router, stop.clone()));
    Replica { sessions, address, standing, roster, _stop: stop.drop_guard() }
}

struct Agent {
    work: watch::Receiver<Option<Arc<Work>>>,
    health: watch::Sender<Health>,
    replicas: Replicas,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Agent {
    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the agent stops in time").unwrap();
    }

    async fn work(&mut self, wanted: impl FnMut(&Option<Arc<Work>>) -> bool) -> Arc<Work> {
        let found = tokio::time::timeout(PATIENCE, self.work.wait_for(wanted)).await;
        found.expect("the work comes in time").unwrap().clone().expect("there is work")
    }
}

/// An agent that says it is `node` and shows the certificate of `certified`.
fn agent(authority: &Authority, node: &str, certified: &str, at: &[&Replica], state_dir: Option<PathBuf>) -> Agent {
    let at = at.iter().map(|replica| replica.address.to_string()).collect();
    agent_at(authority, node, certified, at, state_dir)
}

fn agent_at(authority: &Authority, node: &str, certified: &str, at: Vec<String>, state_dir: Option<PathBuf>) -> Agent {
    proto::tls::install_provider();
    let replicas = Replicas::new(at);
    let config = node::session::Config {
        node: node.to_owned(),
        replicas: replicas.clone(),
        tls: identity(authority, &format!("system:node:{certified}"), &["system:nodes"], &[]),
        heartbeat_interval: Duration::from_millis(100),
        state_dir,
    };
    let (health, healths) = watch::channel(Health { engine_ready: true, message: String::new() });
    let (deliver, work) = watch::channel(None);
    let stop = CancellationToken::new();
    let run = node::session::run(config, Env::real(), healths, deliver, Arc::new(Fake), stop.clone());
    let task = tokio::spawn(async move { run.await.unwrap() });
    Agent { work, health, replicas, stop, task }
}

/// Stands in for containers: logs are endless, `cat` echoes, `missing` is not there.
struct Fake;

#[async_trait]
impl Tunnels for Fake {
    async fn check(&self, request: &Request) -> Result<(), Refusal> {
        match request {
            Request::Exec(exec) if exec.container == "missing" => Err(Refusal::new(404, "container not found")),
            _ => Ok(()),
        }
    }

    async fn serve(&self, request: Request, mut io: TunnelIo) {
        match request {
            Request::Exec(exec) => {
                while let Some(bytes) = io.stdin.recv().await {
                    if io.output.stdout(bytes).await.is_err() {
                        return;
                    }
                }
                while let Ok(size) = io.resize.try_recv() {
                    let text = format!("{}x{}", size.width, size.height);
                    io.output.stderr(text.into()).await.unwrap();
                }
                let _ = io.output.end(exec.command[0].parse().unwrap()).await;
            }
            _ => {
                while io.output.stdout(Bytes::from(vec![b'.'; 4096])).await.is_ok() {}
                LOGS_ENDED.add_permits(1);
            }
        }
    }
}

static LOGS_ENDED: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(0);

async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            match look() {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

async fn session(replica: &Replica, after: u64) -> Connected {
    eventually("a session", || replica.sessions.connected().into_iter().find(|one| one.number > after)).await
}

fn assignment(term: u64, sequence: u64, pod: &str) -> ReplicaMessage {
    let upserts = vec![Item { key: format!("pods/default/{pod}"), json: Bytes::from_static(b"{}") }];
    let full = sequence == 1;
    let assignment = Assignment { term, sequence, full, upserts, ..Assignment::default() };
    ReplicaMessage { message: Some(replica_message::Message::Assignment(assignment)) }
}

fn pods(work: &Work) -> Vec<&str> {
    work.of("pods").map(|(key, _)| key).collect()
}

fn exec(container: &str, code: i32) -> Request {
    let (container, command) = (container.to_owned(), vec![code.to_string()]);
    Request::Exec(Exec { container, command, stdin: true, stdout: true, ..Exec::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_is_heard_and_so_is_its_engine() {
    let authority = Authority::make("test").unwrap();
    let replica = replica(&authority, 1).await;
    let agent = agent(&authority, "n1", "n1", &[&replica], None);
    eventually("a heartbeat", || replica.sessions.snapshot().get("n1").filter(|heard| heard.engine_ready).cloned())
        .await;
    agent.health.send_replace(Health { engine_ready: false, message: "it hangs".into() });
    let heard = eventually("the news of the engine", || {
        replica.sessions.snapshot().remove("n1").filter(|heard| !heard.engine_ready)
    });
    assert_eq!(heard.await.engine_message, "it hangs");
    let address = replica.address.to_string();
    eventually("an answer", || agent.replicas.known(&address).live.then_some(())).await;
    replica.standing.send_modify(|standing| (standing.term, standing.leads_in_term) = (2, Some(2)));
    let leads = Known { live: true, leads: true, term: 2 };
    eventually("the news of the leader", || (agent.replicas.known(&address) == leads).then_some(())).await;
    agent.stop().await;
    eventually("the end of the session", || replica.sessions.connected().is_empty().then_some(())).await;
    assert!(replica.sessions.snapshot().contains_key("n1"), "silence is measured from the last heartbeat");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_is_confirmed_and_outlives_the_agents_process() {
    let authority = Authority::make("test").unwrap();
    let replica = replica(&authority, 1).await;
    let dir = tempfile::tempdir().unwrap();
    let mut first = agent(&authority, "n1", "n1", &[&replica], Some(dir.path().into()));
    let session = session(&replica, 0).await;
    assert!(session.push(vec![assignment(3, 1, "a"), assignment(3, 2, "b")]));
    let work = first.work(|work| work.as_ref().is_some_and(|work| work.sequence == 2)).await;
    assert_eq!((pods(&work), work.is_remembered), (vec!["pods/default/a", "pods/default/b"], false));
    let applied = server::sessions::Applied { term: 3, sequence: 2 };
    eventually("the confirmation", || (replica.sessions.applied("n1") == Some(applied)).then_some(())).await;
    first.stop().await;
    let mut again = agent(&authority, "n1", "n1", &[], Some(dir.path().into()));
    let work = again.work(Option::is_some).await;
    assert_eq!((work.term, pods(&work)), (3, vec!["pods/default/a", "pods/default/b"]));
    assert!(work.is_remembered, "nobody has said since that it is still so");
    again.stop().await;
}

fn roster(index: u64, of: &[&Replica]) -> Roster {
    let member = |replica: &&Replica| Member {
        id: replica.standing.borrow().id,
        peer_address: String::new(),
        client_address: replica.address.to_string(),
    };
    Roster { index, members: of.iter().map(member).collect() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_replicas_are_learned_and_removed_ones_left() {
    let authority = Authority::make("test").unwrap();
    let (one, two, three) = (replica(&authority, 1).await, replica(&authority, 2).await, replica(&authority, 3).await);
    one.roster.send_replace(roster(5, &[&one, &two]));
    two.roster.send_replace(roster(5, &[&one, &two]));
    let agent = agent(&authority, "n1", "n1", &[&one], None);
    session(&two, 0).await;
    // Replica 3 takes the place of replica 1, and 2 is the first to say so.
    two.roster.send_replace(roster(7, &[&two, &three]));
    session(&three, 0).await;
    eventually("the end of the session with 1", || one.sessions.connected().is_empty().then_some(())).await;
    assert_eq!(agent.replicas.addresses(), [two.address.to_string(), three.address.to_string()]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_finds_the_replicas_it_once_learned_of_when_those_it_is_configured_with_are_gone() {
    let authority = Authority::make("test").unwrap();
    let (one, two) = (replica(&authority, 1).await, replica(&authority, 2).await);
    let dir = tempfile::tempdir().unwrap();
    one.roster.send_replace(roster(5, &[&one, &two]));
    let first = agent(&authority, "n1", "n1", &[&one], Some(dir.path().into()));
    let before = session(&two, 0).await;
    eventually("the agent's memory", || dir.path().join("replicas.json").exists().then_some(())).await;
    first.stop().await;
    let gone = replica(&authority, 1).await;
    let address = gone.address;
    drop((one, gone));
    let again = agent_at(&authority, "n1", "n1", vec![address.to_string()], Some(dir.path().into()));
    session(&two, before.number).await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_leaders_assignment_is_refused() {
    let authority = Authority::make("test").unwrap();
    let (old, new) = (replica(&authority, 1).await, replica(&authority, 2).await);
    let mut agent = agent(&authority, "n1", "n1", &[&old, &new], None);
    let (before, now) = (session(&old, 0).await, session(&new, 0).await);
    now.push(vec![assignment(5, 1, "new")]);
    agent.work(|work| work.as_ref().is_some_and(|work| work.term == 5)).await;
    before.push(vec![assignment(4, 1, "old")]);
    session(&old, before.number).await;
    let work = agent.work(Option::is_some).await;
    assert_eq!(pods(&work), ["pods/default/new"]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_missed_something_asks_for_everything() {
    let authority = Authority::make("test").unwrap();
    let replica = replica(&authority, 1).await;
    let mut agent = agent(&authority, "n1", "n1", &[&replica], None);
    let before = session(&replica, 0).await;
    before.push(vec![assignment(3, 1, "a"), assignment(3, 3, "c")]);
    let after = session(&replica, before.number).await;
    let work = agent.work(Option::is_some).await;
    assert_eq!(pods(&work), ["pods/default/a"]);
    after.push(vec![assignment(3, 1, "b")]);
    let work = agent.work(|work| work.as_ref().is_some_and(|work| pods(work) == ["pods/default/b"])).await;
    assert_eq!(work.sequence, 1);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_speaks_for_its_own_node_alone() {
    let authority = Authority::make("test").unwrap();
    let replica = replica(&authority, 1).await;
    let impostor = agent(&authority, "n1", "n2", &[&replica], None);
    let honest = agent(&authority, "n3", "n3", &[&replica], None);
    session(&replica, 0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let connected: Vec<String> = replica.sessions.connected().into_iter().map(|session| session.node).collect();
    assert_eq!(connected, ["n3"]);
    impostor.stop().await;
    honest.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_carries_everything_both_ways_and_then_the_exit_code() {
    let authority = Authority::make("test").unwrap();
    let replica = replica(&authority, 1).await;
    let agent = agent(&authority, "n1", "n1", &[&replica], None);
    let sent: Vec<u8> = (0..8u32 << 20).map(|index| (index ^ index >> 8) as u8).collect();
    let (input, mut output) = replica.sessions.open("n1", exec("c", 7)).await.unwrap().split();
    let stdin = Bytes::from(sent.clone());
    let writing = tokio::spawn(async move {
        input.resize(80, 24).await.unwrap();
        input.stdin(stdin).await.unwrap();
        input.stdin_end().await.unwrap();
        input
    });
    let (mut received, mut errors) = (Vec::new(), Vec::new());
    let ended = loop {
        match tokio::time::timeout(PATIENCE, output.next()).await.expect("output comes in time").unwrap() {
            Output::Stdout(bytes) => received.extend_from_slice(&bytes),
            Output::Stderr(bytes) => errors.extend_from_slice(&bytes),
            Output::End(ended) => break ended,
        }
    };
    assert_eq!(ended, Ended::Exited(7));
    assert!(received == sent, "{} of {} bytes came back, or other ones", received.len(), sent.len());
    assert_eq!(errors, b"80x24");
    assert_eq!(output.next().await, None);
    writing.await.unwrap();
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_or_absent_backend_says_so() {
    let authority = Authority::make("test").unwrap();
    let replica = replica(&authority, 1).await;
    let agent = agent(&authority, "n1", "n1", &[&replica], None);
    let refused = replica.sessions.open("n1", exec("missing", 0)).await.map(drop).unwrap_err();
    assert!(matches!(&refused, OpenError::Refused { code: 404, reason } if reason == "container not found"));
    let absent = replica.sessions.open("n9", exec("c", 0)).await.map(drop).unwrap_err();
    assert!(matches!(absent, OpenError::NoSession { .. }));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_hangs_up_ends_the_stream_at_the_node() {
    let authority = Authority::make("test").unwrap();
    let replica = replica(&authority, 1).await;
    let agent = agent(&authority, "n1", "n1", &[&replica], None);
    let mut logs =
        replica.sessions.open("n1", Request::Logs(Logs { follow: true, ..Logs::default() })).await.unwrap().split();
    assert!(matches!(logs.1.next().await, Some(Output::Stdout(_))));
    drop(logs);
    let ended = tokio::time::timeout(PATIENCE, LOGS_ENDED.acquire()).await;
    ended.expect("the stream ends in time").unwrap().forget();
    agent.stop().await;
}
