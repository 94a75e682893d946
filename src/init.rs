//! `kontiki init`: makes a new cluster's directory: certificates, one configuration file per process, kubeconfig. Acts.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use proto::pki::{self, API_NAME, Authority, PEER_NAME, Request};
use raft::members::address::host_fault;
use serde_json::{Value, json};

#[derive(clap::Args)]
pub struct Args {
    /// Where the cluster's files go. What exists is kept: running this again adds only what is missing.
    #[arg(long, default_value = ".kontiki")]
    dir: PathBuf,
    /// How many replicas (control-plane members): 1, 3 or 5.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    replicas: u64,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=99))]
    nodes: u64,
    /// The first port. Replica i takes two from `port + 2 (i - 1)` on (API, peers); the agents' loopback proxies follow.
    #[arg(long, default_value_t = 6443)]
    port: u16,
    /// Where replica i is reached: with `{}` for i. The default puts all on this host.
    #[arg(long, default_value = "127.0.0.1", value_parser = hosts)]
    replica_host: String,
    /// The IP address node i is known by, with `{}` for i.
    #[arg(long, default_value = "127.0.0.1", value_parser = hosts)]
    node_host: String,
    /// Every replica and every agent has a host of its own, as in compose: the replicas use the same two ports.
    #[arg(long)]
    separate_hosts: bool,
    /// The Docker network that the nodes' Pods share.
    #[arg(long, default_value = "kontiki")]
    pod_network: String,
    /// Its subnet. With `{}` for i, node i has one of its own; routes between them are the hosts' matter.
    #[arg(long, default_value = "10.244.0.0/16")]
    pod_subnet: String,
    /// Where clients on this host reach the proxy of node i, with `{}` for i.
    #[arg(long, default_value = "127.0.0.1", value_parser = hosts)]
    proxy_host: String,
}

const CLUSTER_ID: &str = "cluster-id";

/// A host that may be a replica's, or an agent's proxy's.
pub fn a_host(text: &str) -> Result<String, String> {
    host_fault(text).map_or_else(|| Ok(text.to_owned()), Err)
}

/// The same of several, with `{}` for the number of each.
fn hosts(text: &str) -> Result<String, String> {
    a_host(&text.replace("{}", "1")).map(|_| text.to_owned())
}

/// Ports of one process.
struct Ports {
    api: u16,
    peer: u16,
}

impl Args {
    /// What cannot be, in words.
    fn check(&self) -> Result<(), String> {
        let last = u64::from(self.port) + 2 * self.replicas + self.nodes;
        if last > u64::from(u16::MAX) {
            return Err(format!("--port {} leaves no room for the ports up to {last}", self.port));
        }
        // The agent would refuse its configuration.
        let unknown = |node: &u64| self.node_host(*node).parse::<IpAddr>().is_err();
        match (1..=self.nodes).find(unknown) {
            Some(node) => Err(format!("--node-host: {:?}, of node {node}, is no IP address", self.node_host(node))),
            None => Ok(()),
        }
    }

    fn ports(&self, replica: u64) -> Ports {
        let first = if self.separate_hosts { self.port } else { self.port + 2 * (replica as u16 - 1) };
        Ports { api: first, peer: first + 1 }
    }

    fn proxy_port(&self, node: u64) -> u16 {
        let replicas = if self.separate_hosts { 1 } else { self.replicas as u16 };
        self.port + 2 * replicas + node as u16 - 1
    }

    fn replica_host(&self, replica: u64) -> String {
        self.replica_host.replace("{}", &replica.to_string())
    }

    fn node_host(&self, node: u64) -> String {
        self.node_host.replace("{}", &node.to_string())
    }

    /// Where a client on this host reaches an agent's proxy.
    fn proxy_address(&self, node: u64) -> String {
        format!("{}:{}", self.proxy_host.replace("{}", &node.to_string()), self.proxy_port(node))
    }

    fn api_address(&self, replica: u64) -> String {
        format!("{}:{}", self.replica_host(replica), self.ports(replica).api)
    }
}

pub fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    args.check()?;
    std::fs::create_dir_all(&args.dir)?;
    let root = std::fs::canonicalize(&args.dir)?;
    let cluster = cluster_id(&root)?;
    let api = Authority::load_or_make(&root.join("pki"), "api-ca")?;
    let peer = Authority::load_or_make(&root.join("pki"), "peer-ca")?;
    let authorities = Authorities { api, peer };
    for id in 1..=args.replicas {
        let ports = args.ports(id);
        let host = args.replica_host(id);
        let listen = listen_host(&host, args.separate_hosts);
        let member = |id| member(id, &args.replica_host(id), args.ports(id).api, args.ports(id).peer);
        let members = (1..=args.replicas).map(member).collect();
        let replica = NewReplica { id, host, listen, api: ports.api, peer: ports.peer, members };
        replica.write(&root, &cluster, &authorities)?;
    }
    let Authorities { api, peer } = authorities;
    for node in 1..=args.nodes {
        let dir = root.join(format!("node-{node}"));
        let pki = dir.join("pki");
        write_authorities(&pki, &api, &peer)?;
        issue(&pki, "node", &api, &format!("system:node:node-{node}"), &["system:nodes"], &[])?;
        write_new(&dir.join("config.yaml"), &node_config(&args, &cluster, node, &root))?;
    }
    let admin = root.join("pki");
    issue(&admin, "admin", &api, "kubernetes-admin", &["system:masters"], &[])?;
    kubeconfig(&args, &root, &api, &cluster)?;
    Ok(())
}

/// The name of the cluster: made once, kept in the directory. It says when that was, so that what is restored into the cluster
/// begins above all that clients can know ([`raft::offline::restore`]).
fn cluster_id(root: &Path) -> Result<String, Box<dyn std::error::Error>> {
    if let Ok(id) = cluster_of(root) {
        return Ok(id);
    }
    let env = proto::seam::Env::real();
    let id = env.random.uuid_of(env.clock.now_ms());
    std::fs::write(root.join(CLUSTER_ID), format!("{id}\n"))?;
    Ok(id)
}

/// The name of the cluster whose directory this is.
pub fn cluster_of(root: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let file = root.join(CLUSTER_ID);
    let id = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(id.trim().to_owned())
}

fn write_authorities(dir: &Path, api: &Authority, peer: &Authority) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join("api-ca.crt"), api.certificate_pem())?;
    std::fs::write(dir.join("peer-ca.crt"), peer.certificate_pem())
}

fn issue(
    dir: &Path,
    file: &str,
    authority: &Authority,
    common_name: &str,
    organizations: &[&str],
    hosts: &[String],
) -> Result<(), pki::Error> {
    if dir.join(format!("{file}.crt")).exists() {
        return Ok(());
    }
    pki::write(dir, file, &authority.sign(&Request { common_name, organizations, hosts })?)
}

/// What signs: one authority for the API, one for the replicas among each other.
pub struct Authorities {
    pub api: Authority,
    pub peer: Authority,
}

impl Authorities {
    /// Those of a cluster that `kontiki init` made in this directory.
    pub fn of(root: &Path) -> Result<Authorities, Box<dyn std::error::Error>> {
        let pki = root.join("pki");
        if let Some(missing) = ["api-ca.key", "peer-ca.key"].iter().find(|file| !pki.join(file).exists()) {
            let words = format!("{} is missing: this is done where `kontiki init` was", pki.join(missing).display());
            return Err(words.into());
        }
        let (api, peer) = (Authority::load_or_make(&pki, "api-ca")?, Authority::load_or_make(&pki, "peer-ca")?);
        Ok(Authorities { api, peer })
    }
}

/// A replica that gets its certificates and its configuration file.
pub struct NewReplica {
    pub id: u64,
    /// Where it is reached.
    pub host: String,
    /// Where it listens.
    pub listen: String,
    pub api: u16,
    pub peer: u16,
    /// Entries of [`member`].
    pub members: Vec<Value>,
}

pub fn member(id: u64, host: &str, api: u16, peer: u16) -> Value {
    json!({"id": id, "peerAddress": format!("{host}:{peer}"), "clientAddress": format!("{host}:{api}")})
}

impl NewReplica {
    /// Returns where its configuration file is.
    pub fn write(
        &self,
        root: &Path,
        cluster: &str,
        authorities: &Authorities,
    ) -> Result<PathBuf, Box<dyn std::error::Error>> {
        let id = self.id;
        let dir = root.join(format!("replica-{id}"));
        let pki = dir.join("pki");
        write_authorities(&pki, &authorities.api, &authorities.peer)?;
        issue(&pki, "peer", &authorities.peer, &format!("kontiki:replica:{id}"), &[], &[PEER_NAME.into()])?;
        let mut hosts: Vec<String> =
            [API_NAME, "localhost", "127.0.0.1", "10.96.0.1", "kubernetes.default.svc"].map(String::from).to_vec();
        hosts.push(self.host.clone());
        hosts.dedup();
        issue(&pki, "api", &authorities.api, &format!("system:kontiki:replica:{id}"), &["system:masters"], &hosts)?;
        let file = dir.join("config.yaml");
        let config = json!({
            "clusterId": cluster,
            "id": id,
            "data": dir.join("data"),
            "pki": pki,
            "listen": format!("{}:{}", self.listen, self.api),
            "peerListen": format!("{}:{}", self.listen, self.peer),
            "members": self.members,
        });
        write_new(&file, &config)?;
        Ok(file)
    }
}

fn node_config(args: &Args, cluster: &str, node: u64, root: &Path) -> Value {
    let replicas: Vec<String> = (1..=args.replicas).map(|id| args.api_address(id)).collect();
    let dir = root.join(format!("node-{node}"));
    json!({
        "clusterId": cluster,
        "name": format!("node-{node}"),
        "data": dir.join("data"),
        "pki": dir.join("pki"),
        "replicas": replicas,
        "address": args.node_host(node),
        "podNetwork": args.pod_network,
        "podSubnet": args.pod_subnet.replace("{}", &node.to_string()),
        "proxyListen": format!("{}:{}", if args.separate_hosts { "0.0.0.0" } else { "127.0.0.1" }, args.proxy_port(node)),
        // Agents of one host share it: each offers its part.
        "capacityShare": args.nodes.max(1),
    })
}

pub fn listen_host(host: &str, separate: bool) -> String {
    match host.parse::<IpAddr>() {
        Ok(address) if !separate => address.to_string(),
        _ => "0.0.0.0".into(),
    }
}

/// The server is the loopback proxy of the first agent, which knows all replicas; the extension names them for
/// our own client.
fn kubeconfig(args: &Args, root: &Path, api: &Authority, cluster: &str) -> Result<(), Box<dyn std::error::Error>> {
    let pki = root.join("pki");
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    // Replicas on hosts of their own are reached through the agents' proxies.
    let replicas: Vec<String> = match args.separate_hosts && args.nodes > 0 {
        false => (1..=args.replicas).map(|id| args.api_address(id)).collect(),
        true => (1..=args.nodes).map(|node| args.proxy_address(node)).collect(),
    };
    let server = if args.nodes > 0 { args.proxy_address(1) } else { args.api_address(1) };
    let name = format!("kontiki-{}", &cluster[..8]);
    let mut file = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": "kubernetes-admin"}}],
        "clusters": [{"name": name, "cluster": {
            "server": format!("https://{server}"),
            "certificate-authority-data": encode(api.certificate_pem().as_bytes()),
            "extensions": [{"name": "kontiki", "extension": {"replicas": replicas}}],
        }}],
        "users": [{"name": "kubernetes-admin", "user": {
            "client-certificate-data": encode(&std::fs::read(pki.join("admin.crt"))?),
            "client-key-data": encode(&std::fs::read(pki.join("admin.key"))?),
        }}],
    });
    if args.proxy_host.contains("{}") {
        // Whichever replica a proxy passes a client on to, its certificate carries this name.
        file["clusters"][0]["cluster"]["tls-server-name"] = API_NAME.into();
    }
    let path = root.join("kubeconfig");
    write_new(&path, &file)?;
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// Writes YAML, unless the file is there: what a person changed stays.
fn write_new(path: &Path, value: &Value) -> Result<(), Box<dyn std::error::Error>> {
    if !path.exists() {
        std::fs::write(path, serde_yaml::to_string(value)?)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "init_tests.rs"]
mod tests;
