//! A container to make, in words that any runtime understands. Types only.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{ContainerId, Owner};

/// The names of the labels that every container of ours carries.
pub mod label {
    pub const CLUSTER: &str = "io.kontiki.cluster";
    pub const NODE: &str = "io.kontiki.node";
    pub const POD_UID: &str = "io.kontiki.pod.uid";
    pub const POD_NAMESPACE: &str = "io.kontiki.pod.namespace";
    pub const POD_NAME: &str = "io.kontiki.pod.name";
    pub const CONTAINER: &str = "io.kontiki.container.name";
    pub const ROLE: &str = "io.kontiki.container.kind";
    pub const ATTEMPT: &str = "io.kontiki.container.attempt";
    pub const HASH: &str = "io.kontiki.container.hash";
    /// The pause container whose network it shares.
    pub const SANDBOX: &str = "io.kontiki.sandbox";
    /// How many times in a row it had failed when this attempt was made.
    pub const FAILURES: &str = "io.kontiki.container.failures";
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Holds the Pod's network and IPC.
    Pause,
    Init,
    App,
}

impl Role {
    pub fn word(self) -> &'static str {
        match self {
            Role::Pause => "pause",
            Role::Init => "init",
            Role::App => "app",
        }
    }
}

/// What a container says of itself: all that is needed to find it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    pub cluster: String,
    pub node: String,
    pub pod_uid: String,
    pub pod_namespace: String,
    pub pod_name: String,
    pub container: String,
    pub role: Role,
    pub attempt: u32,
    pub hash: String,
    /// Empty for a pause container.
    pub sandbox: String,
    pub failures: u32,
}

impl Labels {
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let pairs = [
            (label::CLUSTER, self.cluster.clone()),
            (label::NODE, self.node.clone()),
            (label::POD_UID, self.pod_uid.clone()),
            (label::POD_NAMESPACE, self.pod_namespace.clone()),
            (label::POD_NAME, self.pod_name.clone()),
            (label::CONTAINER, self.container.clone()),
            (label::ROLE, self.role.word().to_owned()),
            (label::ATTEMPT, self.attempt.to_string()),
            (label::HASH, self.hash.clone()),
            (label::SANDBOX, self.sandbox.clone()),
            (label::FAILURES, self.failures.to_string()),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// `None` when these are not the labels of a container of ours.
    pub fn from_map<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<Labels> {
        let text = |key: &str| get(key).map(str::to_owned);
        let role = match get(label::ROLE)? {
            "pause" => Role::Pause,
            "init" => Role::Init,
            "app" => Role::App,
            _ => return None,
        };
        Some(Labels {
            cluster: text(label::CLUSTER)?,
            node: text(label::NODE)?,
            pod_uid: text(label::POD_UID)?,
            pod_namespace: text(label::POD_NAMESPACE)?,
            pod_name: text(label::POD_NAME)?,
            container: text(label::CONTAINER)?,
            role,
            attempt: get(label::ATTEMPT)?.parse().ok()?,
            hash: text(label::HASH)?,
            sandbox: text(label::SANDBOX).unwrap_or_default(),
            failures: get(label::FAILURES).and_then(|count| count.parse().ok()).unwrap_or(0),
        })
    }

    pub fn belongs_to(&self, owner: &Owner) -> bool {
        self.cluster == owner.cluster && self.node == owner.node
    }
}

/// A container to make. Empty lists and `None` mean the image's own choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Unique on the engine, and the same for the same attempt: making one twice ends in a conflict.
    pub name: String,
    pub image: String,
    pub labels: Labels,
    pub command: Vec<String>,
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub working_dir: Option<String>,
    pub mounts: Vec<Mount>,
    pub network: Network,
    pub ipc: Ipc,
    pub pid: Pid,
    pub hostname: Option<String>,
    /// `name:address`.
    pub extra_hosts: Vec<String>,
    pub dns_servers: Vec<String>,
    pub dns_searches: Vec<String>,
    pub dns_options: Vec<String>,
    pub ports: Vec<HostPort>,
    pub limits: Limits,
    pub security: Security,
    pub tty: bool,
    pub stdin: bool,
    pub stdin_once: bool,
    /// Keep what it writes to stdout and stderr.
    pub keeps_logs: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    Host,
    /// The named network; the container gets an address in it.
    Pod(String),
    Container(ContainerId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ipc {
    Host,
    /// Of its own, and others may join.
    Shareable,
    Container(ContainerId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pid {
    Own,
    Host,
    Container(ContainerId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub source: MountSource,
    pub target: String,
    pub read_only: bool,
    pub propagation: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// A path on the host.
    Path(String),
    /// Memory that the containers naming it share, as long as one of them runs.
    Memory { name: String, size_bytes: Option<u64> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub container_port: u16,
    /// tcp, udp or sctp.
    pub protocol: String,
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
}

/// 0 and `None` mean unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub cpu_shares: u64,
    /// Thousandths of a CPU.
    pub cpu_milli_max: u64,
    pub memory_bytes_max: u64,
    /// Never negative: that would need a privilege that engines in containers lack.
    pub oom_score_adj: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// `user` or `user:group`.
    pub user: Option<String>,
    pub groups: Vec<String>,
    pub privileged: bool,
    pub read_only_root: bool,
    pub no_new_privileges: bool,
    pub capabilities_add: Vec<String>,
    pub capabilities_drop: Vec<String>,
    pub sysctls: BTreeMap<String, String>,
    /// Such as `seccomp=unconfined`.
    pub options: Vec<String>,
}
