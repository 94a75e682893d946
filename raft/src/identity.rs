//! Whose data directory this is: written at the first start, held against the configuration at every later one. Kept in the
//! tables, and once more beside the vote ([`crate::log::keepsake`]). Acts; the functions over names are pure.
//!
//! A cluster that was recovered from the survivors of a lost majority keeps its name and gets a new epoch, which stands
//! behind it: `<cluster>-epoch-<n>`. Replicas talk only to replicas of the same epoch. While the recovery is under way `-unfinished`
//! stands behind that.

use std::io;
use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::disk::{Batch, Disk, Table};
use crate::open::OpenError;
use crate::record;

pub const IDENTITY: Bytes = Bytes::from_static(b"identity");
const EPOCH: &str = "-epoch-";
const UNFINISHED: &str = "-unfinished";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub cluster_id: String,
    pub replica: u64,
}

impl Identity {
    /// Holds what a configuration says against what was found. Returns that one: it has the epoch that the data is of, which
    /// a configuration may not know yet.
    pub fn hold_against(self, found: Option<Identity>, dir: &Path) -> Result<Identity, OpenError> {
        match found {
            None => Ok(self),
            Some(found) if recovering(&found.cluster_id).is_some() => Err(OpenError::Unrecovered(dir.into())),
            Some(found) if found.cluster_id != self.cluster_id && !precedes(&self.cluster_id, &found.cluster_id) => {
                Err(OpenError::OtherCluster { dir: dir.into(), found: found.cluster_id, wanted: self.cluster_id })
            }
            Some(found) if found.replica != self.replica => {
                Err(OpenError::OtherReplica { dir: dir.into(), found: found.replica, wanted: self.replica })
            }
            Some(found) => Ok(found),
        }
    }

    pub fn found(disk: &dyn Disk) -> io::Result<Option<Identity>> {
        let what = || "meta record identity".to_string();
        disk.get(Table::Meta, &IDENTITY)?.map(|row| record::decode(&row, &what)).transpose()
    }

    pub fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        let mut batch = Batch::default();
        batch.put(Table::Meta, IDENTITY, record::encode(self));
        disk.write(&batch)
    }
}

/// The cluster's name and its epoch.
fn parts(cluster_id: &str) -> (&str, u64) {
    let behind = cluster_id.rsplit_once(EPOCH).and_then(|(name, epoch)| Some((name, epoch.parse().ok()?)));
    behind.unwrap_or((cluster_id, 0))
}

/// The name without the epoch: what clients and agents know the cluster by.
pub fn name(cluster_id: &str) -> &str {
    parts(cluster_id).0
}

/// When the name was made, in milliseconds since the Unix epoch, where it tells: a UUID of version 7 (RFC 9562) does, as
/// `kontiki init` makes it.
pub fn made_at_ms(cluster_id: &str) -> Option<u64> {
    let mut parts = name(cluster_id).split('-');
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
    let is_one = (first.len(), second.len(), third.len()) == (8, 4, 4) && third.starts_with('7');
    if is_one { u64::from_str_radix(&format!("{first}{second}"), 16).ok() } else { None }
}

/// How often the cluster was recovered.
pub fn epoch(cluster_id: &str) -> u64 {
    parts(cluster_id).1
}

pub fn next_epoch(cluster_id: &str) -> String {
    let (name, epoch) = parts(cluster_id);
    format!("{name}{EPOCH}{}", epoch + 1)
}

/// Whose the data is while a recovery makes it `cluster_id`'s: nobody's who could start on it.
pub fn unfinished(cluster_id: &str) -> String {
    format!("{cluster_id}{UNFINISHED}")
}

/// Of data whose recovery was begun and not finished: the cluster that it was of before.
pub fn recovering(cluster_id: &str) -> Option<String> {
    match parts(cluster_id.strip_suffix(UNFINISHED)?) {
        (_, 0) => None,
        (name, 1) => Some(name.to_owned()),
        (name, epoch) => Some(format!("{name}{EPOCH}{}", epoch - 1)),
    }
}

/// Is `earlier` the same cluster before a recovery?
pub fn precedes(earlier: &str, later: &str) -> bool {
    let (earlier, later) = (parts(earlier), parts(later));
    earlier.0 == later.0 && earlier.1 < later.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_follows_another_of_the_same_cluster_alone() {
        assert_eq!(next_epoch("a-b"), "a-b-epoch-1");
        assert_eq!(next_epoch("a-b-epoch-9"), "a-b-epoch-10");
        assert_eq!((epoch("a-b"), epoch("a-b-epoch-9")), (0, 9));
        assert_eq!((name("a-b-epoch-9"), name("a-b"), name("a-epoch-x")), ("a-b", "a-b", "a-epoch-x"));
        assert!(precedes("a", "a-epoch-1") && precedes("a-epoch-9", "a-epoch-10"));
        assert!(!precedes("a-epoch-1", "a-epoch-1") && !precedes("a-epoch-1", "a") && !precedes("a", "b-epoch-1"));
    }

    #[test]
    fn data_whose_recovery_is_under_way_is_nobody_s_and_tells_whose_it_was() {
        for cluster in ["a-b", "a-b-epoch-1", "a-b-epoch-9"] {
            let (next, underway) = (next_epoch(cluster), unfinished(&next_epoch(cluster)));
            assert_eq!(recovering(&underway).as_deref(), Some(cluster));
            let owner = |cluster_id: &str| Identity { cluster_id: cluster_id.into(), replica: 3 };
            for wanted in [cluster, next.as_str(), underway.as_str()] {
                let held = owner(wanted).hold_against(Some(owner(&underway)), Path::new("data"));
                assert!(matches!(&held, Err(OpenError::Unrecovered(_))), "{wanted}: {held:?}");
            }
        }
        let others = ["a-b", "a-b-epoch-1", "a-unfinished", "a-epoch-x-unfinished"];
        assert!(others.iter().all(|cluster| recovering(cluster).is_none()));
    }

    #[test]
    fn a_name_says_when_it_was_made_if_it_is_a_uuid_of_version_7() {
        let made = proto::seam::Random::from_seed(1).uuid_of(1_767_225_600_123);
        assert_eq!(made_at_ms(&made), Some(1_767_225_600_123));
        assert_eq!(made_at_ms(&next_epoch(&made)), Some(1_767_225_600_123));
        let others =
            ["eed30f27-6549-4705-9497-51c013c7e2f7", "test-cluster", "7", "", "0123456x-0000-7000-8000-000000000000"];
        assert_eq!(others.map(made_at_ms), [None; 5]);
    }
}
