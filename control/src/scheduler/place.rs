//! One pod, one answer: the best node, or the counted reasons against every one. Pure, decides.

use super::cluster::Cluster;
use super::facts::Facts;
use super::filters::{self, Question};
use super::reasons::Unplaceable;
use super::score::Score;

/// Enough nodes that would do have been seen; the rest is not looked at, so that one placement costs a
/// bounded amount in a cluster of thousands.
const CANDIDATES_MIN: usize = 100;
/// In large clusters, this share of the nodes: one in so many.
const CANDIDATES_SHARE: usize = 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub node: String,
}

/// The same pod and cluster give the same answer.
pub fn place(pod: &Facts, cluster: &Cluster) -> Result<Placement, Unplaceable> {
    let question = Question::new(pod, cluster);
    let mut unplaceable = Unplaceable::default();
    let mut best: Option<Score> = None;
    let mut candidates = 0;
    let enough = CANDIDATES_MIN.max(cluster.node_count() / CANDIDATES_SHARE);
    for (name, room) in cluster.nodes_from(start(pod, cluster, enough)) {
        let reasons = filters::against(&question, name, room);
        if !reasons.is_empty() {
            unplaceable.count(reasons);
            continue;
        }
        best = best.max(Some(Score::new(&question, name, room)));
        candidates += 1;
        if candidates >= enough {
            break;
        }
    }
    best.map(|score| Placement { node: score.name().into() }).ok_or(unplaceable)
}

/// Where to begin among more nodes than will be looked at: for each pod elsewhere.
fn start<'a>(pod: &Facts, cluster: &'a Cluster, enough: usize) -> &'a str {
    if cluster.node_count() <= enough {
        return "";
    }
    let hash = fnv1a(pod.key.to_string().as_bytes()) as usize;
    cluster.name_at(hash % cluster.node_count()).unwrap_or("")
}

fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
