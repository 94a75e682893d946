//! Which pods are a set's: those it owns and selects, and orphans it selects. Pure, decides.

use std::sync::Arc;

use api::Key;
use api::selector::LabelSelector;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;

use super::{draft, is_active};
use crate::Write;
use crate::plan::Room;
use crate::view::{Entry, View};

pub struct Claim {
    /// Active pods that are the set's, once the writes took effect.
    pub pods: Vec<Arc<Pod>>,
    pub writes: Vec<Write>,
    /// What is left beside them.
    pub room: Room,
    /// More is to be claimed than fits one plan, so that nothing should be counted yet.
    pub unfinished: bool,
}

/// A set that is being deleted takes nothing and lets nothing go.
pub fn claim(view: &View, entry: &Entry, set: &ReplicaSet) -> Claim {
    let mut claim = Claim { pods: Vec::new(), writes: Vec::new(), room: Room::default(), unfinished: false };
    let Some(selector) = selector(set) else { return Claim { unfinished: true, ..claim } };
    let keeps = !entry.is_terminating();
    let matches = |pod: &Entry| selector.matches_optional(pod.meta.labels.as_ref());
    for (found, pod) in view.controlled_by(entry.uid()).filter_map(active) {
        if found.key.namespace != entry.key.namespace {
            continue;
        }
        if matches(found) {
            claim.pods.push(pod.clone());
        } else if keeps {
            claim.push(draft::update_meta(found, |meta| draft::disown(meta, entry.uid())));
        }
    }
    if keeps {
        for (found, pod) in view.orphan_pods_in(&entry.key.namespace).filter_map(active) {
            if matches(found) && claim.push(draft::update_meta(found, |meta| draft::adopt::<ReplicaSet>(meta, entry))) {
                claim.pods.push(pod.clone());
            }
        }
    }
    claim
}

/// The sets that would adopt an orphan.
pub fn suitors<'a>(view: &'a View, orphan: &'a Entry) -> impl Iterator<Item = Key> + 'a {
    view.replica_sets_in(&orphan.key.namespace)
        .filter(|entry| {
            let selector = entry.replica_set().and_then(|set| selector(set));
            selector.is_some_and(|selector| selector.matches_optional(orphan.meta.labels.as_ref()))
        })
        .map(|entry| Key::clone(&entry.key))
}

/// One that selects everything would rob everybody; validation lets none in.
fn selector(set: &ReplicaSet) -> Option<LabelSelector> {
    let selector = LabelSelector::from_object(&set.spec.selector).ok()?;
    Some(selector).filter(|selector| !selector.is_everything())
}

fn active(entry: &Entry) -> Option<(&Entry, &Arc<Pod>)> {
    entry.pod().filter(|pod| is_active(pod)).map(|pod| (entry, pod))
}

impl Claim {
    fn push(&mut self, write: Option<Write>) -> bool {
        let Some(write) = write else { return false };
        let fits = self.room.takes(&write);
        self.unfinished |= !fits;
        self.writes.extend(Some(write).filter(|_| fits));
        fits
    }
}
