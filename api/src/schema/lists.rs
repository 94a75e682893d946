//! How the lists (and a few objects) of Kubernetes' types are merged: patch strategies and merge keys for
//! strategic merge patches, list types and map keys for server-side apply. Facts of the Kubernetes API
//! (k8s.io/api's struct tags), which k8s-openapi's schemas lack. Pure.

/// How a list or object is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeRule {
    /// Strategic merge: elements are matched by this field. `None` with `patch_merge` is a set of scalars.
    pub merge_key: Option<&'static str>,
    /// Strategic merge: merged element by element instead of replaced.
    pub patch_merge: bool,
    /// Strategic merge: a patch may list the keys that stay (`$retainKeys`).
    pub retain_keys: bool,
    pub list: ListKind,
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// Not declared: atomic in effect.
    Unset,
    Atomic,
    Set,
    /// With `x-kubernetes-list-map-keys`.
    Map(&'static [&'static str]),
}

const PLAIN: MergeRule = MergeRule { merge_key: None, patch_merge: false, retain_keys: false, list: ListKind::Unset };

const ATOMIC: MergeRule = MergeRule { list: ListKind::Atomic, ..PLAIN };
const SET: MergeRule = MergeRule { list: ListKind::Set, ..PLAIN };
const RETAIN_KEYS: MergeRule = MergeRule { retain_keys: true, ..PLAIN };
/// finalizers, podCIDRs: scalars merged as a set.
const MERGE_SET: MergeRule = MergeRule { patch_merge: true, list: ListKind::Set, ..PLAIN };
const BY_NAME: MergeRule = by("name", &["name"]);
const BY_TYPE: MergeRule = by("type", &["type"]);

const fn by(merge_key: &'static str, map_keys: &'static [&'static str]) -> MergeRule {
    MergeRule { merge_key: Some(merge_key), patch_merge: true, list: ListKind::Map(map_keys), ..PLAIN }
}

const fn map(map_keys: &'static [&'static str]) -> MergeRule {
    MergeRule { list: ListKind::Map(map_keys), ..PLAIN }
}

const fn retaining(rule: MergeRule) -> MergeRule {
    MergeRule { retain_keys: true, ..rule }
}

const fn atomic(rule: MergeRule) -> MergeRule {
    MergeRule { list: ListKind::Atomic, ..rule }
}

type Row = (&'static str, &'static [(&'static str, MergeRule)]);

const CONTAINER: &[(&str, MergeRule)] = &[
    ("args", ATOMIC),
    ("command", ATOMIC),
    ("env", BY_NAME),
    ("envFrom", ATOMIC),
    ("ports", by("containerPort", &["containerPort", "protocol"])),
    ("resizePolicy", ATOMIC),
    ("restartPolicyRules", ATOMIC),
    ("volumeDevices", by("devicePath", &["devicePath"])),
    ("volumeMounts", by("mountPath", &["mountPath"])),
];

/// By type (without `io.k8s.api.` or `io.k8s.apimachinery.pkg.apis.`) and field; sorted by type.
const RULES: &[Row] = &[
    ("apps.v1.DeploymentSpec", &[("strategy", RETAIN_KEYS)]),
    ("apps.v1.DeploymentStatus", &[("conditions", BY_TYPE)]),
    ("apps.v1.ReplicaSetStatus", &[("conditions", BY_TYPE)]),
    ("core.v1.Capabilities", &[("add", ATOMIC), ("drop", ATOMIC)]),
    ("core.v1.CephFSVolumeSource", &[("monitors", ATOMIC)]),
    ("core.v1.ConfigMapProjection", &[("items", ATOMIC)]),
    ("core.v1.ConfigMapVolumeSource", &[("items", ATOMIC)]),
    ("core.v1.Container", CONTAINER),
    ("core.v1.ContainerImage", &[("names", ATOMIC)]),
    ("core.v1.ContainerRestartRuleOnExitCodes", &[("values", SET)]),
    (
        "core.v1.ContainerStatus",
        &[("allocatedResourcesStatus", BY_NAME), ("volumeMounts", by("mountPath", &["mountPath"]))],
    ),
    ("core.v1.DownwardAPIProjection", &[("items", ATOMIC)]),
    ("core.v1.DownwardAPIVolumeSource", &[("items", ATOMIC)]),
    ("core.v1.EndpointSubset", &[("addresses", ATOMIC), ("notReadyAddresses", ATOMIC), ("ports", ATOMIC)]),
    ("core.v1.Endpoints", &[("subsets", ATOMIC)]),
    ("core.v1.EphemeralContainer", CONTAINER),
    ("core.v1.ExecAction", &[("command", ATOMIC)]),
    ("core.v1.FCVolumeSource", &[("targetWWNs", ATOMIC), ("wwids", ATOMIC)]),
    ("core.v1.HTTPGetAction", &[("httpHeaders", ATOMIC)]),
    ("core.v1.HostAlias", &[("hostnames", ATOMIC)]),
    ("core.v1.ISCSIVolumeSource", &[("portals", ATOMIC)]),
    ("core.v1.LinuxContainerUser", &[("supplementalGroups", ATOMIC)]),
    ("core.v1.LoadBalancerIngress", &[("ports", ATOMIC)]),
    ("core.v1.LoadBalancerStatus", &[("ingress", ATOMIC)]),
    ("core.v1.NamespaceSpec", &[("finalizers", ATOMIC)]),
    ("core.v1.NamespaceStatus", &[("conditions", BY_TYPE)]),
    ("core.v1.NodeAffinity", &[("preferredDuringSchedulingIgnoredDuringExecution", ATOMIC)]),
    ("core.v1.NodeSelector", &[("nodeSelectorTerms", ATOMIC)]),
    ("core.v1.NodeSelectorRequirement", &[("values", ATOMIC)]),
    ("core.v1.NodeSelectorTerm", &[("matchExpressions", ATOMIC), ("matchFields", ATOMIC)]),
    ("core.v1.NodeSpec", &[("podCIDRs", MERGE_SET), ("taints", ATOMIC)]),
    (
        "core.v1.NodeStatus",
        &[
            ("addresses", BY_TYPE),
            ("conditions", BY_TYPE),
            ("images", ATOMIC),
            ("runtimeHandlers", ATOMIC),
            ("volumesAttached", ATOMIC),
            ("volumesInUse", ATOMIC),
        ],
    ),
    ("core.v1.PersistentVolumeClaimSpec", &[("accessModes", ATOMIC)]),
    (
        "core.v1.PodAffinity",
        &[
            ("preferredDuringSchedulingIgnoredDuringExecution", ATOMIC),
            ("requiredDuringSchedulingIgnoredDuringExecution", ATOMIC),
        ],
    ),
    ("core.v1.PodAffinityTerm", &[("matchLabelKeys", ATOMIC), ("mismatchLabelKeys", ATOMIC), ("namespaces", ATOMIC)]),
    (
        "core.v1.PodAntiAffinity",
        &[
            ("preferredDuringSchedulingIgnoredDuringExecution", ATOMIC),
            ("requiredDuringSchedulingIgnoredDuringExecution", ATOMIC),
        ],
    ),
    ("core.v1.PodDNSConfig", &[("nameservers", ATOMIC), ("options", ATOMIC), ("searches", ATOMIC)]),
    ("core.v1.PodSecurityContext", &[("supplementalGroups", ATOMIC), ("sysctls", ATOMIC)]),
    (
        "core.v1.PodSpec",
        &[
            ("containers", BY_NAME),
            ("ephemeralContainers", BY_NAME),
            ("hostAliases", by("ip", &["ip"])),
            ("imagePullSecrets", BY_NAME),
            ("initContainers", BY_NAME),
            ("readinessGates", ATOMIC),
            ("resourceClaims", retaining(BY_NAME)),
            ("schedulingGates", BY_NAME),
            ("tolerations", ATOMIC),
            ("topologySpreadConstraints", by("topologyKey", &["topologyKey", "whenUnsatisfiable"])),
            ("volumes", retaining(BY_NAME)),
        ],
    ),
    (
        "core.v1.PodStatus",
        &[
            ("conditions", BY_TYPE),
            ("containerStatuses", ATOMIC),
            ("ephemeralContainerStatuses", ATOMIC),
            ("hostIPs", atomic(by("ip", &[]))),
            ("initContainerStatuses", ATOMIC),
            ("podIPs", by("ip", &["ip"])),
            ("resourceClaimStatuses", retaining(BY_NAME)),
        ],
    ),
    ("core.v1.ProjectedVolumeSource", &[("sources", ATOMIC)]),
    ("core.v1.RBDVolumeSource", &[("monitors", ATOMIC)]),
    ("core.v1.ResourceRequirements", &[("claims", map(&["name"]))]),
    ("core.v1.ResourceStatus", &[("resources", map(&["resourceID"]))]),
    ("core.v1.SecretProjection", &[("items", ATOMIC)]),
    ("core.v1.SecretVolumeSource", &[("items", ATOMIC)]),
    ("core.v1.ServiceAccount", &[("imagePullSecrets", ATOMIC), ("secrets", BY_NAME)]),
    (
        "core.v1.ServiceSpec",
        &[
            ("clusterIPs", ATOMIC),
            ("externalIPs", ATOMIC),
            ("ipFamilies", ATOMIC),
            ("loadBalancerSourceRanges", ATOMIC),
            ("ports", by("port", &["port", "protocol"])),
        ],
    ),
    ("core.v1.ServiceStatus", &[("conditions", BY_TYPE)]),
    ("core.v1.TopologySpreadConstraint", &[("matchLabelKeys", ATOMIC)]),
    ("discovery.v1.Endpoint", &[("addresses", SET)]),
    ("discovery.v1.EndpointHints", &[("forNodes", ATOMIC), ("forZones", ATOMIC)]),
    ("discovery.v1.EndpointSlice", &[("endpoints", ATOMIC), ("ports", ATOMIC)]),
    ("meta.v1.LabelSelector", &[("matchExpressions", ATOMIC)]),
    ("meta.v1.LabelSelectorRequirement", &[("values", ATOMIC)]),
    ("meta.v1.ObjectMeta", &[("finalizers", MERGE_SET), ("ownerReferences", by("uid", &["uid"]))]),
];

/// Types whose objects server-side apply treats as one value (`x-kubernetes-map-type: atomic`).
const ATOMIC_STRUCTS: &[&str] = &[
    "core.v1.ConfigMapEnvSource",
    "core.v1.ConfigMapKeySelector",
    "core.v1.EndpointAddress",
    "core.v1.EndpointPort",
    "core.v1.FileKeySelector",
    "core.v1.LocalObjectReference",
    "core.v1.NodeSelector",
    "core.v1.NodeSelectorTerm",
    "core.v1.ObjectFieldSelector",
    "core.v1.ObjectReference",
    "core.v1.ResourceFieldSelector",
    "core.v1.SecretKeySelector",
    "core.v1.SecretReference",
    "core.v1.TypedLocalObjectReference",
    "discovery.v1.EndpointPort",
    "meta.v1.LabelSelector",
    "meta.v1.OwnerReference",
];

/// The rule of a field, by the full name of its type (`io.k8s.api.core.v1.PodSpec`).
pub fn merge_rule(definition: &str, field: &str) -> Option<&'static MergeRule> {
    let at = RULES.binary_search_by(|(of, _)| (*of).cmp(short(definition))).ok()?;
    RULES[at].1.iter().find(|(name, _)| *name == field).map(|(_, rule)| rule)
}

/// Whether objects of this type are atomic in server-side apply.
pub fn structs_atomic(definition: &str) -> bool {
    ATOMIC_STRUCTS.contains(&short(definition))
}

fn short(definition: &str) -> &str {
    let inner = definition.strip_prefix("io.k8s.api.");
    inner.or_else(|| definition.strip_prefix("io.k8s.apimachinery.pkg.apis.")).unwrap_or(definition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Shape, types};

    #[test]
    fn rules_are_sorted_and_speak_of_fields_that_exist() {
        assert!(RULES.windows(2).all(|pair| pair[0].0 < pair[1].0), "binary search needs order");
        for (name, fields) in RULES {
            let found = types().all().iter().find(|of| short(&of.name) == *name);
            let found = found.unwrap_or_else(|| panic!("{name} is no type that is served"));
            for (field, rule) in *fields {
                let field = found.field(field).unwrap_or_else(|| panic!("{name} has no field {field}"));
                let Shape::List(items) = &field.shape else {
                    assert!(
                        rule.list == ListKind::Unset || field.name.as_ref() == "allocatedResourcesStatus",
                        "{name}"
                    );
                    continue;
                };
                let keys = match rule.list {
                    ListKind::Map(keys) => keys.iter().copied().chain(rule.merge_key).collect(),
                    _ => Vec::from_iter(rule.merge_key),
                };
                for key in keys {
                    let Shape::Object(of) = items.as_ref() else { panic!("{name}.{} holds no objects", field.name) };
                    assert!(types().get(*of).field(key).is_some(), "{name}.{}: no key {key}", field.name);
                }
            }
        }
    }
}
