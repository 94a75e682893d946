//! Decides what a Pod's volumes must hold, from the objects it refers to. Pure.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, Volume};
use sha2::{Digest as _, Sha256};

use crate::pod::{self, Facts, Refs, is_in_memory, is_inside, namespace, spec_of};

const MODE_DEFAULT: i32 = 0o644;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub name: String,
    pub source: Source,
    /// The group that owns what is in it.
    pub group: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An empty directory, kept while the Pod lives.
    Directory,
    /// Made by the engine when the first container mounts it.
    Memory,
    /// `kind`: as `hostPath.type` names it.
    Host { path: String, kind: String },
    /// Files that follow the objects they come from.
    Files(Vec<File>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// Relative, inside the volume.
    pub path: String,
    pub bytes: Vec<u8>,
    pub mode: u32,
}

/// Why a volume cannot be set up now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {reason}")]
pub struct Missing {
    pub volume: String,
    pub reason: String,
}

pub fn plan(pod: &Pod, refs: &Refs<'_>, facts: &Facts<'_>) -> Result<Vec<Plan>, Missing> {
    let group = spec_of(pod).security_context.as_ref().and_then(|context| context.fs_group);
    let group = group.and_then(|group| u32::try_from(group).ok());
    let one = |volume: &Volume| {
        let source =
            source(pod, volume, refs, facts).map_err(|reason| Missing { volume: volume.name.clone(), reason })?;
        Ok(Plan { name: volume.name.clone(), source, group })
    };
    spec_of(pod).volumes.iter().flatten().map(one).collect()
}

/// Changes when a file of a volume does. `None`: nothing in these volumes can change.
pub fn fingerprint(plans: &[Plan]) -> Option<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut any = false;
    for plan in plans {
        let Source::Files(files) = &plan.source else { continue };
        any = true;
        hasher.update([0]);
        for file in files {
            hasher.update((file.path.len() as u64).to_le_bytes());
            hasher.update(&file.path);
            hasher.update((file.bytes.len() as u64).to_le_bytes());
            hasher.update(&file.bytes);
            hasher.update(file.mode.to_le_bytes());
        }
    }
    any.then(|| hasher.finalize().into())
}

fn source(pod: &Pod, volume: &Volume, refs: &Refs<'_>, facts: &Facts<'_>) -> Result<Source, String> {
    if volume.empty_dir.is_some() {
        return Ok(if is_in_memory(pod, volume) { Source::Memory } else { Source::Directory });
    }
    if let Some(host) = &volume.host_path {
        return Ok(Source::Host { path: host.path.clone(), kind: host.type_.clone().unwrap_or_default() });
    }
    let place = namespace(pod);
    if let Some(wanted) = &volume.config_map {
        let mode = wanted.default_mode.unwrap_or(MODE_DEFAULT);
        let bytes = config_map(refs, place, &wanted.name, wanted.optional == Some(true))?;
        return files(&bytes, wanted.items.as_deref(), mode, wanted.optional == Some(true)).map(Source::Files);
    }
    if let Some(wanted) = &volume.secret {
        let mode = wanted.default_mode.unwrap_or(MODE_DEFAULT);
        let name = wanted.secret_name.as_deref().unwrap_or_default();
        let bytes = secret(refs, place, name, wanted.optional == Some(true))?;
        return files(&bytes, wanted.items.as_deref(), mode, wanted.optional == Some(true)).map(Source::Files);
    }
    if let Some(wanted) = &volume.downward_api {
        let mode = wanted.default_mode.unwrap_or(MODE_DEFAULT);
        return downward(pod, facts, wanted.items.as_deref().unwrap_or_default(), mode).map(Source::Files);
    }
    if let Some(wanted) = &volume.projected {
        let mode = wanted.default_mode.unwrap_or(MODE_DEFAULT);
        let mut all = BTreeMap::new();
        for part in wanted.sources.iter().flatten() {
            let mut found = Vec::new();
            if let Some(part) = &part.config_map {
                let optional = part.optional == Some(true);
                let bytes = config_map(refs, place, &part.name, optional)?;
                found = files(&bytes, part.items.as_deref(), mode, optional)?;
            } else if let Some(part) = &part.secret {
                let optional = part.optional == Some(true);
                let bytes = secret(refs, place, &part.name, optional)?;
                found = files(&bytes, part.items.as_deref(), mode, optional)?;
            } else if let Some(part) = &part.downward_api {
                found = downward(pod, facts, part.items.as_deref().unwrap_or_default(), mode)?;
            } else if part.service_account_token.is_some() {
                return Err("service account tokens are not issued on this cluster".into());
            }
            all.extend(found.into_iter().map(|file| (file.path.clone(), file)));
        }
        return Ok(Source::Files(all.into_values().collect()));
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        return Err(format!("persistentvolumeclaim {:?} cannot be mounted: claims are not served", claim.claim_name));
    }
    // A volume that names no source is an emptyDir, by the API's own default.
    let json = serde_json::to_value(volume).unwrap_or_default();
    match json.as_object().and_then(|fields| fields.keys().find(|key| *key != "name").cloned()) {
        None => Ok(Source::Directory),
        Some(kind) => Err(format!("volumes of the kind {kind} are not supported")),
    }
}

type Bytes = BTreeMap<String, Vec<u8>>;

fn config_map(refs: &Refs<'_>, namespace: &str, name: &str, optional: bool) -> Result<Bytes, String> {
    match refs.config_map(namespace, name) {
        Some(map) => {
            let texts = map.data.unwrap_or_default().into_iter().map(|(key, text)| (key, text.into_bytes()));
            Ok(texts.chain(raw(map.binary_data)).collect())
        }
        None if optional => Ok(Bytes::new()),
        None => Err(format!("configmap {name:?} not found")),
    }
}

fn secret(refs: &Refs<'_>, namespace: &str, name: &str, optional: bool) -> Result<Bytes, String> {
    match refs.secret(namespace, name) {
        Some(secret) => Ok(raw(secret.data).collect()),
        None if optional => Ok(Bytes::new()),
        None => Err(format!("secret {name:?} not found")),
    }
}

fn raw(data: Option<BTreeMap<String, ByteString>>) -> impl Iterator<Item = (String, Vec<u8>)> {
    data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0))
}

/// All keys, or the listed ones under their paths.
fn files(bytes: &Bytes, items: Option<&[KeyToPath]>, mode: i32, optional: bool) -> Result<Vec<File>, String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let all = bytes.iter();
        return Ok(all.map(|(key, bytes)| file(key, bytes.clone(), mode)).collect());
    };
    let mut found = Vec::new();
    for item in items {
        if !is_inside(&item.path) {
            return Err(format!("path {:?} must stay inside the volume", item.path));
        }
        match bytes.get(&item.key) {
            Some(bytes) => found.push(file(&item.path, bytes.clone(), item.mode.unwrap_or(mode))),
            None if optional => {}
            None => return Err(format!("references non-existent config key: {}", item.key)),
        }
    }
    Ok(found)
}

fn downward(pod: &Pod, facts: &Facts<'_>, items: &[DownwardAPIVolumeFile], mode: i32) -> Result<Vec<File>, String> {
    let one = |item: &DownwardAPIVolumeFile| {
        if !is_inside(&item.path) {
            return Err(format!("path {:?} must stay inside the volume", item.path));
        }
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(selector), _) => pod::field(pod, facts, &selector.field_path),
            (_, Some(selector)) => pod::resource(pod, facts, None, selector),
            _ => Ok(String::new()),
        };
        let text = text.map_err(|error| error.to_string())?;
        Ok(file(&item.path, text.into_bytes(), item.mode.unwrap_or(mode)))
    };
    items.iter().map(one).collect()
}

fn file(path: &str, bytes: Vec<u8>, mode: i32) -> File {
    File { path: path.to_owned(), bytes, mode: mode as u32 & 0o777 }
}
