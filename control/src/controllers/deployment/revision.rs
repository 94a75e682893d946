//! The set of the present template: found again or made, and numbered. Pure, decides.

use std::collections::BTreeMap;

use api::Key;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::super::draft;
use super::limits::Limits;
use super::rolling;
use super::rollout::{Rollout, Set};
use super::{conditions, hash};

/// The number of a revision: what `kubectl rollout history` lists.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// The numbers that a set had before, if it was rolled back to.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of the deployment that are not its sets'.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
];
const REVISION_HISTORY_BYTES_MAX: usize = 2000;

/// Brings the newest set's number and annotations up to date, and makes the set if it is missing and `create`.
pub fn sync(rollout: &mut Rollout, create: bool) {
    let number = rollout.old().map(|at| revision_of(&rollout.sets[at].object)).max().unwrap_or(0) + 1;
    match rollout.newest {
        Some(at) => {
            refresh(&rollout.deployment, &mut rollout.sets[at].object, number);
            let name = rollout.sets[at].name().to_string();
            conditions::note_found(rollout, &name);
        }
        None if create && draft::accepts_objects(rollout.view, &rollout.entry.key.namespace) => make(rollout, number),
        None => return,
    }
    let revision = rollout.newest().map(|set| revision_of(&set.object)).unwrap_or(number);
    set_annotation(&mut rollout.deployment.metadata, REVISION, revision.to_string());
}

/// Notes for how many replicas in all a set was given its share.
pub fn note_limits(set: &mut ReplicaSet, limits: &Limits) {
    set_annotation(&mut set.metadata, DESIRED_REPLICAS, limits.desired.to_string());
    set_annotation(&mut set.metadata, MAX_REPLICAS, limits.max().to_string());
}

pub fn desired_noted(set: &ReplicaSet) -> Option<i32> {
    annotation(set, DESIRED_REPLICAS)?.parse().ok()
}

pub fn max_noted(set: &ReplicaSet) -> Option<i32> {
    annotation(set, MAX_REPLICAS)?.parse().ok()
}

/// 0 for sets that have no number.
pub fn revision_of(set: &ReplicaSet) -> i64 {
    annotation(set, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn refresh(deployment: &Deployment, set: &mut ReplicaSet, number: i64) {
    set.spec.min_ready_seconds = deployment.spec.min_ready_seconds;
    copy_annotations(deployment, set);
    let before = revision_of(set);
    if before >= number {
        return;
    }
    if before > 0 {
        let history = annotation(set, REVISION_HISTORY).unwrap_or_default();
        let mut numbers: Vec<&str> = history.split(',').filter(|text| !text.is_empty()).collect();
        let added = before.to_string();
        numbers.push(&added);
        while numbers.join(",").len() > REVISION_HISTORY_BYTES_MAX {
            numbers.remove(0);
        }
        let history = numbers.join(",");
        set_annotation(&mut set.metadata, REVISION_HISTORY, history);
    }
    set_annotation(&mut set.metadata, REVISION, number.to_string());
}

fn make(rollout: &mut Rollout, number: i64) {
    let deployment = &rollout.deployment;
    let mut collisions = deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
    let (hash, key) = loop {
        let hash = hash::hash(&deployment.spec.template, collisions);
        let name = format!("{}-{hash}", rollout.entry.key.name);
        let key = Key::new("apps", "replicasets", &rollout.entry.key.namespace, &name);
        // Somebody else's set, or one of another template, has the name.
        if rollout.view.get(&key).is_none() {
            break (hash, key);
        }
        collisions += 1;
    };
    let mut set = blank(deployment, &hash, &key);
    set.metadata.owner_references = Some(vec![draft::controller_of::<Deployment>(rollout.entry)]);
    copy_annotations(deployment, &mut set);
    set_annotation(&mut set.metadata, REVISION, number.to_string());
    if collisions > 0 {
        rollout.deployment.status.get_or_insert_default().collision_count = Some(collisions);
    }
    rollout.add(set);
    let at = rollout.newest.expect("a set was just added");
    let replicas = rolling::room_for_newest(rollout);
    rollout.scale(at, replicas);
    conditions::note_created(rollout, &key.name);
}

fn blank(deployment: &Deployment, hash: &str, key: &Key) -> ReplicaSet {
    let label = (hash::POD_TEMPLATE_HASH.to_string(), hash.to_string());
    let mut template = deployment.spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(label.0.clone(), label.1.clone());
    let labels = labels.clone();
    let mut selector = deployment.spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(label.0, label.1);
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            labels: Some(labels),
            generation: Some(1),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            min_ready_seconds: deployment.spec.min_ready_seconds,
            replicas: Some(0),
            selector,
            template: Some(template),
        },
        status: Some(Default::default()),
    }
}

fn copy_annotations(deployment: &Deployment, set: &mut ReplicaSet) {
    let given = deployment.metadata.annotations.iter().flatten();
    for (name, value) in given.filter(|(name, _)| !NOT_COPIED.contains(&name.as_str())) {
        set_annotation(&mut set.metadata, name, value.clone());
    }
}

fn annotation<'a>(set: &'a ReplicaSet, name: &str) -> Option<&'a str> {
    let annotations: &BTreeMap<String, String> = set.metadata.annotations.as_ref()?;
    annotations.get(name).map(String::as_str)
}

fn set_annotation(meta: &mut ObjectMeta, name: &str, value: String) {
    meta.annotations.get_or_insert_default().insert(name.into(), value);
}

/// Oldest revision first.
pub fn by_revision(set: &Set) -> impl Ord + use<> {
    (revision_of(&set.object), set.created_at(), set.name().to_string())
}
