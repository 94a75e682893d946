//! Whom a container runs as, and what it may do. Pure.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::{ConfigError, spec_of};
use crate::runtime::Security;

pub fn sysctls(pod: &Pod) -> std::collections::BTreeMap<String, String> {
    let context = spec_of(pod).security_context.as_ref();
    let listed = context.iter().flat_map(|context| context.sysctls.iter().flatten());
    listed.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect()
}

pub fn security(pod: &Pod, container: &Container) -> Result<Security, ConfigError> {
    let of_pod = spec_of(pod).security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let run_as_user = own.run_as_user.or(of_pod.run_as_user);
    let run_as_group = own.run_as_group.or(of_pod.run_as_group);
    if own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true) && run_as_user == Some(0) {
        return Err(ConfigError("container's runAsUser breaks non-root policy".into()));
    }
    let capabilities = own.capabilities.unwrap_or_default();
    let mut options = Vec::new();
    let seccomp = own.seccomp_profile.or(of_pod.seccomp_profile);
    if seccomp.is_some_and(|profile| profile.type_ == "Unconfined") {
        options.push("seccomp=unconfined".to_owned());
    }
    let groups = of_pod.supplemental_groups.into_iter().flatten().chain(of_pod.fs_group);
    Ok(Security {
        user: match (run_as_user, run_as_group) {
            (Some(user), Some(group)) => Some(format!("{user}:{group}")),
            (Some(user), None) => Some(user.to_string()),
            (None, Some(group)) => Some(format!("0:{group}")),
            (None, None) => None,
        },
        groups: groups.map(|group| group.to_string()).collect(),
        privileged: own.privileged.unwrap_or(false),
        read_only_root: own.read_only_root_filesystem.unwrap_or(false),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        capabilities_add: capabilities.add.unwrap_or_default(),
        capabilities_drop: capabilities.drop.unwrap_or_default(),
        sysctls: Default::default(),
        options,
    })
}

/// Must the image's user be checked before the container may run?
pub fn needs_user_check(pod: &Pod, container: &Container) -> bool {
    let of_pod = spec_of(pod).security_context.as_ref();
    let own = container.security_context.as_ref();
    let non_root =
        own.and_then(|own| own.run_as_non_root).or_else(|| of_pod.and_then(|context| context.run_as_non_root));
    let user = own.and_then(|own| own.run_as_user).or_else(|| of_pod.and_then(|context| context.run_as_user));
    non_root == Some(true) && user.is_none()
}
