//! A cluster of replicas in this process, over loopback, each with a directory of its own.

pub mod disk;
pub mod net;
pub mod witness;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kontiki_raft::{
    Action, ChangeError, Command, Config, HistoryWindow, Member, MemberChange, MemberStatus, Op, Outcome, Precondition,
    ProposeError, Revision, Store, Timing,
};
use proto::pki::{Authority, PEER_NAME, Request};
use proto::seam::{Env, Net};
use proto::tls::Identity;
use tempfile::TempDir;
use tokio::time::Instant;

/// Anything that takes longer than this in a test is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// So that a test need not wait for the objects on the disk.
const SAVE: Duration = Duration::from_millis(50);
const SCRUB: Duration = Duration::from_millis(20);

pub struct Cluster {
    pub authority: Authority,
    pub members: Vec<Member>,
    pub stores: BTreeMap<u64, Store>,
    pub history: HistoryWindow,
    /// Objects are saved this often.
    pub save: Duration,
    dirs: TempDir,
}

impl Cluster {
    pub fn of(size: u64) -> Cluster {
        proto::tls::install_provider();
        let held: Vec<_> = (0..size).map(|_| held_port()).collect();
        let member = |(n, listener): (usize, &std::net::TcpListener)| Member {
            id: n as u64 + 1,
            peer_address: listener.local_addr().unwrap().to_string(),
            client_address: format!("client-{}", n + 1),
        };
        Cluster {
            authority: Authority::make("peers").unwrap(),
            members: held.iter().enumerate().map(member).collect(),
            stores: BTreeMap::new(),
            history: HistoryWindow::default(),
            save: SAVE,
            dirs: tempfile::tempdir().unwrap(),
        }
    }

    pub async fn started(size: u64) -> Cluster {
        Cluster::started_on_net(size, Env::real().net).await
    }

    pub async fn started_on_net(size: u64, net: Arc<dyn Net>) -> Cluster {
        let mut cluster = Cluster::of(size);
        for id in 1..=size {
            cluster.start_on_net(id, net.clone()).await;
        }
        cluster.leader().await;
        cluster
    }

    pub fn dir(&self, id: u64) -> PathBuf {
        self.dirs.path().join(id.to_string())
    }

    pub fn peer_address(&self, id: u64) -> String {
        self.members.iter().find(|member| member.id == id).unwrap().peer_address.clone()
    }

    pub fn identity(&self, common_name: &str) -> Identity {
        let request = Request { common_name, organizations: &[], hosts: &[PEER_NAME.to_string(), "127.0.0.1".into()] };
        let pair = self.authority.sign(&request).unwrap();
        Identity {
            certificate_pem: pair.certificate_pem,
            key_pem: pair.key_pem,
            authority_pem: self.authority.certificate_pem().into(),
        }
    }

    pub fn config(&self, id: u64) -> Config {
        Config {
            id,
            dir: self.dir(id),
            peer_listen: self.peer_address(id),
            initial_members: self.members.clone(),
            cluster_id: "test-cluster".into(),
            tls: self.identity(&format!("kontiki:replica:{id}")),
            timing: Timing { save: self.save, scrub: SCRUB, ..Timing::default() },
            history: self.history.clone(),
            renewals: Default::default(),
        }
    }

    pub async fn start(&mut self, id: u64) -> Store {
        self.start_on_net(id, Env::real().net).await
    }

    async fn start_on_net(&mut self, id: u64, net: Arc<dyn Net>) -> Store {
        let store = Store::open(self.config(id), Env { net, ..Env::real() }).await.unwrap();
        self.stores.insert(id, store.clone());
        store
    }

    /// Takes a new replica in as a learner; it does not run yet.
    pub async fn add(&mut self) -> u64 {
        let (peer_address, client_address) = (free_address(), free_address());
        let id = self.change(MemberChange::Add { peer_address, client_address }).await.unwrap();
        self.learn_members().await;
        id
    }

    /// Adds, starts and promotes a replica.
    pub async fn grow(&mut self) -> u64 {
        let id = self.add().await;
        self.start(id).await;
        self.promote(id).await;
        id
    }

    /// As soon as it is let.
    pub async fn promote(&self, id: u64) {
        eventually("a promotion", async || self.change(MemberChange::Promote { id }).await.ok()).await;
    }

    /// Asked of any replica that runs.
    pub async fn change(&self, change: MemberChange) -> Result<u64, ChangeError> {
        let store = self.stores.values().next().expect("one runs");
        in_time("a change of the members", store.change_members(change, PATIENCE / 2)).await
    }

    /// The members, as they are for a replica that starts now.
    async fn learn_members(&mut self) {
        let leader = self.leader().await;
        let known = leader.members(Duration::from_millis(300)).await;
        for status in known {
            match self.members.iter_mut().find(|member| member.id == status.member.id) {
                Some(member) => *member = status.member,
                None => self.members.push(status.member),
            }
        }
    }

    pub async fn kill(&mut self, id: u64) {
        self.stores.remove(&id).expect("it runs").kill().await;
    }

    pub async fn stop(&mut self, id: u64) {
        self.stores.remove(&id).expect("it runs").shutdown().await;
    }

    /// The replica that may run a leader's tasks, once there is one that the others agree on.
    pub async fn leader(&self) -> Store {
        let agreed = eventually("a leader that all agree on", async || {
            let standings: Vec<_> = self.stores.values().map(|store| store.standing().borrow().clone()).collect();
            let leads = standings.iter().find(|standing| standing.leads_in_term.is_some())?;
            let agree = |other: &&_| -> bool {
                let other: &kontiki_raft::Standing = other;
                other.leader == Some(leads.id) && other.term == leads.term
            };
            (standings.iter().filter(agree).count() == standings.len()).then_some(leads.id)
        });
        let id = agreed.await;
        self.stores[&id].clone()
    }

    pub async fn follower(&self) -> Store {
        let leader = self.leader().await.id();
        self.stores.values().find(|store| store.id() != leader).expect("somebody follows").clone()
    }

    /// Waits until all running replicas are at the same revision, and have the same objects.
    pub async fn converged(&self) -> Revision {
        eventually("equal states", async || {
            let states: Vec<_> = self.stores.values().map(Store::state).collect();
            let all = |store: &kontiki_raft::State| {
                store.range(b"", None).map(|(key, object)| (key.clone(), object.clone())).collect::<Vec<_>>()
            };
            let first = all(&states[0]);
            let same = states.iter().all(|state| state.revision() == states[0].revision() && all(state) == first);
            same.then(|| states[0].revision())
        })
        .await
    }
}

/// An address of loopback that is this process's alone: no other test binds a port of it, and no outgoing connection
/// begins there. So a port that was let go is free until this test takes it again.
fn held_port() -> std::net::TcpListener {
    // Linux counts processes to 2^22 at most.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let own = std::net::Ipv4Addr::new(127, 128 | high, middle, low);
    std::net::TcpListener::bind((own, 0)).unwrap()
}

/// A port that is free now.
pub fn free_address() -> String {
    held_port().local_addr().unwrap().to_string()
}

pub async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub async fn in_time<T>(what: &str, run: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, run).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// What this process has taken of the processors.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let behind_the_name = stat.rsplit_once(')').unwrap().1;
    let ticks = behind_the_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// No task of this process goes round and round without waiting for anything. Each test has a process of its own.
pub async fn idles() {
    const LOOK: Duration = Duration::from_secs(1);
    let before = processor_time();
    tokio::time::sleep(LOOK).await;
    let taken = processor_time() - before;
    assert!(taken < LOOK / 2, "it took {taken:?} of a processor in {LOOK:?}, with nothing to do");
}

pub fn put(key: &str, value: &str) -> Op {
    Op { key: bytes(key), precondition: Precondition::Any, action: Action::Put(bytes(value)) }
}

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub fn command(ops: Vec<Op>) -> Command {
    Command { fence: None, proposed_at_ms: Env::real().clock.now_ms(), author: "test".into(), ops }
}

/// Writes, again where the outcome is unknown: a put may be repeated.
pub async fn write(store: &Store, key: &str, value: &str) -> Revision {
    loop {
        match in_time("a write", store.propose(command(vec![put(key, value)]))).await {
            Ok(Outcome::Applied { revisions }) => return revisions[0],
            Ok(other) => panic!("{other:?}"),
            Err(ProposeError::Unknown(_)) => continue,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Twenty objects, `key-0` to `key-19`, each with the value `x`.
pub async fn filled(cluster: &Cluster) {
    for n in 0..20 {
        write(&cluster.stores[&1], &format!("key-{n}"), "x").await;
    }
}

pub fn value(store: &Store, key: &str) -> Option<String> {
    store.state().get(key.as_bytes()).map(|object| String::from_utf8_lossy(&object.value).into_owned())
}

pub async fn status_of(asked: &Store, id: u64) -> MemberStatus {
    asked.members(PATIENCE).await.into_iter().find(|member| member.member.id == id).unwrap()
}

/// It has everything again, and its vote counts.
pub async fn takes_part(mut cluster: Cluster, store: Store) {
    cluster.converged().await;
    assert_eq!(value(&store, "key-7").as_deref(), Some("x"));
    let whole = async || store.members(PATIENCE).await.iter().all(|member| member.trouble.is_none()).then_some(());
    eventually("the end of its abstention", whole).await;
    let dead = cluster.stores.keys().copied().find(|id| *id != store.id()).unwrap();
    cluster.kill(dead).await;
    write(&store, "with its vote", "x").await;
}

/// The tables and logs of RocksDB in a directory.
pub fn files(dir: PathBuf, kind: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|found| found == kind)).collect()
}
