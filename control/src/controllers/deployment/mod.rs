//! The Deployment controller: moves from one ReplicaSet to the next, within bounds. Pure, decides.
//!
//! - [`rollout`]: what a plan is made from, and into: the deployment, its sets, their pods;
//! - [`revision`]: the set of the present template, made, found again and numbered;
//! - [`rolling`] and [`recreate`]: the two strategies, one step at a time;
//! - [`scale`]: another number of replicas in the middle of it all;
//! - [`history`]: old sets that are no longer kept;
//! - [`status`] and [`conditions`]: what it says of itself;
//! - [`limits`]: how many more and how many fewer pods there may be.

mod conditions;
mod hash;
mod history;
mod limits;
mod recreate;
mod revision;
mod rolling;
mod rollout;
mod scale;
mod status;

use api::Key;
use api::selector::LabelSelector;
use k8s_openapi::api::apps::v1::Deployment;

use crate::view::{Change, Entry, View};
use crate::{Controller, Plan};
use rollout::Rollout;

pub struct Deployments;

impl Controller for Deployments {
    fn name(&self) -> &'static str {
        "deployment"
    }

    fn affected(&self, change: &Change, view: &View) -> Vec<Key> {
        let mut keys: Vec<Key> = match change.key.kind() {
            ("apps", "deployments") => vec![change.key.clone()],
            ("apps", "replicasets") => {
                let orphan = change.after.iter().filter(|set| set.controller().is_none());
                change.sides().filter_map(owner_of).chain(orphan.flat_map(|set| suitors(view, set))).collect()
            }
            ("", "pods") => {
                let owners = change.sides().filter_map(Entry::controller);
                owners.filter_map(|owner| owner_of(view.with_uid(&owner.uid)?)).collect()
            }
            _ => Vec::new(),
        };
        keys.sort();
        keys.dedup();
        keys
    }

    fn plan(&self, view: &View, key: &Key) -> Plan {
        let found = view.get(key).and_then(|entry| Some((entry, entry.deployment()?)));
        let Some(mut rollout) = found.and_then(|(entry, deployment)| Rollout::read(view, entry, deployment)) else {
            return Plan::default();
        };
        step(&mut rollout);
        rollout.into_plan()
    }
}

/// One step towards the desired state; the changes that it makes wake the next.
fn step(rollout: &mut Rollout) {
    if rollout.entry.is_terminating() {
        return status::count(rollout);
    }
    conditions::note_pause(rollout);
    if rollout.is_paused() {
        revision::sync(rollout, false);
        scale::to_desired(rollout);
        history::clean_up(rollout);
        return status::count(rollout);
    }
    if scale::is_due(rollout) {
        revision::sync(rollout, false);
        scale::to_desired(rollout);
        return status::count(rollout);
    }
    if rollout.limits.recreate {
        recreate::step(rollout)
    } else {
        rolling::step(rollout)
    }
    status::progress(rollout);
    if status::is_complete(rollout) {
        history::clean_up(rollout);
    }
}

/// The deployment that controls a set, by name.
fn owner_of(set: &Entry) -> Option<Key> {
    let owner = set.controller().filter(|owner| owner.kind == "Deployment")?;
    Some(Key::new("apps", "deployments", &set.key.namespace, &owner.name))
}

/// The deployments that would adopt an orphaned set.
fn suitors<'a>(view: &'a View, orphan: &'a Entry) -> impl Iterator<Item = Key> + 'a {
    let selects = |entry: &&Entry| {
        let selector = entry.deployment().and_then(|deployment| selector(deployment));
        selector.is_some_and(|selector| selector.matches_optional(orphan.meta.labels.as_ref()))
    };
    view.deployments_in(&orphan.key.namespace).filter(selects).map(|entry| Key::clone(&entry.key))
}

/// One that selects everything would rob everybody; validation lets none in.
fn selector(deployment: &Deployment) -> Option<LabelSelector> {
    let selector = LabelSelector::from_object(&deployment.spec.selector).ok()?;
    Some(selector).filter(|selector| !selector.is_everything())
}
