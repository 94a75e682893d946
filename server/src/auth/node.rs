//! What a node's agent may do: its own Node, the Pods bound to it, and what these refer to. Pure, decides.

use api::selector::FieldSelector;
use serde_json::Value;

use super::rules::{Attributes, Grant};

/// The namespace of the leases by which agents used to say that they live.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// A permission that ends at one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub node: String,
    pub reach: Reach,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The object must bear the node's own name.
    OwnName,
    /// The Pod must be bound to the node.
    BoundPod,
    /// The ConfigMap or Secret must be named by a Pod that is bound to the node.
    ReferredTo,
}

/// `None`: not permitted.
pub fn authorize(node: &str, attributes: &Attributes<'_>) -> Option<Grant> {
    let Attributes { verb, resource, subresource, namespace, name, fields } = *attributes;
    let limited = |reach| Some(Grant::Limited(Limit { node: node.to_owned(), reach }));
    let selects = |field: &str| fields.and_then(|fields: &FieldSelector| fields.exact(field)) == Some(node);
    let reads = matches!(verb, "get" | "list" | "watch");
    match (resource.group, resource.plural, subresource, verb) {
        ("", "nodes", "", "create") => limited(Reach::OwnName),
        ("", "nodes", "" | "status", "get" | "update" | "patch") if name == node => Some(Grant::Full),
        ("", "nodes", "", "list" | "watch") if selects("metadata.name") => Some(Grant::Full),
        ("", "pods", "", "list" | "watch") if selects("spec.nodeName") => Some(Grant::Full),
        ("", "pods", "", "get" | "delete") => limited(Reach::BoundPod),
        ("", "pods", "status", "get" | "update" | "patch") => limited(Reach::BoundPod),
        ("" | "events.k8s.io", "events", "", "get" | "create" | "update" | "patch") => Some(Grant::Full),
        ("", "services" | "endpoints", "", _) if reads => Some(Grant::Full),
        ("discovery.k8s.io", "endpointslices", "", _) if reads => Some(Grant::Full),
        ("", "configmaps" | "secrets", "", "get") => limited(Reach::ReferredTo),
        ("coordination.k8s.io", "leases", "", "create") if namespace == LEASE_NAMESPACE => limited(Reach::OwnName),
        ("coordination.k8s.io", "leases", "", "get" | "update" | "patch" | "delete")
            if namespace == LEASE_NAMESPACE && name == node =>
        {
            Some(Grant::Full)
        }
        _ => None,
    }
}

impl Limit {
    /// Does the permission reach this object? For [`Reach::ReferredTo`] ask [`refers_to`] of the Pods instead.
    pub fn covers(&self, object: &Value) -> bool {
        match self.reach {
            Reach::OwnName => object["metadata"]["name"] == *self.node,
            Reach::BoundPod => object["spec"]["nodeName"] == *self.node,
            Reach::ReferredTo => false,
        }
    }
}

/// Does a Pod name this ConfigMap (`configmaps`) or Secret (`secrets`) in its volumes or environment?
pub fn refers_to(pod: &Value, plural: &str, name: &str) -> bool {
    let secret = plural == "secrets";
    let pulls = |spec: &Value| secret && each(&spec["imagePullSecrets"]).any(|entry| entry["name"] == *name);
    let spec = &pod["spec"];
    let containers = ["containers", "initContainers", "ephemeralContainers"];
    pulls(spec)
        || each(&spec["volumes"]).any(|volume| volume_refers(volume, secret, name))
        || containers.iter().flat_map(|list| each(&spec[*list])).any(|one| environment_refers(one, secret, name))
}

fn volume_refers(volume: &Value, secret: bool, name: &str) -> bool {
    let direct = match secret {
        true => volume["secret"]["secretName"] == *name,
        false => volume["configMap"]["name"] == *name,
    };
    let part = if secret { "secret" } else { "configMap" };
    direct || each(&volume["projected"]["sources"]).any(|source| source[part]["name"] == *name)
}

fn environment_refers(container: &Value, secret: bool, name: &str) -> bool {
    let (all, one) = if secret { ("secretRef", "secretKeyRef") } else { ("configMapRef", "configMapKeyRef") };
    each(&container["envFrom"]).any(|source| source[all]["name"] == *name)
        || each(&container["env"]).any(|variable| variable["valueFrom"][one]["name"] == *name)
}

fn each(list: &Value) -> std::slice::Iter<'_, Value> {
    list.as_array().map_or([].iter(), |items| items.iter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::status::Resource;
    use serde_json::json;

    #[test]
    fn an_agent_reaches_its_own_things_only() {
        let selector = FieldSelector::parse("spec.nodeName=n1").unwrap();
        let other = FieldSelector::parse("spec.nodeName=n2").unwrap();
        let bound = Some(Grant::Limited(Limit { node: "n1".into(), reach: Reach::BoundPod }));
        let named = Some(Grant::Limited(Limit { node: "n1".into(), reach: Reach::OwnName }));
        let full = Some(Grant::Full);
        for (verb, group, plural, subresource, namespace, name, fields, expected) in [
            ("create", "", "nodes", "", "", "", None, named.clone()),
            ("patch", "", "nodes", "status", "", "n1", None, full.clone()),
            ("patch", "", "nodes", "status", "", "n2", None, None),
            ("delete", "", "nodes", "", "", "n1", None, None),
            ("watch", "", "pods", "", "", "", Some(&selector), full.clone()),
            ("watch", "", "pods", "", "", "", Some(&other), None),
            ("list", "", "pods", "", "", "", None, None),
            ("delete", "", "pods", "", "default", "web", None, bound.clone()),
            ("patch", "", "pods", "status", "default", "web", None, bound),
            ("update", "", "pods", "", "default", "web", None, None),
            ("create", "", "pods", "", "default", "", None, None),
            ("create", "", "pods", "exec", "default", "web", None, None),
            ("list", "", "secrets", "", "default", "", None, None),
            ("create", "", "events", "", "default", "", None, full.clone()),
            ("update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n1", None, full),
            ("update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n2", None, None),
            ("update", "coordination.k8s.io", "leases", "", "default", "n1", None, None),
            ("create", "coordination.k8s.io", "leases", "", "kube-node-lease", "", None, named),
        ] {
            let resource = Resource { group, plural };
            let attributes = Attributes { verb, resource, subresource, namespace, name, fields };
            assert_eq!(authorize("n1", &attributes), expected, "{attributes:?}");
        }
    }

    #[test]
    fn secrets_are_reached_through_pods() {
        let pod = json!({"spec": {
            "volumes": [{"name": "a", "secret": {"secretName": "s1"}}, {"name": "p", "projected": {"sources": [
                {"configMap": {"name": "c2"}}]}}],
            "containers": [{"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s2", "key": "k"}}}],
                "envFrom": [{"configMapRef": {"name": "c1"}}]}],
            "imagePullSecrets": [{"name": "s3"}]}});
        for (plural, name, expected) in [
            ("secrets", "s1", true),
            ("secrets", "s2", true),
            ("secrets", "s3", true),
            ("secrets", "c1", false),
            ("configmaps", "c1", true),
            ("configmaps", "c2", true),
            ("configmaps", "s1", false),
        ] {
            assert_eq!(refers_to(&pod, plural, name), expected, "{plural} {name}");
        }
    }
}
