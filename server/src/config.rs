//! A replica's configuration file: what it says, checked. Read once, at start.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// YAML; unknown fields are refused, so that a slip is noticed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The same on every replica; a data directory of another cluster is refused.
    pub cluster_id: String,
    /// This replica's number. Never used again for another.
    pub id: u64,
    /// The data directory.
    pub data: PathBuf,
    /// The directory with `api.crt`, `api.key`, `api-ca.crt`, `peer.crt`, `peer.key`, `peer-ca.crt`.
    pub pki: PathBuf,
    /// Where clients and agents are served: `host:port`.
    pub listen: String,
    /// Where the other replicas are served: `host:port`.
    pub peer_listen: String,
    /// All replicas at the cluster's birth, or now: a replica whose disk is lost finds the others by them.
    pub members: Vec<Member>,
    /// How long changes can be read back, in seconds.
    #[serde(default = "default_history_seconds")]
    pub history_seconds: u64,
    /// How much of them is kept, in bytes.
    #[serde(default = "default_history_bytes")]
    pub history_bytes: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    pub id: u64,
    pub peer_address: String,
    pub client_address: String,
}

fn default_history_seconds() -> u64 {
    3600
}

fn default_history_bytes() -> u64 {
    256 << 20
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("{path}: {source}")]
    Parse { path: String, source: serde_yaml::Error },
    #[error("{path}: {message}")]
    Invalid { path: String, message: String },
}

impl Config {
    pub fn load(path: &Path) -> Result<Config, Error> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: name.clone(), source })?;
        let config: Config =
            serde_yaml::from_str(&text).map_err(|source| Error::Parse { path: name.clone(), source })?;
        config.check().map_err(|message| Error::Invalid { path: name, message })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let mut ids: Vec<u64> = self.members.iter().map(|member| member.id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("two members have the same id".into());
        }
        if !ids.contains(&self.id) {
            return Err(format!("members does not list this replica, {}", self.id));
        }
        if self.cluster_id.is_empty() {
            return Err("clusterId is empty".into());
        }
        Ok(())
    }
}
