//! What a Pod's spec says when its author says nothing. Pure.

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, HTTPGetAction, Lifecycle, PodSpec, Probe, ResourceRequirements, Volume,
};

use super::{GRACE_SECONDS_DEFAULT, resources};

/// rw-r--r--: the mode of files in volumes.
const FILE_MODE: i32 = 0o644;

/// For Pods and for templates of Pods.
pub(in crate::kinds) fn set_spec_defaults(spec: &mut PodSpec) {
    spec.restart_policy.get_or_insert_with(|| "Always".into());
    spec.dns_policy.get_or_insert_with(|| "ClusterFirst".into());
    spec.scheduler_name.get_or_insert_with(|| "default-scheduler".into());
    spec.termination_grace_period_seconds.get_or_insert(GRACE_SECONDS_DEFAULT);
    spec.security_context.get_or_insert_default();
    let on_host_network = spec.host_network == Some(true);
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        set_container_defaults(container, on_host_network);
    }
    for volume in spec.volumes.iter_mut().flatten() {
        set_volume_defaults(volume);
    }
    resources::canonicalize(&mut spec.overhead);
    // The old name of the field means the same.
    if let Some(old_name) = &spec.service_account {
        spec.service_account_name.get_or_insert_with(|| old_name.clone());
    }
}

/// For Pods only; a template keeps what its author wrote.
pub(super) fn set_pod_defaults(spec: &mut PodSpec) {
    spec.enable_service_links.get_or_insert(true);
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        if let Some(resources) = &mut container.resources {
            request_what_is_limited(resources);
        }
    }
}

fn request_what_is_limited(resources: &mut ResourceRequirements) {
    let Some(limits) = resources.limits.as_ref().filter(|limits| !limits.is_empty()) else { return };
    let requests = resources.requests.get_or_insert_default();
    for (name, limit) in limits {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
}

fn set_container_defaults(container: &mut Container, on_host_network: bool) {
    let policy = || pull_policy(container.image.as_deref().unwrap_or_default()).into();
    container.image_pull_policy.get_or_insert_with(policy);
    container.termination_message_path.get_or_insert_with(|| "/dev/termination-log".into());
    container.termination_message_policy.get_or_insert_with(|| "File".into());
    let requirements = container.resources.get_or_insert_default();
    resources::canonicalize(&mut requirements.limits);
    resources::canonicalize(&mut requirements.requests);
    for port in container.ports.iter_mut().flatten() {
        port.protocol.get_or_insert_with(|| "TCP".into());
        if on_host_network && port.host_port.unwrap_or(0) == 0 {
            port.host_port = Some(port.container_port);
        }
    }
    for source in container.env.iter_mut().flatten().filter_map(|var| var.value_from.as_mut()) {
        if let Some(field) = &mut source.field_ref {
            field.api_version.get_or_insert_with(|| "v1".into());
        }
        if let Some(resource) = &mut source.resource_field_ref {
            resources::canonicalize_one(resource.divisor.get_or_insert_default());
        }
    }
    let probes = [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe];
    probes.into_iter().flatten().for_each(set_probe_defaults);
    if let Some(Lifecycle { post_start, pre_stop, .. }) = &mut container.lifecycle {
        let handlers = [post_start, pre_stop].into_iter().flatten();
        handlers.filter_map(|handler| handler.http_get.as_mut()).for_each(set_http_defaults);
    }
}

/// `latest`, said or meant, is pulled anew each time; any other tag or digest names one image.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let last_part = image.rsplit('/').next().unwrap_or_default();
    match last_part.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn set_probe_defaults(probe: &mut Probe) {
    for (field, value) in [
        (&mut probe.timeout_seconds, 1),
        (&mut probe.period_seconds, 10),
        (&mut probe.success_threshold, 1),
        (&mut probe.failure_threshold, 3),
    ] {
        field.take_if(|given| *given == 0);
        field.get_or_insert(value);
    }
    if let Some(http) = &mut probe.http_get {
        set_http_defaults(http);
    }
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn set_http_defaults(http: &mut HTTPGetAction) {
    http.path.take_if(|path| path.is_empty());
    http.path.get_or_insert_with(|| "/".into());
    http.scheme.get_or_insert_with(|| "HTTP".into());
}

fn set_volume_defaults(volume: &mut Volume) {
    // A volume of nothing but a name is an empty directory.
    if (Volume { name: volume.name.clone(), ..Volume::default() }) == *volume {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
    let modes = [
        volume.secret.as_mut().map(|source| &mut source.default_mode),
        volume.config_map.as_mut().map(|source| &mut source.default_mode),
        volume.downward_api.as_mut().map(|source| &mut source.default_mode),
        volume.projected.as_mut().map(|source| &mut source.default_mode),
    ];
    for mode in modes.into_iter().flatten() {
        mode.get_or_insert(FILE_MODE);
    }
    if let Some(host_path) = &mut volume.host_path {
        host_path.type_.get_or_insert_default();
    }
    if let Some(size) = volume.empty_dir.as_mut().and_then(|source| source.size_limit.as_mut()) {
        resources::canonicalize_one(size);
    }
    let projections = volume.projected.iter_mut().flat_map(|source| source.sources.iter_mut().flatten());
    let mut items: Vec<_> = volume.downward_api.iter_mut().filter_map(|source| source.items.as_mut()).collect();
    for projection in projections {
        if let Some(token) = &mut projection.service_account_token {
            token.expiration_seconds.get_or_insert(3600);
        }
        items.extend(projection.downward_api.iter_mut().filter_map(|source| source.items.as_mut()));
    }
    for file in items.into_iter().flatten() {
        if let Some(field) = &mut file.field_ref {
            field.api_version.get_or_insert_with(|| "v1".into());
        }
        if let Some(resource) = &mut file.resource_field_ref {
            resources::canonicalize_one(resource.divisor.get_or_insert_default());
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tag_decides_the_pull_policy() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.17.1", "IfNotPresent"),
            ("registry:5000/nginx", "Always"),
            ("registry:5000/a/nginx:v1", "IfNotPresent"),
            ("nginx@sha256:0123", "IfNotPresent"),
            ("", "Always"),
        ] {
            assert_eq!(super::pull_policy(image), policy, "{image}");
        }
    }
}
