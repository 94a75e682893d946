//! What an agent is told at its start. Types only.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::tls::Identity;

use crate::register::{self, Facts};
use crate::runtime::NetworkSpec;
use crate::sync::Policy;

#[derive(Clone)]
pub struct Config {
    /// The node's name, as in its certificate (`system:node:<name>`).
    pub name: String,
    /// Tells the containers of several clusters on one engine apart.
    pub cluster: String,
    /// `host:port` of the API of some replicas: whichever answers tells of the others.
    pub replicas: Vec<String>,
    pub identity: Identity,
    /// Volumes, the last assignment. The engine must see it under the same path.
    pub data_dir: PathBuf,
    /// The node's address in the cluster.
    pub ip: IpAddr,
    pub hostname: String,
    /// Besides those that every node carries.
    pub labels: Vec<(String, String)>,
    pub capacity: CapacityRule,
    /// How the host is looked at, with the data directory. May block.
    pub facts: fn(&Path) -> Facts,
    pub network: NetworkSpec,
    pub pause_image: String,
    /// Empty: Pods resolve names as the host does.
    pub dns_servers: Vec<IpAddr>,
    pub cluster_domain: String,
    pub heartbeat_interval: Duration,
    /// Where to listen for `kubectl`, to pass its connections to whichever replica lives.
    pub proxy_address: Option<String>,
    pub back_off: Policy,
    pub pace: Pace,
}

/// How much of the host this node has to give.
#[derive(Clone, Copy, Debug)]
pub struct CapacityRule {
    /// So many nodes share this host evenly.
    pub share: u32,
    /// Thousandths of a CPU; instead of the share.
    pub cpu_milli: Option<u64>,
    pub memory_bytes: Option<u64>,
    pub pods: u32,
}

/// How busy the agent may be.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Everything is listed this often, in case an event was lost.
    pub relist_interval: Duration,
    pub ping_interval: Duration,
}

/// Containers made or removed on an engine at one time, per processor. More only wait for each other, in the kernel's
/// locks: 24 at once on two processors cost 8 % more processor time than 4.
const STEPS_PER_CPU: u64 = 2;
const STEPS_MIN: u64 = 4;
const STEPS_MAX: u64 = 32;

impl CapacityRule {
    /// Containers that this agent makes or removes at one time: its part of what its engine's host can do.
    pub fn steps_max(&self, cpus: u64) -> usize {
        let of_engine = (cpus * STEPS_PER_CPU).clamp(STEPS_MIN, STEPS_MAX);
        of_engine.div_ceil(u64::from(self.share.max(1))) as usize
    }
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { relist_interval: Duration::from_secs(20), ping_interval: Duration::from_secs(2) }
    }
}

impl Config {
    /// The usual settings for a node of this name.
    pub fn new(name: &str, replicas: Vec<String>, identity: Identity, data_dir: PathBuf) -> Config {
        Config {
            name: name.to_owned(),
            cluster: "kontiki".into(),
            replicas,
            identity,
            data_dir,
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            hostname: name.to_owned(),
            labels: Vec::new(),
            capacity: CapacityRule { share: 1, cpu_milli: None, memory_bytes: None, pods: 110 },
            facts: register::facts,
            network: NetworkSpec { name: "kontiki".into(), subnet: "10.244.0.0/16".into() },
            pause_image: "kontiki:dev".into(),
            dns_servers: Vec::new(),
            cluster_domain: "cluster.local".into(),
            heartbeat_interval: Duration::from_secs(1),
            proxy_address: None,
            back_off: Policy::default(),
            pace: Pace::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CapacityRule;

    #[test]
    fn agents_of_one_engine_share_what_it_can_do() {
        let rows = [(1, 1, 4), (1, 2, 4), (3, 2, 2), (100, 2, 1), (1, 8, 16), (1, 256, 32), (0, 4, 8)];
        for (share, cpus, steps) in rows {
            let rule = CapacityRule { share, cpu_milli: None, memory_bytes: None, pods: 110 };
            assert_eq!(rule.steps_max(cpus), steps, "{share} agents, {cpus} processors");
        }
    }
}
