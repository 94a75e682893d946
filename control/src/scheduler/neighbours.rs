//! Pod affinity and anti-affinity: whom a pod wants near it, and who does not want it near. Pure, decides.

use std::collections::{BTreeMap, BTreeSet};

use api::selector::LabelSelector;
use k8s_openapi::api::core::v1::PodAffinityTerm;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use super::cluster::{Cluster, Room};
use super::facts::Facts;
use super::reasons::Reason;

/// A topology key and the value that a group of nodes has for it.
type Domain = (String, String);

#[derive(Default)]
pub struct Neighbours {
    /// Of each term, the values of its topology key where somebody matches.
    wanted: Vec<(String, BTreeSet<String>)>,
    /// Nobody matches yet but the pod itself would: it may found the group anywhere.
    founds: bool,
    shunned: BTreeSet<Domain>,
    closed_by_others: BTreeSet<Domain>,
    preferred: BTreeMap<Domain, i64>,
}

impl Neighbours {
    pub fn of(pod: &Facts, cluster: &Cluster) -> Neighbours {
        let mut neighbours = Neighbours { closed_by_others: closed_by_others(pod, cluster), ..Neighbours::default() };
        neighbours.want(pod, cluster);
        for term in required(pod, Side::Anti) {
            let term = Term::new(term, pod, cluster);
            neighbours.shunned.extend(matching_domains(&term, cluster).into_keys());
        }
        for (sign, side) in [(1, Side::Affinity), (-1, Side::Anti)] {
            for (weight, term) in preferred(pod, side) {
                let term = Term::new(term, pod, cluster);
                for (domain, pods) in matching_domains(&term, cluster) {
                    *neighbours.preferred.entry(domain).or_default() += sign * i64::from(weight) * pods as i64;
                }
            }
        }
        neighbours
    }

    /// Only pods that match all the terms count, as in Kubernetes.
    fn want(&mut self, pod: &Facts, cluster: &Cluster) {
        let terms: Vec<Term> = required(pod, Side::Affinity).map(|term| Term::new(term, pod, cluster)).collect();
        if terms.is_empty() {
            return;
        }
        self.wanted = terms.iter().map(|term| (term.topology_key.clone(), BTreeSet::new())).collect();
        for (_, room) in cluster.nodes() {
            if room.pods().any(|other| terms.iter().all(|term| term.matches(other))) {
                for (key, values) in &mut self.wanted {
                    values.extend(room.labels().get(key).cloned());
                }
            }
        }
        let nobody = self.wanted.iter().all(|(_, values)| values.is_empty());
        self.founds = nobody && terms.iter().all(|term| term.matches(pod));
    }

    pub fn against(&self, room: &Room) -> Option<Reason> {
        let labels = room.labels();
        let near = |(key, values): &(String, BTreeSet<String>)| {
            labels.get(key).is_some_and(|value| self.founds || values.contains(value))
        };
        let within = |domains: &BTreeSet<Domain>| domains.iter().any(|(key, value)| labels.get(key) == Some(value));
        if !self.wanted.iter().all(near) {
            return Some(Reason::PodAffinity);
        }
        if within(&self.shunned) {
            return Some(Reason::PodAntiAffinity);
        }
        within(&self.closed_by_others).then_some(Reason::OthersAntiAffinity)
    }

    /// The weights of the preferences that this node meets, summed.
    pub fn preference(&self, room: &Room) -> i64 {
        let met = self.preferred.iter().filter(|((key, value), _)| room.labels().get(key) == Some(value));
        met.map(|(_, weight)| weight).sum()
    }
}

#[derive(Clone, Copy)]
enum Side {
    Affinity,
    Anti,
}

fn required(pod: &Facts, side: Side) -> impl Iterator<Item = &PodAffinityTerm> {
    let affinity = pod.spec().affinity.as_ref();
    let terms = match side {
        Side::Affinity => affinity
            .and_then(|affinity| affinity.pod_affinity.as_ref())
            .and_then(|terms| terms.required_during_scheduling_ignored_during_execution.as_ref()),
        Side::Anti => affinity
            .and_then(|affinity| affinity.pod_anti_affinity.as_ref())
            .and_then(|terms| terms.required_during_scheduling_ignored_during_execution.as_ref()),
    };
    terms.into_iter().flatten()
}

fn preferred(pod: &Facts, side: Side) -> impl Iterator<Item = (i32, &PodAffinityTerm)> {
    let affinity = pod.spec().affinity.as_ref();
    let terms = match side {
        Side::Affinity => affinity
            .and_then(|affinity| affinity.pod_affinity.as_ref())
            .and_then(|terms| terms.preferred_during_scheduling_ignored_during_execution.as_ref()),
        Side::Anti => affinity
            .and_then(|affinity| affinity.pod_anti_affinity.as_ref())
            .and_then(|terms| terms.preferred_during_scheduling_ignored_during_execution.as_ref()),
    };
    terms.into_iter().flatten().map(|term| (term.weight, &term.pod_affinity_term))
}

/// Required anti-affinity works both ways: where somebody lives who does not want this pod.
fn closed_by_others(pod: &Facts, cluster: &Cluster) -> BTreeSet<Domain> {
    let mut closed = BTreeSet::new();
    for (other, room) in cluster.hermits() {
        for term in required(other, Side::Anti) {
            if let Some(value) = room.labels().get(&term.topology_key)
                && Term::new(term, other, cluster).matches(pod)
            {
                closed.insert((term.topology_key.clone(), value.clone()));
            }
        }
    }
    closed
}

fn matching_domains(term: &Term, cluster: &Cluster) -> BTreeMap<Domain, usize> {
    let mut domains = BTreeMap::new();
    for (_, room) in cluster.nodes() {
        let Some(value) = room.labels().get(&term.topology_key) else { continue };
        let matching = room.pods().filter(|other| term.matches(other)).count();
        if matching > 0 {
            *domains.entry((term.topology_key.clone(), value.clone())).or_default() += matching;
        }
    }
    domains
}

/// A term, ready to be compared with pods.
struct Term {
    topology_key: String,
    namespaces: Namespaces,
    selector: LabelSelector,
}

enum Namespaces {
    All,
    These(BTreeSet<String>),
}

impl Term {
    fn new(term: &PodAffinityTerm, of: &Facts, cluster: &Cluster) -> Term {
        let selector = narrowed(
            term.label_selector.as_ref(),
            of,
            term.match_label_keys.as_deref(),
            term.mismatch_label_keys.as_deref(),
        );
        Term { topology_key: term.topology_key.clone(), namespaces: namespaces(term, of, cluster), selector }
    }

    fn matches(&self, pod: &Facts) -> bool {
        let inside = match &self.namespaces {
            Namespaces::All => true,
            Namespaces::These(names) => names.contains(pod.namespace()),
        };
        inside && self.selector.matches(pod.labels())
    }
}

/// Neither names nor a selector: the pod's own namespace. An empty selector: all of them.
fn namespaces(term: &PodAffinityTerm, of: &Facts, cluster: &Cluster) -> Namespaces {
    let mut names: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
    match &term.namespace_selector {
        None if names.is_empty() => Namespaces::These(BTreeSet::from([of.namespace().to_string()])),
        None => Namespaces::These(names),
        Some(selector) => match LabelSelector::from_object(selector) {
            Ok(selector) if selector.is_everything() => Namespaces::All,
            Ok(selector) => {
                names.extend(cluster.namespaces_where(|labels| selector.matches(labels)));
                Namespaces::These(names)
            }
            Err(_) => Namespaces::These(names),
        },
    }
}

/// A selector, with the pod's own values for `match_keys` added and those for `mismatch_keys` excluded.
/// One that does not parse matches nobody (validation refuses it at the door).
pub fn narrowed(
    selector: Option<&meta::LabelSelector>,
    of: &Facts,
    match_keys: Option<&[String]>,
    mismatch_keys: Option<&[String]>,
) -> LabelSelector {
    let Some(mut selector) = selector.cloned() else { return LabelSelector::nothing() };
    for (keys, operator) in [(match_keys, "In"), (mismatch_keys, "NotIn")] {
        for key in keys.unwrap_or_default() {
            let Some(value) = of.labels().get(key) else { continue };
            selector.match_expressions.get_or_insert_default().push(meta::LabelSelectorRequirement {
                key: key.clone(),
                operator: operator.into(),
                values: Some(vec![value.clone()]),
            });
        }
    }
    LabelSelector::from_object(&selector).unwrap_or_else(|_| LabelSelector::nothing())
}
