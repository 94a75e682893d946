//! How one replica of the store runs. Decides nothing but the defaults, and what of a configuration cannot be.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use proto::tls::Identity;

use crate::members::Member;
use crate::renewal::Renewals;
use crate::types::Place;

/// How one replica of the store runs.
pub struct Config {
    /// Never used again for another replica, not even after this one is gone.
    pub id: u64,
    pub dir: PathBuf,
    /// Where peers reach this replica: `host:port`. Port 0 is refused.
    pub peer_listen: String,
    /// All replicas at the cluster's birth, or by now, this one included: id, peer address, and the address clients use.
    /// Used by an empty replica, to begin a new cluster or to find the living one; else the log's membership counts.
    pub initial_members: Vec<Member>,
    /// The same on every member; a data directory of another cluster is refused.
    pub cluster_id: String,
    pub tls: Identity,
    pub timing: Timing,
    pub history: HistoryWindow,
    /// What became of earlier runs of this replica in this process.
    pub renewals: Renewals,
}

#[derive(Clone, Debug)]
pub struct Timing {
    pub heartbeat: Duration,
    /// A follower that hears nothing of the leader for so long asks the others whether they do.
    pub silence: Duration,
    pub election_min: Duration,
    pub election_max: Duration,
    /// Deadline of one proposal, forwarding included.
    pub propose_timeout: Duration,
    /// Objects on the disk are never older than this: what came later, a restart makes again from the log.
    pub save: Duration,
    /// Between two pieces of the disk that are read to find rot; after all of them it rests 60 times as long.
    pub scrub: Duration,
}

impl Default for Timing {
    /// A leader whose process dies is noticed by the reset of its connections; one that is frozen or cut off, by its
    /// silence. A busy machine can silence it towards one follower for a while, but a majority must miss three
    /// heartbeats at the same time before anybody is elected. Behind both stand openraft's own timers: a follower waits
    /// out the leader's lease (`election_max`), and then its own timeout.
    fn default() -> Timing {
        Timing {
            heartbeat: Duration::from_millis(200),
            silence: Duration::from_millis(600),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(800),
            propose_timeout: Duration::from_secs(10),
            save: Duration::from_secs(2),
            scrub: Duration::from_secs(1),
        }
    }
}

#[derive(Clone, Debug)]
pub struct HistoryWindow {
    pub age_max: Duration,
    pub bytes_max: u64,
}

impl Default for HistoryWindow {
    fn default() -> HistoryWindow {
        HistoryWindow { age_max: Duration::from_secs(3600), bytes_max: 256 << 20 }
    }
}

/// By bytes and not by entries: [`crate::upkeep::bound_log`] sees to it.
const LOG_KEPT: u64 = 1 << 40;
/// A snapshot that arrived whole is waited for by its sender for three quarters of this: given up sooner, it would be sent as a
/// whole again. The receiver never gives it up, and takes no other meanwhile.
const INSTALL: Duration = Duration::from_secs(100);

/// Of a new cluster. Later ones count on from the highest, and every id below that gets a mark once it is out.
const FIRST_ID_MAX: u64 = 1_000;

/// Why these replicas found no cluster, in words. They may well be members of one that has grown.
pub(crate) fn founding_fault<'a>(mut ids: impl Iterator<Item = &'a u64>) -> Option<String> {
    let id = ids.find(|id| **id > FIRST_ID_MAX)?;
    Some(format!("replica {id} cannot be among the first of a new cluster, whose ids are at most {FIRST_ID_MAX}"))
}

impl Config {
    /// What cannot be, in words.
    pub(crate) fn check(&self) -> Result<(), String> {
        let ids: BTreeMap<u64, &Member> = self.initial_members.iter().map(|member| (member.id, member)).collect();
        if self.id == 0 {
            return Err("a replica's id is at least 1".into());
        }
        if ids.len() != self.initial_members.len() {
            return Err("two initial members have the same id".into());
        }
        if !ids.contains_key(&self.id) {
            return Err(format!("replica {} is not among the initial members", self.id));
        }
        match self.peer_listen.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()) {
            Some(0) => Err("the peer port must be fixed, not 0".into()),
            Some(_) => Ok(()),
            None => Err(format!("{:?} is no host:port to listen on", self.peer_listen)),
        }
    }

    pub(crate) fn members(&self) -> BTreeMap<u64, Place> {
        self.initial_members.iter().map(|member| (member.id, member.place())).collect()
    }

    pub(crate) fn openraft(&self) -> Result<openraft::Config, openraft::ConfigError> {
        let ms = |duration: Duration| duration.as_millis() as u64;
        let timing = &self.timing;
        let config = openraft::Config {
            cluster_name: self.cluster_id.clone(),
            heartbeat_interval: ms(timing.heartbeat),
            election_timeout_min: ms(timing.election_min),
            election_timeout_max: ms(timing.election_max),
            enable_pre_vote: Some(true),
            // A restarted leader's knowledge of what is committed may be old: it stands for election like others.
            enable_leader_restore: Some(false),
            // `pace` does it, which knows how late the raft node itself is.
            quorum_loss_probe_interval: None,
            // A follower that lost its disk is filled again (and does not vote until then, see `bootstrap`).
            allow_log_reversion: Some(true),
            install_snapshot_timeout: ms(INSTALL),
            max_payload_entries: 1024,
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: LOG_KEPT,
            purge_batch_size: 1024,
            replication_lag_threshold: 1 << 40,
            ..openraft::Config::default()
        };
        config.validate()
    }
}
