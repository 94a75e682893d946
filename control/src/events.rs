//! Makes Event objects out of notes: one per thing that is said of an object, counted. Pure, decides.

use api::Key;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use crate::plan::{Note, Write};
use crate::view::View;

/// Kubernetes' own limit for an event's message.
pub const MESSAGE_BYTES_MAX: usize = 1024;
/// Room for a dot and sixteen digits within the longest name there may be.
const NAME_BYTES_MAX: usize = 253 - 17;
const REASON_BYTES_MAX: usize = 128;

/// The same (object, reason, message, source) is the same Event, counted up. `component` is who says it, such
/// as `scheduler`. `count` is how often it was said since the last time this was called, at least 1.
pub fn record(note: &Note, component: &str, count: i32, view: &View) -> Write {
    let message = shortened(&note.message, MESSAGE_BYTES_MAX);
    let reason = shortened(&note.reason, REASON_BYTES_MAX);
    let key = key_of(note, component);
    let now = Time(view.now);
    if let Some((entry, existing)) = view.get(&key).and_then(|entry| Some((entry, entry.event()?))) {
        let mut event = Event::clone(existing);
        event.count = Some(event.count.unwrap_or(1).saturating_add(count.max(1)));
        event.last_timestamp = Some(now);
        event.metadata.resource_version = None;
        return Write::Update { object: api::object::encode(&event), key, at: entry.revision };
    }
    let event = Event {
        metadata: ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: note.regarding.clone(),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.into()),
        reason: Some(reason),
        message: Some(message),
        count: Some(count.max(1)),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        source: Some(EventSource { component: Some(component.into()), host: None }),
        reporting_component: Some(component.into()),
        reporting_instance: Some(String::new()),
        ..Event::default()
    };
    Write::Create { object: api::object::encode(&event), key }
}

/// Where the Event of a note stands, whether or not it exists.
pub fn key_of(note: &Note, component: &str) -> Key {
    let regarding = &note.regarding;
    let name = shortened(regarding.name.as_deref().unwrap_or_default(), NAME_BYTES_MAX);
    let parts = [
        regarding.kind.as_deref().unwrap_or_default(),
        regarding.uid.as_deref().unwrap_or_default(),
        regarding.field_path.as_deref().unwrap_or_default(),
        &note.reason,
        &note.message,
        component,
    ];
    Key::new("", "events", namespace(regarding), &format!("{name}.{:016x}", fnv1a(&parts)))
}

/// Events about objects without a namespace stand in the default one.
fn namespace(regarding: &ObjectReference) -> &str {
    regarding.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or("default")
}

/// FNV-1a over the parts, with their boundaries.
fn fnv1a(parts: &[&str]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    parts.iter().fold(0xcbf2_9ce4_8422_2325, |hash, part| part.as_bytes().iter().chain([&0xff]).fold(hash, step))
}

/// Cut at a character's boundary.
fn shortened(text: &str, bytes_max: usize) -> String {
    let end = (0..=text.len().min(bytes_max)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].into()
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
