//! Cells that many kinds have. Pure.

use super::human_duration;
use crate::selector::LabelSelector;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) const NONE: &str = "<none>";

pub(super) fn name(meta: &meta::ObjectMeta) -> Value {
    meta.name.clone().unwrap_or_default().into()
}

pub(super) fn age(meta: &meta::ObjectMeta, now: Timestamp) -> Value {
    since(meta.creation_timestamp.as_ref().map(|time| time.0), now).into()
}

/// How long ago, or `<unknown>`.
pub(super) fn since(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(|| "<unknown>".into(), |time| human_duration(now.duration_since(time)))
}

/// Empty text is shown as `<none>`.
pub(super) fn or_none(text: Option<&str>) -> Value {
    or(text, NONE)
}

pub(super) fn or(text: Option<&str>, absent: &str) -> Value {
    text.filter(|text| !text.is_empty()).unwrap_or(absent).into()
}

/// A map of labels as a selector: `a=b,c=d`.
pub(super) fn labels(labels: Option<&BTreeMap<String, String>>) -> Value {
    let pairs: Vec<String> = labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    or_none(Some(&pairs.join(",")))
}

pub(super) fn selector(selector: &meta::LabelSelector) -> Value {
    match LabelSelector::from_object(selector) {
        Ok(selector) => or_none(Some(&selector.to_string())),
        Err(_) => "<error>".into(),
    }
}

/// Names and images of a template's containers.
pub(super) fn containers(template: Option<&PodTemplateSpec>) -> [Value; 2] {
    let spec = template.and_then(|template| template.spec.as_ref());
    let containers = spec.map_or(&[][..], |spec| &spec.containers);
    let names: Vec<&str> = containers.iter().map(|container| container.name.as_str()).collect();
    let images: Vec<&str> = containers.iter().filter_map(|container| container.image.as_deref()).collect();
    [names.join(",").into(), images.join(",").into()]
}

/// The first three, and how many there are besides.
pub(super) fn some_of(all: impl Iterator<Item = String>, absent: &str) -> Value {
    const SHOWN_MAX: usize = 3;
    let (mut shown, mut more) = (Vec::new(), 0);
    for one in all {
        if shown.len() < SHOWN_MAX {
            shown.push(one);
        } else {
            more += 1;
        }
    }
    let text = shown.join(",");
    if more > 0 { format!("{text} + {more} more...").into() } else { or(Some(&text), absent) }
}
