//! nodeSelector and node affinity: which nodes a pod names by their labels and fields. Pure, decides.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// Whether the node satisfies the nodeSelector and the required node affinity.
pub fn required(spec: &PodSpec, node: &Node) -> bool {
    let labels = labels(node);
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let terms = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected && terms.is_none_or(|terms| terms.node_selector_terms.iter().any(|term| matches(term, node)))
}

/// The weights of the preferred terms that match, summed.
pub fn preferred(spec: &PodSpec, node: &Node) -> i64 {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let terms = affinity.and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_ref());
    terms.into_iter().flatten().filter(|term| matches(&term.preference, node)).map(|term| i64::from(term.weight)).sum()
}

/// All requirements of a term must hold; a term without any matches nothing.
fn matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let labels = labels(node);
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions.iter().all(|wanted| holds(wanted, labels.get(&wanted.key).map(String::as_str)))
        && fields.iter().all(|wanted| wanted.key == "metadata.name" && holds(wanted, node.metadata.name.as_deref()))
}

/// An absent label satisfies the negative operators. Gt and Lt compare integers.
fn holds(requirement: &NodeSelectorRequirement, label: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let among = |label: &str| values.iter().any(|value| value == label);
    let compared = |holds: fn(i64, i64) -> bool| {
        let label = label.and_then(|label| label.parse().ok());
        let bound = values.first().and_then(|bound| bound.parse().ok());
        label.zip(bound).is_some_and(|(label, bound)| holds(label, bound))
    };
    match requirement.operator.as_str() {
        "In" => label.is_some_and(among),
        "NotIn" => label.is_none_or(|label| !among(label)),
        "Exists" => label.is_some(),
        "DoesNotExist" => label.is_none(),
        "Gt" => compared(|label, bound| label > bound),
        "Lt" => compared(|label, bound| label < bound),
        _ => false,
    }
}

pub fn labels(node: &Node) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    node.metadata.labels.as_ref().unwrap_or(&NONE)
}
