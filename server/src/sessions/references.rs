//! What a Pod needs on its node besides itself. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, Pod, PodSpec, Volume};

/// Something that a node must have because a Pod on it needs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// `<plural>/<namespace>/<name>`, whether it exists (yet) or not.
    Item(String),
    /// All services of a namespace, for the service environment variables.
    Services(String),
}

/// The service that every container finds in its environment, whatever `enableServiceLinks` says.
const KUBERNETES_SERVICE: &str = "services/default/kubernetes";

/// The needs of a Pod that stands at `pods/<namespace>/<name>`, itself included.
pub fn needs(key: &str, namespace: &str, pod: &Pod) -> BTreeSet<Need> {
    let mut found = BTreeSet::from([Need::Item(key.to_owned()), Need::Item(KUBERNETES_SERVICE.to_owned())]);
    let Some(spec) = &pod.spec else { return found };
    if spec.enable_service_links != Some(false) {
        found.insert(Need::Services(namespace.to_owned()));
    }
    let mut item = |plural: &str, name: &str| {
        if !name.is_empty() {
            found.insert(Need::Item(format!("{plural}/{namespace}/{name}")));
        }
    };
    for secret in spec.image_pull_secrets.iter().flatten() {
        item("secrets", &secret.name);
    }
    for volume in spec.volumes.iter().flatten() {
        of_volume(volume, &mut item);
    }
    for (from, variables) in environments(spec) {
        for source in from.iter().flatten() {
            source.config_map_ref.iter().for_each(|one| item("configmaps", &one.name));
            source.secret_ref.iter().for_each(|one| item("secrets", &one.name));
        }
        for source in variables.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            source.config_map_key_ref.iter().for_each(|one| item("configmaps", &one.name));
            source.secret_key_ref.iter().for_each(|one| item("secrets", &one.name));
        }
    }
    found
}

fn of_volume(volume: &Volume, item: &mut impl FnMut(&str, &str)) {
    if let Some(name) = volume.config_map.as_ref().map(|source| &source.name) {
        item("configmaps", name);
    }
    if let Some(name) = volume.secret.as_ref().and_then(|source| source.secret_name.as_ref()) {
        item("secrets", name);
    }
    for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
        source.config_map.iter().for_each(|one| item("configmaps", &one.name));
        source.secret.iter().for_each(|one| item("secrets", &one.name));
    }
}

type Environment<'a> = (&'a Option<Vec<EnvFromSource>>, &'a Option<Vec<EnvVar>>);

fn environments(spec: &PodSpec) -> impl Iterator<Item = Environment<'_>> {
    spec.containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .map(|container| (&container.env_from, &container.env))
        .chain(spec.ephemeral_containers.iter().flatten().map(|container| (&container.env_from, &container.env)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_a_pod_names_is_needed() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "spec": {
                "imagePullSecrets": [{"name": "pull"}],
                "volumes": [
                    {"name": "a", "configMap": {"name": "cm-volume"}},
                    {"name": "b", "secret": {"secretName": "secret-volume"}},
                    {"name": "c", "projected": {"sources": [
                        {"configMap": {"name": "cm-projected"}}, {"secret": {"name": "secret-projected"}}]}},
                    {"name": "d", "emptyDir": {}},
                ],
                "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "cm-from"}}]}],
                "containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "secret-from"}}], "env": [
                    {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm-key", "key": "k"}}},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "secret-key", "key": "k"}}},
                    {"name": "C", "value": "plain"}]}],
                "ephemeralContainers": [{"name": "e", "envFrom": [{"configMapRef": {"name": "cm-ephemeral"}}]}],
            }
        }))
        .unwrap();
        let found: Vec<String> = needs("pods/ns/web", "ns", &pod)
            .into_iter()
            .map(|need| match need {
                Need::Item(key) => key,
                Need::Services(namespace) => format!("services of {namespace}"),
            })
            .collect();
        assert_eq!(
            found,
            [
                "configmaps/ns/cm-ephemeral",
                "configmaps/ns/cm-from",
                "configmaps/ns/cm-key",
                "configmaps/ns/cm-projected",
                "configmaps/ns/cm-volume",
                "pods/ns/web",
                "secrets/ns/pull",
                "secrets/ns/secret-from",
                "secrets/ns/secret-key",
                "secrets/ns/secret-projected",
                "secrets/ns/secret-volume",
                "services/default/kubernetes",
                "services of ns",
            ]
        );
    }

    #[test]
    fn service_links_can_be_declined() {
        let pod: Pod =
            serde_json::from_value(serde_json::json!({"spec": {"enableServiceLinks": false, "containers": []}}))
                .unwrap();
        assert!(!needs("pods/ns/web", "ns", &pod).contains(&Need::Services("ns".into())));
    }
}
