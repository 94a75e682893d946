//! Who the replicas are, as they told it, and which addresses the agent dials for that. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Remembered on the agent's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Members {
    pub cluster_id: String,
    pub epoch: u64,
    /// Of the log entry that made them the members.
    pub index: u64,
    /// `host:port` by the replica's id.
    pub addresses: BTreeMap<u64, String>,
}

impl Members {
    /// Does this take the place of what was known before? A replica that lags tells who the members were once.
    pub fn supersedes(&self, before: &Members) -> bool {
        let version = |members: &Members| (members.epoch, members.index);
        !self.addresses.is_empty() && (self.cluster_id != before.cluster_id || version(self) > version(before))
    }
}

/// What is known of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// A session stands there.
    pub live: bool,
    /// The replica that answered there last; 0 when none ever did.
    pub replica: u64,
}

/// The members' addresses, and those configured ones that may be the way to a member which has no session: where the
/// agent reaches a replica under another address than the members know, it keeps that one.
pub fn wanted(seeds: &[String], members: &Members, met: impl Fn(&str) -> Met) -> Vec<String> {
    let mut wanted: Vec<String> = members.addresses.values().cloned().collect();
    let lacks_session = |id: &u64| members.addresses.get(id).is_some_and(|address| !met(address).live);
    let some_session = members.addresses.values().any(|address| met(address).live);
    let every_session = members.addresses.keys().all(|id| !lacks_session(id));
    for seed in seeds {
        let of_use = match met(seed).replica {
            0 => members.addresses.is_empty() || !every_session,
            known if members.addresses.contains_key(&known) => lacks_session(&known),
            // No member any more; but as long as no member answers, there is nothing better.
            _ => !some_session,
        };
        if of_use && !wanted.contains(seed) {
            wanted.push(seed.clone());
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(index: u64, addresses: &str) -> Members {
        let member = |text: &str| text.split_once('=').map(|(id, at)| (id.parse().unwrap(), at.to_owned())).unwrap();
        let addresses = addresses.split_whitespace().map(member).collect();
        Members { cluster_id: "c".into(), epoch: 0, index, addresses }
    }

    /// `met`: `address` (live) or `address=id` (live, of this replica) or `address=id!` (it was, and is silent).
    #[track_caller]
    fn dials(seeds: &str, of: &str, met: &str, expected: &str) {
        let seeds: Vec<String> = seeds.split_whitespace().map(str::to_owned).collect();
        let met: BTreeMap<&str, Met> = met
            .split_whitespace()
            .map(|text| {
                let (address, id) = text.split_once('=').unwrap_or((text, "0"));
                let replica = id.trim_end_matches('!').parse().unwrap();
                (address, Met { live: !id.ends_with('!'), replica })
            })
            .collect();
        let found = wanted(&seeds, &members(1, of), |address| met.get(address).copied().unwrap_or_default());
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn only_newer_members_count() {
        let known = members(7, "1=a");
        assert!(members(8, "1=a 2=b").supersedes(&known) && known.supersedes(&Members::default()));
        assert!(!members(7, "1=b").supersedes(&known) && !members(6, "1=b").supersedes(&known));
        assert!(!members(9, "").supersedes(&known), "a cluster without members is none");
        let recovered = Members { epoch: 1, ..members(3, "1=a") };
        assert!(recovered.supersedes(&known) && !known.supersedes(&recovered));
        assert!(Members { cluster_id: "d".into(), ..members(1, "1=a") }.supersedes(&known));
    }

    #[test]
    fn the_configured_addresses_are_a_beginning() {
        dials("a b c", "", "", "a b c");
        dials("a b c", "", "a=1", "a b c");
        dials("a b c", "1=a 2=b 3=c", "a=1", "a b c");
    }

    #[test]
    fn a_new_member_is_dialled_and_a_removed_one_is_not() {
        dials("a b c", "1=a 2=b 4=d", "a=1 b=2 c=3", "a b d");
        // Before it ever answered the third seed may be the way to any member that lacks a session.
        dials("a b c", "1=a 2=b 4=d", "a=1 b=2", "a b d c");
        dials("a b c", "1=a 2=b 4=d", "a=1 b=2 d=4", "a b d");
    }

    #[test]
    fn an_address_that_the_members_do_not_know_is_kept_while_theirs_fails() {
        dials("nat", "1=a", "nat=1", "a nat");
        dials("nat", "1=a", "nat=1 a=1", "a");
        dials("nat", "1=a", "nat=1! a=1!", "a nat");
        // Replica 2 is reached by its seed alone, though others are reached as the members have them.
        dials("nat1 nat2", "1=a 2=b", "a=1 nat1=1 nat2=2", "a b nat2");
    }

    #[test]
    fn when_nobody_answers_every_address_is_tried() {
        dials("a b", "3=c 4=d", "a=1! b=2! c=3! d=4!", "c d a b");
    }
}
