//! A question to all replicas, for the digests of their states at some indexes, and what was answered to it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use proto::peer;
use tokio::time::Instant;

use super::judge::judge;
use super::words::Finding;

pub struct Question {
    pub asked_at: Instant,
    voters: BTreeSet<u64>,
    /// By index, and then by replica.
    digests: BTreeMap<u64, BTreeMap<u64, u64>>,
}

impl Question {
    /// `digests`: by index, those of who asks.
    pub fn new(asked_at: Instant, own: u64, voters: BTreeSet<u64>, digests: Vec<(u64, u64)>) -> Question {
        let digests = digests.into_iter().map(|(index, digest)| (index, BTreeMap::from([(own, digest)])));
        Question { asked_at, voters, digests: digests.collect() }
    }

    pub fn indexes(&self) -> impl Iterator<Item = u64> {
        self.digests.keys().copied()
    }

    /// Returns whether there is anything new in it.
    pub fn take(&mut self, replica: u64, report: &peer::Report) -> bool {
        let mut is_new = false;
        for at in &report.digests {
            if let Some(digests) = self.digests.get_mut(&at.index) {
                is_new |= digests.insert(replica, at.digest) != Some(at.digest);
            }
        }
        is_new
    }

    /// Has this replica answered it, be it for one index alone?
    pub fn has_heard(&self, replica: u64) -> bool {
        self.digests.values().any(|digests| digests.contains_key(&replica))
    }

    /// Have all voters answered it?
    pub fn is_complete(&self) -> bool {
        self.digests.values().all(|digests| self.voters.iter().all(|id| digests.contains_key(id)))
    }

    /// By index.
    pub fn findings(&self, voters: &BTreeSet<u64>) -> Vec<Finding> {
        let finding = |(index, digests): (&u64, &BTreeMap<u64, u64>)| Finding {
            index: *index,
            verdict: judge(voters, digests),
            by: digests.keys().copied().collect(),
        };
        self.digests.iter().map(finding).collect()
    }
}
