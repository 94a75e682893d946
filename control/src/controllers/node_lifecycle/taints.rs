//! The taints that tell the scheduler and the evictions of a node's state. Pure, decides.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Health;
pub use crate::scheduler::taints::{CORDONED, NO_EXECUTE, NO_SCHEDULE, NOT_READY, UNREACHABLE};

/// Makes the taints fit health and cordon; others are left alone. While evictions pause there is no NoExecute
/// taint for a silent node, so that the pods' time on it begins anew when they go on.
pub fn set(node: &mut Node, health: &Health, paused: bool, now: Timestamp) {
    let spec = node.spec.get_or_insert_default();
    let cordoned = spec.unschedulable == Some(true);
    let taints = spec.taints.get_or_insert_default();
    put(taints, CORDONED, NO_SCHEDULE, cordoned, now);
    if *health != Health::Unjudged {
        let states = [(NOT_READY, matches!(health, Health::EngineDown(_))), (UNREACHABLE, *health == Health::Silent)];
        for (key, present) in states {
            put(taints, key, NO_SCHEDULE, present, now);
            put(taints, key, NO_EXECUTE, present && !paused, now);
        }
    }
    // Tolerations count seconds from when the taint was added, which a person who adds one does not say. A time from
    // the future is of a clock that was set back since, and would keep the pods for as long.
    for taint in taints.iter_mut().filter(|taint| taint.effect == NO_EXECUTE) {
        let added = taint.time_added.get_or_insert(Time(now));
        added.0 = added.0.min(now);
    }
    if taints.is_empty() {
        spec.taints = None;
    }
}

pub fn no_execute(node: &Node) -> impl Iterator<Item = &Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| taint.effect == NO_EXECUTE)
}

fn put(taints: &mut Vec<Taint>, key: &str, effect: &str, present: bool, now: Timestamp) {
    let is = |taint: &Taint| taint.key == key && taint.effect == effect;
    match (present, taints.iter().any(is)) {
        (true, false) => {
            let time_added = Some(Time(now));
            taints.push(Taint { key: key.into(), effect: effect.into(), time_added, value: None });
        }
        (false, true) => taints.retain(|taint| !is(taint)),
        _ => {}
    }
}
