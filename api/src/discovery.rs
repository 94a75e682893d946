//! Discovery: which groups, versions and resources are served. Made from the table of kinds. Pure.
//!
//! Two forms of the same facts: the plain documents, one per path, and the aggregated ones that kubectl asks for
//! since 1.26 and that need two requests in all.

use crate::kinds::{KINDS, Kind, Subresource};
use base64::Engine;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// `/api`. `address` is the server's `host:port`.
pub fn api_versions(address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": versions("").collect::<Vec<_>>(),
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    })
}

/// `/apis`
pub fn groups() -> Value {
    let groups: Vec<Value> = named_groups().map(describe_group).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`
pub fn group(name: &str) -> Option<Value> {
    let mut group = describe_group(named_groups().find(|group| *group == name)?);
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Some(group)
}

/// `/api/v1` (with the group "") and `/apis/<group>/<version>`
pub fn resources(group: &str, version: &str) -> Option<Value> {
    let resources: Vec<Value> = kinds(group, version).flat_map(describe_resource).collect();
    if resources.is_empty() {
        return None;
    }
    let group_version = group_version(group, version);
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
    }))
}

/// The versions of aggregated discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregated {
    V2,
    V2Beta1,
}

impl Aggregated {
    /// What the client prefers, if it wants aggregated discovery at all; it lists what it takes in order.
    pub fn wanted(accept: &str) -> Option<Aggregated> {
        accept.split(',').find_map(|media_type| {
            let mut parts = media_type.split(';').map(str::trim);
            let json = matches!(parts.next(), Some("application/json" | "*/*"));
            let parameters: Vec<&str> = parts.collect();
            let is = |parameter: &str| parameters.contains(&parameter);
            match json && is("g=apidiscovery.k8s.io") && is("as=APIGroupDiscoveryList") {
                true if is("v=v2") => Some(Aggregated::V2),
                true if is("v=v2beta1") => Some(Aggregated::V2Beta1),
                _ => None,
            }
        })
    }

    fn version(self) -> &'static str {
        match self {
            Aggregated::V2 => "v2",
            Aggregated::V2Beta1 => "v2beta1",
        }
    }

    /// The Content-Type of the answer, by which clients know that they got what they asked for.
    pub fn media_type(self) -> String {
        format!("application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList", self.version())
    }
}

/// `/api` (`core`) and `/apis` in the aggregated form.
pub fn aggregated(of: Aggregated, core: bool) -> Value {
    let groups: Vec<&str> = if core { vec![""] } else { named_groups().collect() };
    let items: Vec<Value> = groups.into_iter().map(aggregate_group).collect();
    let api_version = format!("apidiscovery.k8s.io/{}", of.version());
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items})
}

/// The groups besides the core, in the order of the table.
pub fn named_groups() -> impl Iterator<Item = &'static str> {
    let firsts = KINDS.iter().enumerate();
    let firsts = firsts.filter(|(at, kind)| KINDS[..*at].iter().all(|earlier| earlier.group != kind.group));
    firsts.map(|(_, kind)| kind.group).filter(|group| !group.is_empty())
}

/// The versions of a group, the preferred one first.
pub fn versions(group: &str) -> impl Iterator<Item = &'static str> {
    let of = KINDS.iter().enumerate().filter(move |(_, kind)| kind.group == group);
    let is_first = |at: usize, kind: &Kind| {
        KINDS[..at].iter().all(|earlier| (earlier.group, earlier.version) != (kind.group, kind.version))
    };
    of.filter(move |(at, kind)| is_first(*at, kind)).map(|(_, kind)| kind.version)
}

fn kinds(group: &str, version: &str) -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(move |kind| kind.group == group && kind.version == version)
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.into() } else { format!("{group}/{version}") }
}

fn describe_group(name: &'static str) -> Value {
    let versions: Vec<Value> = versions(name)
        .map(|version| json!({"groupVersion": group_version(name, version), "version": version}))
        .collect();
    json!({"name": name, "preferredVersion": versions[0], "versions": versions})
}

/// The kind and its subresources.
fn describe_resource(kind: &'static Kind) -> Vec<Value> {
    let mut own = json!({
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": kind.verbs,
        "storageVersionHash": storage_version_hash(kind),
    });
    add_names(&mut own, kind);
    let subresources = kind.subresources.iter().map(|subresource| {
        let mut entry = json!({
            "name": format!("{}/{}", kind.plural, subresource.name()),
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": subresource.verbs(),
        });
        if let Some((group, version, name)) = subresource.of_kind() {
            entry["kind"] = name.into();
            if group != kind.group {
                entry["group"] = group.into();
                entry["version"] = version.into();
            }
        }
        entry
    });
    std::iter::once(own).chain(subresources).collect()
}

fn add_names(entry: &mut Value, kind: &Kind) {
    for (field, names) in [("shortNames", kind.short_names), ("categories", kind.categories)] {
        if !names.is_empty() {
            entry[field] = names.into();
        }
    }
}

fn aggregate_group(name: &'static str) -> Value {
    let versions: Vec<Value> = versions(name)
        .map(|version| {
            let resources: Vec<Value> = kinds(name, version).map(aggregate_resource).collect();
            json!({"version": version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    let metadata = if name.is_empty() { Map::new() } else { Map::from_iter([("name".into(), name.into())]) };
    json!({"metadata": metadata, "versions": versions})
}

fn aggregate_resource(kind: &'static Kind) -> Value {
    let own_kind = || json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let subresource = |subresource: &Subresource| {
        let of = subresource.of_kind();
        let response = of.map(|(group, version, kind)| json!({"group": group, "version": version, "kind": kind}));
        json!({
            "subresource": subresource.name(),
            "responseKind": response.unwrap_or_else(own_kind),
            "verbs": subresource.verbs(),
        })
    };
    let mut entry = json!({
        "resource": kind.plural,
        "responseKind": own_kind(),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    });
    add_names(&mut entry, kind);
    if !kind.subresources.is_empty() {
        entry["subresources"] = kind.subresources.iter().map(subresource).collect();
    }
    entry
}

/// Tells clients that migrate storage whether the stored version changed.
fn storage_version_hash(kind: &Kind) -> String {
    let digest = Sha256::digest(format!("{}/{}/{}", kind.group, kind.version, kind.kind));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<'a>(list: &'a Value, field: &str, name: &str) -> &'a Value {
        let found = list.as_array().unwrap().iter().find(|entry| entry[field] == name);
        found.unwrap_or_else(|| panic!("no {name} in {list}"))
    }

    #[test]
    fn plain_documents() {
        assert_eq!(api_versions("h:1")["versions"], json!(["v1"]));
        let apps = json!({"groupVersion": "apps/v1", "version": "v1"});
        let all = groups();
        assert_eq!(named(&all["groups"], "name", "apps")["preferredVersion"], apps);
        assert!(all["groups"].as_array().unwrap().iter().all(|group| group["name"] != ""));
        assert_eq!(group("apps").unwrap()["kind"], "APIGroup");
        assert_eq!((group("x.io"), group(""), resources("apps", "v2")), (None, None, None));
        let core = resources("", "v1").unwrap();
        assert_eq!(core["groupVersion"], "v1");
        let pods = named(&core["resources"], "name", "pods");
        assert_eq!((&pods["shortNames"], &pods["namespaced"]), (&json!(["po"]), &json!(true)));
        assert_eq!(named(&core["resources"], "name", "namespaces")["namespaced"], false);
        // What `kubectl drain` looks for.
        let eviction = named(&core["resources"], "name", "pods/eviction");
        assert_eq!(
            (&eviction["group"], &eviction["version"], &eviction["kind"]),
            (&json!("policy"), &json!("v1"), &json!("Eviction"))
        );
        // What `kubectl scale` looks for.
        let apps = resources("apps", "v1").unwrap();
        let scale = named(&apps["resources"], "name", "deployments/scale");
        assert_eq!(
            (&scale["group"], &scale["version"], &scale["kind"]),
            (&json!("autoscaling"), &json!("v1"), &json!("Scale"))
        );
        assert_eq!(named(&apps["resources"], "name", "deployments/status")["kind"], "Deployment");
    }

    #[test]
    fn aggregated_documents() {
        let core = aggregated(Aggregated::V2, true);
        assert_eq!(
            (core["apiVersion"].as_str(), core["items"].as_array().unwrap().len()),
            (Some("apidiscovery.k8s.io/v2"), 1)
        );
        let pods = named(&core["items"][0]["versions"][0]["resources"], "resource", "pods");
        assert_eq!((pods["scope"].as_str(), pods["singularResource"].as_str()), (Some("Namespaced"), Some("pod")));
        assert_eq!(named(&pods["subresources"], "subresource", "eviction")["responseKind"]["group"], "policy");
        let named_groups = aggregated(Aggregated::V2Beta1, false);
        assert_eq!(named_groups["apiVersion"], "apidiscovery.k8s.io/v2beta1");
        let apps = named_groups["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == "apps");
        let deployments = named(&apps.unwrap()["versions"][0]["resources"], "resource", "deployments");
        assert_eq!(deployments["responseKind"], json!({"group": "apps", "version": "v1", "kind": "Deployment"}));
        assert!(named_groups["items"].as_array().unwrap().iter().all(|item| item["metadata"]["name"] != Value::Null));
    }

    #[test]
    fn negotiation() {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        for (accept, expected) in [
            (format!("{v2},{beta},application/json"), Some(Aggregated::V2)),
            (format!("{beta},application/json"), Some(Aggregated::V2Beta1)),
            ("application/json".into(), None),
            ("*/*".into(), None),
            ("application/json; as=APIGroupDiscoveryList; v=v2; g=apidiscovery.k8s.io".into(), Some(Aggregated::V2)),
            ("application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList".into(), None),
        ] {
            assert_eq!(Aggregated::wanted(&accept), expected, "{accept}");
        }
        assert_eq!(Aggregated::V2.media_type(), v2);
    }
}
