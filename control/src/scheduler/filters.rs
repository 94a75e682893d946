//! The filters: everything that rules one node out for one pod. Pure, decides.

use k8s_openapi::api::core::v1::Taint;

use super::cluster::{Cluster, Room};
use super::facts::Facts;
use super::neighbours::Neighbours;
use super::reasons::Reason;
use super::spread::Spread;
use super::{node_affinity, taints};

/// A pod with what the filters and scores need to know of the whole cluster, worked out once for all nodes.
pub struct Question<'a> {
    pub pod: &'a Facts,
    pub neighbours: Neighbours,
    pub spread: Spread,
}

impl<'a> Question<'a> {
    pub fn new(pod: &'a Facts, cluster: &Cluster) -> Question<'a> {
        Question { pod, neighbours: Neighbours::of(pod, cluster), spread: Spread::of(pod, cluster) }
    }
}

/// The first filter that objects gives the reasons; none means that the node would do.
pub fn against(question: &Question, name: &str, room: &Room) -> Vec<Reason> {
    FILTERS.iter().map(|filter| filter(question, name, room)).find(|reasons| !reasons.is_empty()).unwrap_or_default()
}

type Filter = fn(&Question, &str, &Room) -> Vec<Reason>;

/// In the order in which a person would want to hear of them.
const FILTERS: &[Filter] =
    &[cordoned, node_name, tainted, not_ready, unwanted, ports_taken, too_small, badly_spread, bad_company];

fn cordoned(question: &Question, _: &str, room: &Room) -> Vec<Reason> {
    only_if(room.is_cordoned() && !shrugs_off(question.pod, taints::CORDONED), || Reason::Cordoned)
}

fn node_name(question: &Question, name: &str, _: &Room) -> Vec<Reason> {
    let wanted = question.pod.spec().node_name.as_deref().filter(|wanted| !wanted.is_empty());
    only_if(wanted.is_some_and(|wanted| wanted != name), || Reason::NodeName)
}

fn tainted(question: &Question, _: &str, room: &Room) -> Vec<Reason> {
    let effects = [taints::NO_SCHEDULE, taints::NO_EXECUTE];
    let taint = taints::untolerated(room.taints(), question.pod.tolerations(), &effects);
    taint
        .map(|taint| Reason::Taint { key: taint.key.clone(), value: taint.value.clone().unwrap_or_default() })
        .into_iter()
        .collect()
}

/// A node whose agent has not reported yet has no taint to tell of it.
fn not_ready(question: &Question, _: &str, room: &Room) -> Vec<Reason> {
    only_if(!room.is_ready() && !shrugs_off(question.pod, taints::NOT_READY), || Reason::NotReady)
}

/// Whether the pod tolerates a state of the node, going by the taint that stands for it.
fn shrugs_off(pod: &Facts, key: &str) -> bool {
    let taint = Taint { key: key.into(), effect: taints::NO_SCHEDULE.into(), ..Taint::default() };
    pod.tolerations().iter().any(|toleration| taints::tolerates(toleration, &taint))
}

fn unwanted(question: &Question, _: &str, room: &Room) -> Vec<Reason> {
    only_if(!node_affinity::required(question.pod.spec(), room.node()), || Reason::Affinity)
}

fn ports_taken(question: &Question, _: &str, room: &Room) -> Vec<Reason> {
    only_if(room.port_conflict(&question.pod.host_ports), || Reason::Ports)
}

fn too_small(question: &Question, _: &str, room: &Room) -> Vec<Reason> {
    let lacking = room.allocatable.lacking(&room.requested, &question.pod.requests);
    let reason = |resource: String| match resource.as_str() {
        "pods" => Reason::TooManyPods,
        _ => Reason::Insufficient(resource),
    };
    lacking.into_iter().map(reason).collect()
}

fn badly_spread(question: &Question, _: &str, room: &Room) -> Vec<Reason> {
    question.spread.against(room).into_iter().collect()
}

fn bad_company(question: &Question, _: &str, room: &Room) -> Vec<Reason> {
    question.neighbours.against(room).into_iter().collect()
}

fn only_if(objects: bool, reason: fn() -> Reason) -> Vec<Reason> {
    if objects { vec![reason()] } else { Vec::new() }
}
