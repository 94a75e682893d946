//! How the agent's loop takes in what it is told: assignments, containers seen, answers of probes. Decides which Pods
//! have to be decided anew, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::entry::Entry;
use super::run::Agent;
use crate::pod::{pod_of, uid};
use crate::probe::Verdict;
use crate::runtime::{Container, ContainerId};
use crate::session::Work;
use crate::sync::{Note, ProbeKind};

impl Agent {
    /// Takes over a new assignment: wakes the Pods that it changes, or whose objects it changes.
    pub(super) fn assign(&mut self, newest: Option<Arc<Work>>) {
        let Some(newest) = newest else { return };
        let now = self.now();
        if newest.is_remembered {
            tracing::info!("what ran here before goes on; Pods whose names come back begin on a leader's word");
        }
        let before = self.work.replace(newest.clone());
        let is_confirmed = !newest.is_remembered && before.as_ref().is_some_and(|before| before.is_remembered);
        let others_changed = before.is_none_or(|before| {
            ["configmaps", "secrets", "services"].iter().any(|plural| !before.of(plural).eq(newest.of(plural)))
        });
        let (mut assigned, mut unread) = (BTreeSet::new(), BTreeSet::new());
        for (key, json) in newest.of("pods") {
            let standing = self.entries.iter().find(|(_, entry)| !entry.json.is_empty() && entry.json == *json);
            if let Some((uid, _)) = standing {
                assigned.insert(uid.clone());
                continue;
            }
            let Some(pod) = pod_of(json).filter(|pod| !uid(pod).is_empty()) else {
                tracing::error!(key, "an assigned Pod cannot be read: what runs of it is left alone");
                unread.insert(key.to_owned());
                continue;
            };
            let uid = uid(&pod).to_owned();
            assigned.insert(uid.clone());
            self.dirty.insert(uid.clone());
            match self.entries.get_mut(&uid) {
                Some(entry) if !entry.json.is_empty() => entry.renew(pod, json.clone(), now),
                // Its containers were seen before it was assigned.
                Some(entry) => {
                    let containers = std::mem::take(&mut entry.containers);
                    *entry = Entry { containers, ..Entry::new(pod, json.clone()) };
                }
                None => {
                    self.entries.insert(uid, Entry::new(pod, json.clone()));
                }
            }
        }
        for (uid, entry) in &mut self.entries {
            // Which Pod has the name now is not known: whoever had it stays what it was.
            let is_unread = !unread.is_empty() && unread.contains(&entry.key());
            let removed = if is_unread { entry.removed } else { !assigned.contains(uid) };
            if removed != entry.removed || others_changed || removed || is_confirmed {
                entry.removed = removed;
                self.dirty.insert(uid.clone());
            }
        }
        self.unread = unread;
    }

    pub(super) fn seen(&mut self, at: Instant, id: ContainerId, container: Option<Box<Container>>) {
        self.dirty.extend(self.unseen.remove(&id));
        let Some(container) = container else {
            if let Some(uid) = self.owners.remove(&id) {
                if let Some(entry) = self.entries.get_mut(&uid) {
                    entry.containers.remove(&id);
                }
                self.dirty.insert(uid);
            }
            return;
        };
        if !container.labels.belongs_to(&self.hands.host.owner) {
            return;
        }
        let uid = container.labels.pod_uid.clone();
        let entry = self.entries.entry(uid.clone()).or_insert_with(|| Entry::orphan(&container.labels));
        let is_older = entry.containers.get(&id).is_some_and(|(seen_at, _)| *seen_at > at);
        if is_older {
            return;
        }
        self.owners.insert(id.clone(), uid.clone());
        entry.containers.insert(id, (at, *container));
        self.dirty.insert(uid);
    }

    pub(super) fn listed(
        &mut self,
        at: Instant,
        ids: &BTreeSet<ContainerId>,
        mut unseen: BTreeMap<ContainerId, String>,
    ) {
        if !self.listed {
            self.listed = true;
            self.dirty.extend(self.entries.keys().cloned());
        }
        // Of those that were seen before, what was seen stands.
        unseen.retain(|id, _| !self.owners.contains_key(id));
        if unseen != self.unseen {
            self.dirty.extend(self.unseen.values().chain(unseen.values()).cloned());
            self.unseen = unseen;
        }
        for (uid, entry) in &mut self.entries {
            let before = entry.containers.len();
            entry.containers.retain(|id, (seen_at, _)| *seen_at >= at || ids.contains(id));
            if entry.containers.len() != before {
                self.dirty.insert(uid.clone());
            }
        }
        let entries = &self.entries;
        self.owners.retain(|id, uid| entries.get(uid).is_some_and(|entry| entry.containers.contains_key(id)));
    }

    pub(super) fn probed(
        &mut self,
        uid: String,
        container: String,
        id: ContainerId,
        kind: ProbeKind,
        verdict: Verdict,
    ) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        // A probe that was stopped meanwhile has no say.
        if !entry.probes.contains_key(&(id.clone(), kind)) {
            return;
        }
        match verdict {
            Verdict::Success => entry.memory.note_probe(&id, kind, true, ""),
            Verdict::Failure(message) => entry.memory.note_probe(&id, kind, false, &message),
            Verdict::Missed(message) => {
                let text = format!("{} probe failed: {message}", kind.word());
                self.tell(&uid, &Note::warning("Unhealthy", text).of(&container));
                return;
            }
            Verdict::Unasked(message) => {
                let text = format!("{} probe errored and resulted in unknown state: {message}", kind.word());
                self.tell(&uid, &Note::warning("Unhealthy", text).of(&container));
                return;
            }
        }
        self.dirty.insert(uid);
    }
}
