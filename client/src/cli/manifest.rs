//! Manifests from files, directories and standard input: YAML with several documents, or JSON. Acts.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use api::kinds::{self, Kind};
use serde::Deserialize as _;
use serde_json::Value;

use super::Failure;

/// One object to apply or delete, with the place it came from for messages.
pub struct Manifest {
    pub kind: &'static Kind,
    pub name: String,
    /// "" when the manifest names none.
    pub namespace: String,
    pub object: Value,
}

/// Reads every object in the given places. `-` is standard input; a directory gives its .yaml, .yml and .json files.
pub fn read(places: &[PathBuf]) -> Result<Vec<Manifest>, Failure> {
    let mut found = Vec::new();
    for place in places {
        for (source, text) in texts(place)? {
            let documents = serde_yaml::Deserializer::from_str(&text);
            for document in documents {
                let value = Value::deserialize(document).map_err(|error| Failure::new(format!("{source}: {error}")))?;
                collect(value, &source, &mut found)?;
            }
        }
    }
    if found.is_empty() {
        return Err(Failure::new("the manifests hold no objects"));
    }
    Ok(found)
}

fn texts(place: &Path) -> Result<Vec<(String, String)>, Failure> {
    let name = place.display().to_string();
    let fail = |error: std::io::Error| Failure::new(format!("{name}: {error}"));
    if name == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(fail)?;
        return Ok(vec![("standard input".into(), text)]);
    }
    if !place.is_dir() {
        return Ok(vec![(name.clone(), std::fs::read_to_string(place).map_err(fail)?)]);
    }
    let entries: Result<Vec<_>, _> =
        std::fs::read_dir(place).map_err(fail)?.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut files = entries.map_err(fail)?;
    files.retain(|file| file.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json"));
    files.sort();
    let read = |file: PathBuf| Ok((file.display().to_string(), std::fs::read_to_string(&file).map_err(fail)?));
    files.into_iter().map(read).collect()
}

fn collect(value: Value, source: &str, found: &mut Vec<Manifest>) -> Result<(), Failure> {
    if value.is_null() {
        return Ok(());
    }
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, kind_name) = (text("/apiVersion"), text("/kind"));
    if kind_name == "List" {
        for item in value.get("items").and_then(Value::as_array).cloned().unwrap_or_default() {
            collect(item, source, found)?;
        }
        return Ok(());
    }
    if version.is_empty() || kind_name.is_empty() {
        return Err(Failure::new(format!("{source}: an object has no apiVersion or no kind")));
    }
    let (group, version) = version.split_once('/').unwrap_or(("", version.as_str()));
    let kind = kinds::find_kind(group, version, &kind_name).ok_or_else(|| {
        let near = kinds::KINDS.iter().find(|kind| kind.kind.eq_ignore_ascii_case(&kind_name));
        let hint = near.map(|kind| format!(" (is it kind {} of {} that is meant?)", kind.kind, api_version(kind)));
        Failure::new(format!(
            "{source}: there is no kind {kind_name:?} in {}{}",
            text("/apiVersion"),
            hint.unwrap_or_default()
        ))
    })?;
    let name = text("/metadata/name");
    if name.is_empty() {
        return Err(Failure::new(format!("{source}: a {} has no metadata.name", kind.kind)));
    }
    let namespace = text("/metadata/namespace");
    found.push(Manifest { kind, name, namespace, object: value });
    Ok(())
}

fn api_version(kind: &Kind) -> String {
    if kind.group.is_empty() { kind.version.into() } else { format!("{}/{}", kind.group, kind.version) }
}
