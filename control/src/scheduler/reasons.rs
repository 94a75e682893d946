//! Why a pod fits nowhere, counted, in Kubernetes' words. Pure.

use std::collections::BTreeMap;
use std::fmt;

/// What is wrong with one node for one pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Cordoned,
    NotReady,
    NodeName,
    Taint { key: String, value: String },
    Affinity,
    Ports,
    TooManyPods,
    Insufficient(String),
    SpreadLabel,
    Spread,
    PodAffinity,
    PodAntiAffinity,
    OthersAntiAffinity,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Reason::Cordoned => "node(s) were unschedulable",
            Reason::NotReady => "node(s) were not ready",
            Reason::NodeName => "node(s) didn't match the requested node name",
            Reason::Taint { key, value } => return write!(f, "node(s) had untolerated taint {{{key}: {value}}}"),
            Reason::Affinity => "node(s) didn't match Pod's node affinity/selector",
            Reason::Ports => "node(s) didn't have free ports for the requested pod ports",
            Reason::TooManyPods => "Too many pods",
            Reason::Insufficient(resource) => return write!(f, "Insufficient {resource}"),
            Reason::SpreadLabel => "node(s) didn't match pod topology spread constraints (missing required label)",
            Reason::Spread => "node(s) didn't match pod topology spread constraints",
            Reason::PodAffinity => "node(s) didn't match pod affinity rules",
            Reason::PodAntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Reason::OthersAntiAffinity => "node(s) didn't satisfy existing pods anti-affinity rules",
        };
        f.write_str(text)
    }
}

/// The answer for a pod that fits nowhere now. A node may count under several reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unplaceable {
    pub nodes: usize,
    pub reasons: BTreeMap<Reason, usize>,
}

impl Unplaceable {
    pub fn count(&mut self, reasons: impl IntoIterator<Item = Reason>) {
        self.nodes += 1;
        for reason in reasons {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }
}

impl fmt::Display for Unplaceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        let mut counted: Vec<String> = self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        counted.sort();
        write!(f, "0/{} nodes are available: {}.", self.nodes, counted.join(", "))
    }
}
