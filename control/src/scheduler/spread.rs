//! Topology spread constraints: how unevenly a pod's kin may be spread over zones and the like. Pure, decides.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::TopologySpreadConstraint;

use super::cluster::{Cluster, Room};
use super::facts::Facts;
use super::neighbours::narrowed;
use super::reasons::Reason;
use super::{node_affinity, taints};

#[derive(Default)]
pub struct Spread {
    hard: Vec<Constraint>,
    soft: Vec<Constraint>,
}

struct Constraint {
    topology_key: String,
    skew_max: i64,
    /// How many matching pods each domain has.
    counts: BTreeMap<String, i64>,
    least: i64,
    /// The pod itself adds to the count.
    counts_itself: bool,
}

impl Spread {
    pub fn of(pod: &Facts, cluster: &Cluster) -> Spread {
        let mut spread = Spread::default();
        let all = pod.spec().topology_spread_constraints.as_deref().unwrap_or_default();
        for constraint in all {
            let is_hard = constraint.when_unsatisfiable == "DoNotSchedule";
            let keys: Vec<&str> = all
                .iter()
                .filter(|other| other.when_unsatisfiable == constraint.when_unsatisfiable)
                .map(|other| other.topology_key.as_str())
                .collect();
            let counted = Constraint::new(constraint, &keys, pod, cluster);
            if is_hard { spread.hard.push(counted) } else { spread.soft.push(counted) }
        }
        spread
    }

    pub fn against(&self, room: &Room) -> Option<Reason> {
        self.hard.iter().find_map(|constraint| constraint.against(room))
    }

    /// How crowded the node's domains are already, by the constraints that are only wishes.
    pub fn crowd(&self, room: &Room) -> i64 {
        let crowd = |constraint: &Constraint| match room.labels().get(&constraint.topology_key) {
            Some(value) => constraint.counts.get(value).copied().unwrap_or(0),
            None => i64::from(u32::MAX),
        };
        self.soft.iter().map(crowd).sum()
    }
}

impl Constraint {
    /// Only nodes that have all the topology keys, and that the pod may use, make up domains.
    fn new(from: &TopologySpreadConstraint, keys: &[&str], pod: &Facts, cluster: &Cluster) -> Constraint {
        let selector = narrowed(from.label_selector.as_ref(), pod, from.match_label_keys.as_deref(), None);
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        for (_, room) in cluster.nodes() {
            if !keys.iter().all(|key| room.labels().contains_key(*key)) || !is_usable(from, pod, room) {
                continue;
            }
            let kin = |other: &Facts| {
                other.namespace() == pod.namespace() && !other.is_terminating() && selector.matches(other.labels())
            };
            let matching = room.pods().filter(|other| kin(other)).count() as i64;
            *counts.entry(room.labels()[&from.topology_key].clone()).or_default() += matching;
        }
        let domains_min = from.min_domains.unwrap_or(1).max(1) as usize;
        let least = if counts.len() < domains_min { 0 } else { counts.values().copied().min().unwrap_or(0) };
        Constraint {
            topology_key: from.topology_key.clone(),
            skew_max: i64::from(from.max_skew),
            counts,
            least,
            counts_itself: selector.matches(pod.labels()),
        }
    }

    fn against(&self, room: &Room) -> Option<Reason> {
        let Some(value) = room.labels().get(&self.topology_key) else { return Some(Reason::SpreadLabel) };
        let here = self.counts.get(value).copied().unwrap_or(0);
        (here + i64::from(self.counts_itself) - self.least > self.skew_max).then_some(Reason::Spread)
    }
}

fn is_usable(constraint: &TopologySpreadConstraint, pod: &Facts, room: &Room) -> bool {
    let affine = constraint.node_affinity_policy.as_deref() == Some("Ignore")
        || node_affinity::required(pod.spec(), room.node());
    let tolerated = constraint.node_taints_policy.as_deref() != Some("Honor")
        || taints::untolerated(room.taints(), pod.tolerations(), &[taints::NO_SCHEDULE, taints::NO_EXECUTE]).is_none();
    affine && tolerated
}
