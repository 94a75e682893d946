//! The Namespace controller: gives every namespace its service account, and empties those that are to go.
//! Pure, decides.

use std::collections::BTreeMap;

use api::Key;
use api::deletion::{FOREGROUND, KUBERNETES, ORPHAN};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::draft;
use crate::plan::Room;
use crate::scheduler::facts::is_finished;
use crate::view::{Change, Entry, View};
use crate::{Controller, Plan, Write};

/// The service account of pods that name none.
const SERVICE_ACCOUNT: &str = "default";

pub struct Namespaces;

impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "namespace"
    }

    fn affected(&self, change: &Change, view: &View) -> Vec<Key> {
        if change.is_of("", "namespaces") {
            return vec![change.key.clone()];
        }
        let Some(entry) = view.namespace(&change.key.namespace) else { return Vec::new() };
        let is_account = change.is_of("", "serviceaccounts") && change.key.name == SERVICE_ACCOUNT;
        match entry.is_terminating() || is_account {
            true => vec![Key::clone(&entry.key)],
            false => Vec::new(),
        }
    }

    fn plan(&self, view: &View, key: &Key) -> Plan {
        match view.get(key).and_then(|entry| Some((entry, entry.namespace()?))) {
            Some((entry, namespace)) if entry.is_terminating() => empty(view, entry, namespace),
            Some((entry, _)) => furnish(view, entry),
            None => Plan::default(),
        }
    }
}

fn furnish(view: &View, entry: &Entry) -> Plan {
    let key = Key::new("", "serviceaccounts", &entry.key.name, SERVICE_ACCOUNT);
    if view.get(&key).is_some() {
        return Plan::default();
    }
    let account = ServiceAccount {
        metadata: ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    };
    Plan {
        writes: vec![draft::check(entry), Write::Create { key, object: api::object::encode(&account) }],
        reason: "the namespace lacks its service account".into(),
        ..Plan::default()
    }
}

/// Deletes a batch of what is inside; when that leaves nothing, lets the namespace go with it. What is left is told by
/// a plan that deletes nothing: a status that grows is refused while disks are short of room, and deletes are not.
fn empty(view: &View, entry: &Entry, namespace: &Namespace) -> Plan {
    let mut next = namespace.clone();
    let mut remaining = Remaining::default();
    let mut writes = Vec::new();
    let mut room = Room::default();
    for found in view.in_namespace(&entry.key.name) {
        if !room.is_full()
            && !is_going(found)
            && let Some(write) = draft::delete(found, &draft::in_background(), view.now)
            && room.takes(&write)
        {
            let is_gone = matches!(write, Write::Delete { .. });
            writes.push(write);
            if is_gone {
                continue;
            }
        }
        remaining.count(found);
    }
    let status = next.status.get_or_insert_default();
    status.phase = Some("Terminating".into());
    let standing = status.conditions.take().unwrap_or_default();
    status.conditions = Some(remaining.conditions(&standing, view.now));
    if remaining.kinds.is_empty() {
        let spec = next.spec.get_or_insert_default();
        spec.finalizers.get_or_insert_default().retain(|finalizer| finalizer != KUBERNETES);
        spec.finalizers.take_if(|finalizers| finalizers.is_empty());
    }
    let own = (next != *namespace).then(|| draft::update(entry, &next));
    let ends = matches!(own, Some(Write::Delete { .. }));
    if ends || writes.is_empty() {
        writes.extend(own);
    } else {
        writes.push(draft::check(entry));
    }
    let left: usize = remaining.kinds.values().sum();
    Plan { writes, reason: format!("{left} objects are left in the namespace"), ..Plan::default() }
}

/// To delete it again would change nothing. While a large namespace goes, most of it is like this, and each object that
/// goes wakes a plan: so the objects are not encoded only to learn it.
fn is_going(entry: &Entry) -> bool {
    let keeps_others = |finalizer: &String| finalizer == FOREGROUND || finalizer == ORPHAN;
    entry.is_terminating()
        && !entry.finalizers().iter().any(keeps_others)
        && !entry.pod().is_some_and(|pod| is_finished(pod))
}

/// What is not gone yet, counted.
#[derive(Default)]
struct Remaining {
    kinds: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
}

impl Remaining {
    fn count(&mut self, entry: &Entry) {
        let resource = match &*entry.key.group {
            "" => entry.key.resource.to_string(),
            group => format!("{}.{group}", entry.key.resource),
        };
        *self.kinds.entry(resource).or_default() += 1;
        for finalizer in entry.finalizers() {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
    }

    /// All five, always, in the words of Kubernetes.
    fn conditions(&self, standing: &[NamespaceCondition], now: Timestamp) -> Vec<NamespaceCondition> {
        let list = |counts: &BTreeMap<String, usize>, what: &str| {
            let items = counts.iter().map(|(name, count)| format!("{name} {what} {count} resource instances"));
            items.collect::<Vec<_>>().join(", ")
        };
        let (content, finalizers);
        let remaining = if self.kinds.is_empty() {
            ("False", "ContentRemoved", "All content successfully removed")
        } else {
            content = format!("Some resources are remaining: {}", list(&self.kinds, "has"));
            ("True", "SomeResourcesRemain", content.as_str())
        };
        let held = if self.finalizers.is_empty() {
            ("False", "ContentHasNoFinalizers", "All content-preserving finalizers finished")
        } else {
            finalizers =
                format!("Some content in the namespace has finalizers remaining: {}", list(&self.finalizers, "in"));
            ("True", "SomeFinalizersRemain", finalizers.as_str())
        };
        let deleted = "All content successfully deleted, may be waiting on finalization";
        [
            (
                "NamespaceDeletionDiscoveryFailure",
                ("False", "ResourcesDiscovered", "All resources successfully discovered"),
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                ("False", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
            ),
            ("NamespaceDeletionContentFailure", ("False", "ContentDeleted", deleted)),
            ("NamespaceContentRemaining", remaining),
            ("NamespaceFinalizersRemaining", held),
        ]
        .map(|(type_, said)| condition(standing, type_, said, now))
        .to_vec()
    }
}

/// A message that differs only in its numbers is no news: else every object that goes would cost two writes.
fn condition(
    standing: &[NamespaceCondition],
    type_: &str,
    (is, reason, message): (&str, &str, &str),
    now: Timestamp,
) -> NamespaceCondition {
    let words = |text: &str| text.split(|c: char| c.is_ascii_digit()).collect::<String>();
    let before = standing.iter().find(|condition| condition.type_ == type_);
    match before {
        Some(before)
            if before.status == is
                && before.reason.as_deref() == Some(reason)
                && words(before.message.as_deref().unwrap_or_default()) == words(message) =>
        {
            before.clone()
        }
        _ => NamespaceCondition {
            type_: type_.into(),
            status: is.into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_transition_time: match before.filter(|before| before.status == is) {
                Some(before) => before.last_transition_time.clone(),
                None => Some(Time(now)),
            },
        },
    }
}
