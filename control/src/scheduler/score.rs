//! What makes one node better than another. The order of the fields is the policy. Pure, decides.

use std::cmp::Reverse;

use super::cluster::Room;
use super::filters::Question;
use super::{node_affinity, taints};

/// The greatest is the best.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    /// PreferNoSchedule taints that the pod does not tolerate.
    disliked_taints: Reverse<usize>,
    /// Weights of the preferred node and pod affinity that are met.
    preference: i64,
    /// By topology spread constraints that are wishes.
    crowd: Reverse<i64>,
    /// Pods of the same set that are here already.
    siblings: Reverse<usize>,
    /// What stays free of CPU and memory, in tenths.
    free_tenths: i64,
    /// How many of the pod's images the node has.
    images: usize,
    /// What stays free of CPU and memory, in thousandths.
    free_permille: i64,
    name: Reverse<String>,
}

impl Score {
    pub fn new(question: &Question, name: &str, room: &Room) -> Score {
        let pod = question.pod;
        let free_permille = free_permille(question, room);
        Score {
            disliked_taints: Reverse(taints::disliked(room.taints(), pod.tolerations())),
            preference: node_affinity::preferred(pod.spec(), room.node()) + question.neighbours.preference(room),
            crowd: Reverse(question.spread.crowd(room)),
            siblings: Reverse(pod.set.as_ref().map_or(0, |set| room.of_set(set))),
            free_tenths: free_permille / 100,
            images: images(question, room),
            free_permille,
            name: Reverse(name.into()),
        }
    }

    pub fn name(&self) -> &str {
        &self.name.0
    }
}

/// The mean of the free shares of CPU and memory, with the pod there.
fn free_permille(question: &Question, room: &Room) -> i64 {
    let share = |has: i64, used: i64, wanted: i64| {
        let free = i128::from(has) - i128::from(used) - i128::from(wanted);
        if has <= 0 { 0 } else { (free.max(0) * 1000 / i128::from(has)) as i64 }
    };
    let cpu = share(room.allocatable.cpu_milli, room.cpu_milli_weighed, question.pod.cpu_milli_weighed);
    let memory = share(room.allocatable.memory_bytes, room.memory_bytes_weighed, question.pod.memory_bytes_weighed);
    (cpu + memory) / 2
}

fn images(question: &Question, room: &Room) -> usize {
    let Some(known) = room.node().status.as_ref().and_then(|status| status.images.as_ref()) else { return 0 };
    let has =
        |wanted: &str| known.iter().flat_map(|image| image.names.iter().flatten()).any(|name| is_same(name, wanted));
    question.pod.spec().containers.iter().filter(|container| container.image.as_deref().is_some_and(has)).count()
}

/// `busybox` and `busybox:latest` are one.
fn is_same(name: &str, wanted: &str) -> bool {
    let bare = |text: &'_ str| text.strip_suffix(":latest").map(String::from).unwrap_or_else(|| text.to_string());
    bare(name) == bare(wanted)
}
