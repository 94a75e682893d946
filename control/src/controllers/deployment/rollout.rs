//! A deployment with its sets and the counts of their pods, read from the view, changed by the steps, and
//! turned into writes. Decides who belongs to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;

use super::super::draft;
use super::super::readiness::{Counts, is_active, is_finished};
use super::limits::Limits;
use super::{hash, revision, selector};
use crate::plan::{Room, WRITES_MAX};
use crate::view::{Entry, View};
use crate::{Note, Plan, Write};

pub struct Rollout<'a> {
    pub view: &'a View,
    pub entry: &'a Entry,
    before: &'a Deployment,
    /// As it is to become.
    pub deployment: Deployment,
    /// Oldest first.
    pub sets: Vec<Set<'a>>,
    /// The place of the set that has the deployment's template.
    pub newest: Option<usize>,
    pub limits: Limits,
    pub recheck_at: Option<Timestamp>,
    writes: Vec<Write>,
    /// Each with the set that it is about.
    events: Vec<(usize, Note)>,
}

pub struct Set<'a> {
    origin: Origin<'a>,
    /// As it is to become.
    pub object: ReplicaSet,
    pub counts: Counts,
    /// There are pods of it that are not over: terminating ones as well.
    pub has_pods: bool,
}

enum Origin<'a> {
    Stored(&'a Entry, &'a ReplicaSet),
    New,
    /// It was stored, and is to be deleted.
    Gone(&'a Entry),
}

impl<'a> Rollout<'a> {
    /// `None`: a selector that no deployment may have.
    pub fn read(view: &'a View, entry: &'a Entry, deployment: &'a Arc<Deployment>) -> Option<Rollout<'a>> {
        let selector = selector(deployment)?;
        let keeps = !entry.is_terminating();
        let namespace = &entry.key.namespace;
        let mut writes = Vec::new();
        let mut sets = Vec::new();
        for (found, set) in view.controlled_by(entry.uid()).filter_map(set_of) {
            if found.key.namespace != *namespace {
                continue;
            }
            if selector.matches_optional(found.meta.labels.as_ref()) {
                sets.push(Set::read(view, found, set, deployment));
            } else if keeps {
                writes.extend(draft::update_meta(found, |meta| draft::disown(meta, entry.uid())));
            }
        }
        for (found, set) in view.orphan_replica_sets_in(namespace).filter_map(set_of).filter(|_| keeps) {
            if selector.matches_optional(found.meta.labels.as_ref()) && !found.is_terminating() {
                let mut adopted = Set::read(view, found, set, deployment);
                draft::adopt::<Deployment>(&mut adopted.object.metadata, entry);
                sets.push(adopted);
            }
        }
        sets.sort_by_key(|set| (set.created_at(), set.name().to_string()));
        let newest = sets.iter().position(|set| hash::is_same_template(&set.object, &deployment.spec.template));
        Some(Rollout {
            view,
            entry,
            before: deployment,
            deployment: Deployment::clone(deployment),
            newest,
            sets,
            limits: Limits::of(&deployment.spec),
            recheck_at: None,
            writes,
            events: Vec::new(),
        })
    }

    pub fn is_paused(&self) -> bool {
        self.deployment.spec.paused == Some(true)
    }

    pub fn newest(&self) -> Option<&Set<'a>> {
        self.newest.map(|at| &self.sets[at])
    }

    /// All but the newest, oldest first.
    pub fn old(&self) -> impl Iterator<Item = usize> + use<> {
        let newest = self.newest;
        (0..self.sets.len()).filter(move |at| Some(*at) != newest)
    }

    /// How many pods the sets are to have in all.
    pub fn replicas(&self) -> i32 {
        self.sets.iter().map(Set::replicas).sum()
    }

    /// Adds a set that is to be made.
    pub fn add(&mut self, object: ReplicaSet) {
        self.newest = Some(self.sets.len());
        self.sets.push(Set { origin: Origin::New, object, counts: Counts::default(), has_pods: false });
    }

    /// Gives a set another number of pods. Answers whether that is one.
    pub fn scale(&mut self, at: usize, replicas: i32) -> bool {
        let from = self.sets[at].replicas();
        revision::note_limits(&mut self.sets[at].object, &self.limits);
        if from == replicas {
            return false;
        }
        self.sets[at].object.spec.replicas = Some(replicas);
        let direction = if replicas > from { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {} from {from} to {replicas}", self.sets[at].name());
        self.events.push((at, draft::note::<Deployment>(self.entry, false, "ScalingReplicaSet", message)));
        true
    }

    pub fn delete(&mut self, at: usize) {
        if let Origin::Stored(entry, _) = self.sets[at].origin {
            self.sets[at].origin = Origin::Gone(entry);
        }
    }

    /// The deployment is always among the writes, if only to be checked, so that a plan for another spec is void.
    /// So are the active sets when one of them is scaled: what they hold together bounds each. What does not fit waits for the
    /// next plan, and with it what the deployment says of itself. Each set's write is safe without the others': what it
    /// may grow by, or give up, is reckoned from the pods that there are.
    pub fn into_plan(self) -> Plan {
        let mut room = Room::default();
        let mut writes: Vec<Write> = self.writes.into_iter().take_while(|write| room.takes(write)).collect();
        let mut written = BTreeSet::new();
        for (at, set) in self.sets.iter().enumerate().filter(|(_, set)| set.is_changed()) {
            // The others are not encoded only to learn that they do not fit either.
            if room.is_full() {
                break;
            }
            if let Some(write) = set.write(self.view.now).filter(|write| room.takes(write)) {
                writes.push(write);
                written.insert(at);
            }
        }
        let own = match room.is_full() || self.deployment == *self.before {
            true => draft::check(self.entry),
            false => draft::update(self.entry, &self.deployment),
        };
        let is_idle = writes.is_empty() && matches!(own, Write::Check { .. });
        if self.sets.iter().any(Set::is_scaled) {
            let others = self.sets.iter().enumerate().filter(|(at, _)| !written.contains(at));
            let left = (WRITES_MAX - 1).saturating_sub(writes.len());
            writes.extend(others.filter_map(|(_, set)| set.check()).take(left));
        }
        writes.push(own);
        let told = self.events.into_iter().filter(|(at, _)| written.contains(at));
        Plan {
            writes: if is_idle { Vec::new() } else { writes },
            events: told.map(|(_, note)| note).collect(),
            recheck_at: self.recheck_at,
            reason: format!(
                "{} sets, {} of {} pods",
                self.sets.len(),
                self.sets.iter().map(|set| set.counts.active).sum::<i32>(),
                self.limits.desired
            ),
        }
    }
}

impl<'a> Set<'a> {
    fn read(view: &View, entry: &'a Entry, set: &'a Arc<ReplicaSet>, deployment: &Deployment) -> Set<'a> {
        let pods: Vec<&Pod> =
            view.controlled_by(entry.uid()).filter_map(|entry| entry.pod().map(|pod| &**pod)).collect();
        let is_newest = hash::is_same_template(set, &deployment.spec.template);
        let min_ready = if is_newest { deployment.spec.min_ready_seconds } else { set.spec.min_ready_seconds };
        let active = pods.iter().copied().filter(|pod| is_active(pod));
        Set {
            origin: Origin::Stored(entry, set),
            object: ReplicaSet::clone(set),
            counts: Counts::of(active, min_ready.unwrap_or(0), view.now),
            has_pods: pods.iter().any(|pod| !is_finished(pod)),
        }
    }

    pub fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    pub fn created_at(&self) -> Timestamp {
        self.object.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0)
    }

    /// How many pods it is to have.
    pub fn replicas(&self) -> i32 {
        self.object.spec.replicas.unwrap_or(1)
    }

    /// How many pods it has or will have, whichever is more.
    pub fn held(&self) -> i32 {
        self.replicas().max(self.counts.active)
    }

    /// How many available pods will stay: those beyond the wanted number are as good as gone.
    pub fn available(&self) -> i32 {
        self.counts.available.min(self.replicas())
    }

    /// Stored, left as it is by this plan, holding nothing and about to hold nothing.
    pub fn is_spent(&self) -> bool {
        let Origin::Stored(entry, before) = self.origin else { return false };
        let status = before.status.clone().unwrap_or_default();
        let observed = status.observed_generation.unwrap_or(0) >= before.metadata.generation.unwrap_or(0);
        let empty = self.replicas() == 0 && !self.has_pods && status.replicas == 0;
        *before == self.object && empty && observed && !entry.is_terminating()
    }

    pub fn is_terminating(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }

    fn is_scaled(&self) -> bool {
        match self.origin {
            Origin::Stored(_, before) => before.spec.replicas != self.object.spec.replicas,
            Origin::New => true,
            Origin::Gone(_) => false,
        }
    }

    fn is_changed(&self) -> bool {
        match self.origin {
            Origin::Stored(_, before) => *before != self.object,
            Origin::New | Origin::Gone(_) => true,
        }
    }

    /// Of a set that is changed.
    fn write(&self, now: Timestamp) -> Option<Write> {
        match self.origin {
            Origin::Stored(entry, before) => {
                let mut object = self.object.clone();
                if object.spec != before.spec {
                    object.metadata.generation = Some(before.metadata.generation.unwrap_or(0) + 1);
                }
                Some(draft::update(entry, &object))
            }
            Origin::New => {
                let namespace = self.object.metadata.namespace.as_deref().unwrap_or_default();
                let key = api::Key::new("apps", "replicasets", namespace, self.name());
                Some(Write::Create { key, object: api::object::encode(&self.object) })
            }
            Origin::Gone(entry) => draft::delete(entry, &draft::in_background(), now),
        }
    }

    /// Of a set that is not written: that it has as many pods as was thought.
    fn check(&self) -> Option<Write> {
        match self.origin {
            Origin::Stored(entry, before) if self.replicas().max(before.spec.replicas.unwrap_or(1)) > 0 => {
                Some(draft::check(entry))
            }
            _ => None,
        }
    }
}

fn set_of(entry: &Entry) -> Option<(&Entry, &Arc<ReplicaSet>)> {
    entry.replica_set().map(|set| (entry, set))
}
