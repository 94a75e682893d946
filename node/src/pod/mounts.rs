//! Where the bytes of a container's mounts are. Pure.

use k8s_openapi::api::core::v1::{Pod, Volume};

use super::{ConfigError, Host, is_inside, memory_volume_name, spec_of, uid};
use crate::runtime::{Mount, MountSource};

/// Where a mount's bytes come from.
pub fn source(pod: &Pod, host: &Host, wanted: &str, sub_path: &str) -> Result<MountSource, ConfigError> {
    let volume = find_volume(pod, wanted).ok_or_else(|| ConfigError(format!("volume {wanted:?} not found")))?;
    if !is_inside(sub_path) {
        return Err(ConfigError(format!("subPath {sub_path:?} must be a relative path inside the volume")));
    }
    if is_in_memory(pod, volume) {
        return Ok(memory_mount(pod, volume, String::new()).source);
    }
    let root = match &volume.host_path {
        Some(host_path) => std::path::PathBuf::from(&host_path.path),
        None => host.volume_dir(uid(pod), wanted),
    };
    let path = if sub_path.is_empty() { root } else { root.join(sub_path) };
    Ok(MountSource::Path(path_text(&path)))
}

/// emptyDir in memory. With a subPath the engine cannot mount a part of it: then it is a directory on disk.
pub fn is_in_memory(pod: &Pod, volume: &Volume) -> bool {
    let wants = volume.empty_dir.as_ref().is_some_and(|dir| dir.medium.as_deref() == Some("Memory"));
    let spec = spec_of(pod);
    let uses_part = || {
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
            .flat_map(|container| container.volume_mounts.iter().flatten())
            .filter(|mount| mount.name == volume.name)
            .any(|mount| mount.sub_path.as_ref().is_some_and(|path| !path.is_empty()) || mount.sub_path_expr.is_some())
    };
    wants && !uses_part()
}

pub fn memory_volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    spec_of(pod).volumes.iter().flatten().filter(|volume| is_in_memory(pod, volume))
}

pub fn memory_mount(pod: &Pod, volume: &Volume, target: String) -> Mount {
    let limit = volume.empty_dir.as_ref().and_then(|dir| dir.size_limit.as_ref());
    let size_bytes = limit
        .and_then(|limit| limit.0.parse::<api::quantity::Quantity>().ok())
        .map(|limit| limit.whole().max(0) as u64)
        .filter(|bytes| *bytes > 0);
    let source = MountSource::Memory { name: memory_volume_name(uid(pod), &volume.name), size_bytes };
    Mount { source, target, read_only: false, propagation: None }
}

pub fn find_volume<'a>(pod: &'a Pod, wanted: &str) -> Option<&'a Volume> {
    spec_of(pod).volumes.iter().flatten().find(|volume| volume.name == wanted)
}

pub fn path_text(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}
