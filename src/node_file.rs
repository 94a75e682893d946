//! A node's configuration file: what it says, as the agent's settings. Read once, at start.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use node::config::Config;
use node::runtime::NetworkSpec;
use proto::tls::Identity;
use serde::Deserialize;

/// YAML; unknown fields are refused, so that a slip is noticed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeFile {
    cluster_id: String,
    /// The node's name, as in its certificate (`system:node:<name>`).
    name: String,
    /// Volumes, and the last assignment. The Docker engine must see it under the same path.
    data: PathBuf,
    /// The directory with `node.crt`, `node.key`, `api-ca.crt`.
    pki: PathBuf,
    /// `host:port` of some replicas: whichever answers tells of the others.
    replicas: Vec<String>,
    /// The node's address in the cluster.
    address: IpAddr,
    /// The Docker network that the Pods of this engine share.
    #[serde(default = "default_network")]
    pod_network: String,
    #[serde(default = "default_subnet")]
    pod_subnet: String,
    /// Where kubectl is passed on to whichever replica lives; without it there is no such proxy.
    proxy_listen: Option<String>,
    /// So many nodes share this host, each offering an even part of it.
    #[serde(default = "default_share")]
    capacity_share: u32,
    #[serde(default = "default_image")]
    pause_image: String,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

fn default_network() -> String {
    "kontiki".into()
}

fn default_subnet() -> String {
    "10.244.0.0/16".into()
}

fn default_share() -> u32 {
    1
}

fn default_image() -> String {
    "kontiki:dev".into()
}

impl NodeFile {
    fn check(&self) -> Result<(), String> {
        if self.cluster_id.is_empty() {
            return Err("clusterId is empty".into());
        }
        if let Some(fault) = api::names::dns_subdomain(&self.name).first() {
            return Err(format!("name: {:?} is no node's name: {fault}", self.name));
        }
        if self.replicas.is_empty() {
            return Err("replicas is empty".into());
        }
        for address in &self.replicas {
            let port =
                address.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>()));
            if !matches!(port, Some(Ok(1..))) {
                return Err(format!("replicas: {address:?} is not host:port"));
            }
        }
        if !is_subnet(&self.pod_subnet) {
            return Err(format!("podSubnet: {:?} is not an IPv4 subnet such as 10.244.0.0/16", self.pod_subnet));
        }
        Ok(())
    }
}

fn is_subnet(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    address.parse::<std::net::Ipv4Addr>().is_ok() && length.parse::<u8>().is_ok_and(|length| (8..=30).contains(&length))
}

pub fn load(path: &Path) -> Result<Config, Box<dyn std::error::Error>> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let file: NodeFile = serde_yaml::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
    file.check().map_err(|message| format!("{name}: {message}"))?;
    let identity = Identity::load(&file.pki, "node", "api-ca")?;
    let mut config = Config::new(&file.name, file.replicas, identity, file.data);
    config.cluster = file.cluster_id;
    config.ip = file.address;
    config.network = NetworkSpec { name: file.pod_network, subnet: file.pod_subnet };
    config.proxy_address = file.proxy_listen;
    config.capacity.share = file.capacity_share.max(1);
    config.pause_image = file.pause_image;
    config.labels = file.labels.into_iter().collect();
    Ok(config)
}
