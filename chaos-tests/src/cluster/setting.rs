//! A cluster's certificates and configurations. Acts (writes files).

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use proto::pki::{self, API_NAME, Authority, PEER_NAME, Pair, Request};
use proto::seam::{Clock, Env};
use proto::tls::Identity;

use super::plan::{NODES, REPLICAS};
use crate::sim::links::HostId;

pub const PAUSE_IMAGE: &str = "pause:1";
const API_PORT: u16 = 6443;
const PEER_PORT: u16 = 7000;

pub fn names() -> Vec<String> {
    let replicas = (1..=REPLICAS).map(|id| format!("replica-{id}"));
    let nodes = (1..=NODES).map(|number| format!("node-{number}"));
    replicas.chain(nodes).chain(["user".into()]).collect()
}

/// Made once per process: what is in the certificates decides nothing.
struct Pairs {
    api: Authority,
    peer: Authority,
    /// Of each replica: for its API, and among its peers.
    replicas: Vec<(Pair, Pair)>,
    nodes: Vec<Pair>,
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
            (serves, sign(&peer, &peer_name, &[], &[PEER_NAME.into()]))
        };
        let node = |number: usize| sign(&api, &format!("system:node:node-{number}"), &["system:nodes"], &[]);
        let replicas = (1..=REPLICAS).map(replica).collect();
        let nodes = (1..=NODES).map(node).collect();
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

/// Writes what the replicas read: their certificates.
pub fn write(dir: &Path) {
    for (n, (api, peer)) in pairs().replicas.iter().enumerate() {
        let pki = pki_dir(dir, n);
        pki::write(&pki, "api", api).expect("the directory can be written");
        pki::write(&pki, "peer", peer).expect("the directory can be written");
        let authorities = [("api-ca.crt", &pairs().api), ("peer-ca.crt", &pairs().peer)];
        for (file, authority) in authorities {
            std::fs::write(pki.join(file), authority.certificate_pem()).expect("the directory can be written");
        }
    }
}

fn pki_dir(dir: &Path, host: HostId) -> PathBuf {
    dir.join(&names()[host]).join("pki")
}

fn api_addresses() -> Vec<String> {
    names()[..REPLICAS].iter().map(|name| format!("{name}:{API_PORT}")).collect()
}

pub fn replica(dir: &Path, host: HostId) -> server::Config {
    let names = names();
    let members = (1..=REPLICAS as u64).zip(&names).map(|(id, name)| server::Member {
        id,
        peer_address: format!("{name}:{PEER_PORT}"),
        client_address: format!("{name}:{API_PORT}"),
    });
    server::Config {
        cluster_id: "simulated".into(),
        id: host as u64 + 1,
        data: dir.join(&names[host]).join("data"),
        pki: pki_dir(dir, host),
        listen: format!("0.0.0.0:{API_PORT}"),
        peer_listen: format!("0.0.0.0:{PEER_PORT}"),
        members: members.collect(),
        history_seconds: 3600,
        history_bytes: 256 << 20,
    }
}

pub fn node(dir: &Path, host: HostId) -> node::Config {
    let (name, number) = (&names()[host], host - REPLICAS);
    let identity = identity(&pairs().nodes[number]);
    let mut config = node::Config::new(name, api_addresses(), identity, dir.join(name).join("data"));
    config.ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, host as u8 + 1));
    config.pause_image = PAUSE_IMAGE.into();
    config.facts = |_| facts();
    config
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
const _: () = assert!(REPLICAS as u64 <= MARKS);

struct Marked(Arc<dyn Clock>, u64);

impl Clock for Marked {
    fn now_ms(&self) -> u64 {
        self.0.now_ms() / MARKS * MARKS + self.1
    }
}

pub fn user(env: Env) -> client::Config {
    let mut config = client::Config::new(api_addresses(), identity(&pairs().admin));
    config.env = env;
    config
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
