//! A cluster's certificates and configurations. Acts (writes files).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use proto::pki::{self, API_NAME, Authority, PEER_NAME, Pair, Request};
use proto::seam::{Clock, Env};
use proto::tls::Identity;

use super::plan::{NEW_NODE, NEWCOMER, NODES, Plan, REPLICAS, USER};
use super::seen::Joined;
use crate::sim::links::HostId;

pub const PAUSE_IMAGE: &str = "pause:1";
const API_PORT: u16 = 6443;
const PEER_PORT: u16 = 7000;
/// A further replica that joined and was overruled has another id when it joins again; never one above this.
const IDS_MAX: usize = 12;

/// Of all hosts that any world has.
pub fn names() -> Vec<String> {
    let replicas = (1..=REPLICAS).map(|id| format!("replica-{id}"));
    let nodes = (1..=NODES).map(|number| format!("node-{number}"));
    let others = ["user".to_owned(), "newcomer".to_owned(), format!("node-{}", NODES + 1)];
    replicas.chain(nodes).chain(others).collect()
}

/// Made once per process: what is in the certificates decides nothing.
struct Pairs {
    api: Authority,
    peer: Authority,
    /// By its id, of each replica: for its API, and among its peers.
    replicas: BTreeMap<u64, (Pair, Pair)>,
    nodes: BTreeMap<HostId, Pair>,
    admin: Pair,
}

fn pairs() -> &'static Pairs {
    static MADE: OnceLock<Pairs> = OnceLock::new();
    MADE.get_or_init(|| {
        let make = |name: &str| Authority::make(name).expect("an authority can be made");
        let (api, peer) = (make("api"), make("peers"));
        let sign = |authority: &Authority, common_name: &str, organizations: &[&str], hosts: &[String]| {
            let request = Request { common_name, organizations, hosts };
            authority.sign(&request).expect("a certificate can be made")
        };
        let replica = |id: usize| {
            let name = format!("system:kontiki:replica:{id}");
            let peer_name = format!("kontiki:replica:{id}");
            let serves = sign(&api, &name, &["system:masters"], &[API_NAME.into()]);
            (id as u64, (serves, sign(&peer, &peer_name, &[], &[PEER_NAME.into()])))
        };
        let names = names();
        let node = |host: HostId| {
            let name = format!("system:node:{}", names[host]);
            (host, sign(&api, &name, &["system:nodes"], &[]))
        };
        let replicas = (1..=IDS_MAX).map(replica).collect();
        let nodes = (REPLICAS..USER).chain([NEW_NODE]).map(node).collect();
        let admin = sign(&api, "kubernetes-admin", &["system:masters"], &[]);
        Pairs { api, peer, replicas, nodes, admin }
    })
}

fn identity(pair: &Pair) -> Identity {
    Identity {
        certificate_pem: pair.certificate_pem.clone(),
        key_pem: pair.key_pem.clone(),
        authority_pem: pairs().api.certificate_pem().into(),
    }
}

/// Once per process.
pub fn prepare() {
    proto::tls::install_provider();
    pairs();
}

/// Writes what the founders read: their certificates.
pub fn write(dir: &Path) {
    (0..REPLICAS).for_each(|host| write_pki(dir, host, host as u64 + 1));
}

/// The certificates of the replica with this id, for this host.
pub fn write_pki(dir: &Path, host: HostId, id: u64) {
    let (pki, (api, peer)) = (pki_dir(dir, host, id), &pairs().replicas[&id]);
    pki::write(&pki, "api", api).expect("the directory can be written");
    pki::write(&pki, "peer", peer).expect("the directory can be written");
    let authorities = [("api-ca.crt", &pairs().api), ("peer-ca.crt", &pairs().peer)];
    for (file, authority) in authorities {
        std::fs::write(pki.join(file), authority.certificate_pem()).expect("the directory can be written");
    }
}

fn pki_dir(dir: &Path, host: HostId, id: u64) -> PathBuf {
    dir.join(&names()[host]).join(format!("pki-{id}"))
}

/// Where clients reach a replica's doors.
pub fn door(host: HostId) -> String {
    format!("{}:{API_PORT}", names()[host])
}

/// Where the other replicas reach it.
pub fn peer_address(host: HostId) -> String {
    format!("{}:{PEER_PORT}", names()[host])
}

fn api_addresses() -> Vec<String> {
    (0..REPLICAS).map(door).collect()
}

pub fn founder(dir: &Path, host: HostId, plan: &Plan) -> server::Config {
    let member = |host: HostId| server::Member {
        id: host as u64 + 1,
        peer_address: peer_address(host),
        client_address: door(host),
    };
    replica(dir, host, host as u64 + 1, "simulated", (0..REPLICAS).map(member).collect(), plan)
}

/// As `kontiki replica add` writes it down.
pub fn newcomer(dir: &Path, joined: &Joined, plan: &Plan) -> server::Config {
    replica(dir, NEWCOMER, joined.id, &joined.cluster_id, joined.members.clone(), plan)
}

fn replica(
    dir: &Path,
    host: HostId,
    id: u64,
    cluster_id: &str,
    members: Vec<server::Member>,
    plan: &Plan,
) -> server::Config {
    let (history_seconds, history_bytes) = plan.history().unwrap_or((3600, 256 << 20));
    server::Config {
        cluster_id: cluster_id.into(),
        id,
        data: dir.join(&names()[host]).join("data"),
        pki: pki_dir(dir, host, id),
        listen: format!("0.0.0.0:{API_PORT}"),
        peer_listen: format!("0.0.0.0:{PEER_PORT}"),
        members,
        history_seconds,
        history_bytes,
    }
}

pub fn node(dir: &Path, host: HostId) -> node::Config {
    let name = &names()[host];
    let identity = identity(&pairs().nodes[&host]);
    let mut config = node::Config::new(name, api_addresses(), identity, node_dir(dir, host));
    config.ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, host as u8 + 1));
    config.pause_image = PAUSE_IMAGE.into();
    config.facts = |_| facts();
    config
}

/// Where a node's agent keeps its files.
pub fn node_dir(dir: &Path, host: HostId) -> PathBuf {
    dir.join(&names()[host]).join("data")
}

/// A replica's surroundings, where the clock's last digit to the base [`MARKS`] says whose clock it is. What a replica
/// proposes carries its time, so the history tells who proposed what.
pub fn marked(env: Env, host: HostId) -> Env {
    Env { clock: Arc::new(Marked(env.clock, host as u64)), ..env }
}

/// The host of the replica that proposed something at this time.
pub fn proposer(proposed_at_ms: u64) -> HostId {
    (proposed_at_ms % MARKS) as HostId
}

const MARKS: u64 = 8;
const _: () = assert!((NEWCOMER as u64) < MARKS);

struct Marked(Arc<dyn Clock>, u64);

impl Clock for Marked {
    fn now_ms(&self) -> u64 {
        self.0.now_ms() / MARKS * MARKS + self.1
    }
}

/// Of a client that knows the founders.
pub fn user(env: Env) -> client::Config {
    let mut config = client::Config::new(api_addresses(), identity(&pairs().admin));
    config.env = env;
    config
}

/// Of a client that goes to the doors of one replica alone.
pub fn user_of(env: Env, replica: HostId) -> client::Config {
    client::Config { addresses: vec![door(replica)], ..user(env) }
}

/// Of a host that is short of nothing.
fn facts() -> node::register::Facts {
    node::register::Facts {
        machine_id: "simulated".into(),
        memory_available_bytes: 4 << 30,
        disk_available_bytes: 50 << 30,
        disk_bytes: 100 << 30,
        inodes_available_percent: 90,
        pids_available_percent: 90,
        ..Default::default()
    }
}
