//! The bounds of Deployments that roll, as far as their controllers decide: never more Pods asked for than desired and
//! surge, and no step gives up an available Pod that is needed. A step is judged by what its controller can have seen:
//! some state since the objects that the step insists on were last changed. Nodes that die are not its decision. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use raft::{Change, Revision};
use serde::de::DeserializeOwned;

const DEPLOYMENTS: &str = "apps/deployments/";
const SETS: &str = "apps/replicasets/";
const PODS: &str = "core/pods/";

/// The objects as of one revision. One Deployment and its like.
#[derive(Clone, Default)]
struct View {
    wanted: Option<Wanted>,
    /// By uid.
    sets: BTreeMap<String, Set>,
    /// By key.
    pods: BTreeMap<String, Fact>,
}

#[derive(Clone)]
struct Wanted {
    at: Revision,
    desired: i64,
    surge: i64,
    unavailable: i64,
}

#[derive(Clone)]
struct Set {
    at: Revision,
    key: String,
    replicas: i64,
}

#[derive(Clone)]
struct Fact {
    set: String,
    ready: bool,
}

/// `history`: every change from the first on, in order, with no gap.
pub fn check(history: &[Change]) -> Result<(), String> {
    let mut views = vec![View::default()];
    let together =
        |one: &Change, other: &Change| one.author == other.author && one.proposed_at_ms == other.proposed_at_ms;
    for step in history.chunk_by(together) {
        let before = views.len() - 1;
        for change in step {
            let mut next = views[views.len() - 1].clone();
            next.take(change);
            views.push(next);
        }
        let judged = match step[0].author.as_str() {
            "system:kontiki:deployment" => scaled(&views, before),
            "system:kontiki:replicaset" => changed_pods(&views, before),
            _ => Ok(()),
        };
        judged.map_err(|why| format!("{} at revision {}: {why}", step[0].author, step[0].revision))?;
    }
    Ok(())
}

/// The Deployment's controller gave sets other numbers. It insists on the Deployment and on the sets in use.
fn scaled(views: &[View], before: usize) -> Result<(), String> {
    let (had, has) = (&views[before], &views[views.len() - 1]);
    let Some(wanted) = &had.wanted else { return Ok(()) };
    let asked = |view: &View| view.sets.values().map(|set| set.replicas).sum::<i64>();
    let most = asked(had).max(wanted.desired + wanted.surge);
    if asked(has) > most {
        return Err(format!("{} Pods are asked for, {most} are allowed", asked(has)));
    }
    let since = had.sets.values().filter(|set| set.replicas > 0).map(|set| set.at).max().unwrap_or(0);
    justified(views, since.max(wanted.at), before, |seen| {
        let mut then = seen.clone();
        then.sets.clone_from(&has.sets);
        then
    })
}

/// A ReplicaSet's controller made Pods or gave some up. It insists on its set.
fn changed_pods(views: &[View], before: usize) -> Result<(), String> {
    let (had, has) = (&views[before], &views[views.len() - 1]);
    let gone: BTreeSet<&String> = had.pods.keys().filter(|key| !has.pods.contains_key(*key)).collect();
    let made = has.pods.iter().filter(|(key, _)| !had.pods.contains_key(*key)).map(|(_, fact)| fact);
    for set in made.map(|fact| &fact.set) {
        let count = |view: &View| view.pods.values().filter(|fact| fact.set == *set).count() as i64;
        let replicas = had.sets.get(set).map_or(0, |set| set.replicas);
        if count(has) > replicas.max(count(had)) {
            return Err(format!("{} Pods are made, {replicas} were asked for", count(has)));
        }
    }
    let owners = gone.iter().filter_map(|key| had.sets.get(&had.pods[*key].set));
    let Some(since) = owners.map(|set| set.at).max() else { return Ok(()) };
    justified(views, since, before, |seen| {
        let mut then = seen.clone();
        then.pods.retain(|key, _| !gone.contains(key));
        then
    })
}

/// Some state from `since` to `before` must justify the step: what stays is enough, or nothing available is given up.
fn justified(views: &[View], since: Revision, before: usize, step: impl Fn(&View) -> View) -> Result<(), String> {
    let mut worst = String::new();
    for seen in views[since as usize..=before].iter().rev() {
        let Some(wanted) = &seen.wanted else { return Ok(()) };
        let (had, stays) = (seen.available(), step(seen).available());
        let enough = wanted.desired - wanted.unavailable;
        if stays >= had.min(enough) {
            return Ok(());
        }
        worst = format!("of {had} available Pods {stays} stay, {enough} must, whichever state since {since} it saw");
    }
    Err(worst)
}

impl View {
    fn take(&mut self, change: &Change) {
        let key = String::from_utf8_lossy(&change.key).into_owned();
        let value = change.value.as_deref();
        if key.starts_with(DEPLOYMENTS) {
            self.wanted = parse::<Deployment>(value).map(|deployment| Wanted::of(&deployment, change.revision));
        } else if key.starts_with(SETS) {
            self.sets.retain(|_, set| set.key != key);
            if let Some(set) = parse::<ReplicaSet>(value) {
                let replicas = i64::from(set.spec.replicas.unwrap_or(1));
                self.sets.insert(uid(&set.metadata), Set { at: change.revision, key, replicas });
            }
        } else if key.starts_with(PODS) {
            match parse::<Pod>(value).and_then(|pod| Fact::of(&pod)) {
                Some(fact) => self.pods.insert(key, fact),
                None => self.pods.remove(&key),
            };
        }
    }

    /// Those beyond the number that their set is to have are as good as gone.
    fn available(&self) -> i64 {
        let of = |uid: &String| self.pods.values().filter(|fact| fact.set == *uid && fact.ready).count() as i64;
        self.sets.iter().map(|(uid, set)| of(uid).min(set.replicas)).sum()
    }
}

impl Wanted {
    fn of(deployment: &Deployment, at: Revision) -> Wanted {
        let desired = i64::from(deployment.spec.replicas.unwrap_or(1));
        let rolling = deployment.spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let share = |given: Option<&IntOrString>, rounding: i64| match given {
            Some(IntOrString::Int(number)) => i64::from(*number),
            Some(IntOrString::String(text)) => {
                let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
                (percent * desired + rounding) / 100
            }
            None => 0,
        };
        let surge = share(rolling.and_then(|rolling| rolling.max_surge.as_ref()), 99);
        let unavailable = share(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), 0);
        // With no room at all nothing would ever move.
        let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
        Wanted { at, desired, surge, unavailable }
    }
}

impl Fact {
    /// `None`: it is over, or on its way out.
    fn of(pod: &Pod) -> Option<Fact> {
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
        if pod.metadata.deletion_timestamp.is_some() || matches!(phase, "Succeeded" | "Failed") {
            return None;
        }
        let owner = pod.metadata.owner_references.iter().flatten().find(|owner| owner.kind == "ReplicaSet")?;
        let mut conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
        let ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
        Some(Fact { set: owner.uid.clone(), ready })
    }
}

fn parse<T: DeserializeOwned>(value: Option<&[u8]>) -> Option<T> {
    serde_json::from_slice(value?).ok()
}

fn uid(meta: &ObjectMeta) -> String {
    meta.uid.clone().unwrap_or_default()
}

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod tests;
