//! Stored objects as bytes: encoding, the metadata alone, the revision spliced in. Pure.
//!
//! A stored object is compact JSON whose first three fields are apiVersion, kind and metadata, without
//! `metadata.resourceVersion`: the revision under which the store holds it is its resourceVersion.

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;
use k8s_openapi::Resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::{Deserialize, Deserializer, Serialize};

/// The bytes to store for a typed object. A resourceVersion in its metadata must have been cleared.
pub fn encode<T: Resource + Serialize>(object: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(object).expect("API objects have only string keys and finite numbers");
    metadata_to_front(&mut bytes);
    bytes
}

/// The object as clients see it: with its resourceVersion.
pub fn with_revision(stored: &[u8], revision: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(stored.len() + 44);
    write_with_revision(&mut out, stored, revision);
    out
}

/// As [`with_revision`], appended to `out`: for lists.
pub fn write_with_revision(out: &mut Vec<u8>, stored: &[u8], revision: u64) {
    let Some(at) = metadata_start(stored).filter(|at| stored.get(*at) == Some(&b'{')) else {
        return out.extend_from_slice(stored);
    };
    let (head, tail) = stored.split_at(at + 1);
    out.extend_from_slice(head);
    out.extend_from_slice(b"\"resourceVersion\":\"");
    out.extend_from_slice(revision.to_string().as_bytes());
    out.extend_from_slice(if tail.first() == Some(&b'}') { b"\"" } else { b"\"," });
    out.extend_from_slice(tail);
}

/// Gives an encoded object that has neither its uid and its creation time.
pub fn stamp(encoded: &[u8], uid: &str, now: Timestamp) -> Vec<u8> {
    let mut meta = object_meta(encoded).unwrap_or_default();
    meta.uid = Some(uid.into());
    meta.creation_timestamp = Some(Time(now));
    replace_meta(encoded, &meta)
}

/// The same object with other metadata.
pub fn replace_meta(stored: &[u8], meta: &ObjectMeta) -> Vec<u8> {
    let Some(span) = field_span(stored, "metadata") else { return stored.to_vec() };
    let mut out = Vec::with_capacity(stored.len() + 128);
    out.extend_from_slice(&stored[..span.start]);
    out.extend_from_slice(b"\"metadata\":");
    serde_json::to_writer(&mut out, meta).expect("metadata has only string keys");
    out.extend_from_slice(&stored[span.end..]);
    out
}

/// The metadata without the rest of the object, which is not even looked at.
pub fn meta(stored: &[u8]) -> Result<Meta, serde_json::Error> {
    parse_meta(stored)
}

/// As [`meta`], in the API's own type.
pub fn object_meta(stored: &[u8]) -> Result<ObjectMeta, serde_json::Error> {
    parse_meta(stored)
}

/// The parts of the metadata that decisions are made by. What is absent is empty.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    #[serde(deserialize_with = "null_is_default")]
    pub name: String,
    #[serde(deserialize_with = "null_is_default")]
    pub namespace: String,
    #[serde(deserialize_with = "null_is_default")]
    pub generate_name: String,
    #[serde(deserialize_with = "null_is_default")]
    pub uid: String,
    /// As a client sent it; stored objects have none.
    #[serde(deserialize_with = "null_is_default")]
    pub resource_version: String,
    #[serde(deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_is_default")]
    pub owner_references: Vec<OwnerReference>,
    #[serde(deserialize_with = "null_is_default")]
    pub finalizers: Vec<String>,
    pub creation_timestamp: Option<Time>,
    pub deletion_timestamp: Option<Time>,
    pub deletion_grace_period_seconds: Option<i64>,
    pub generation: Option<i64>,
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `base` plus five characters made from `random`: what `generateName` asks for.
pub fn generate_name(base: &str, random: u64) -> String {
    format!("{}{}", generated_base(base), suffix(random, GENERATED_SUFFIX))
}

/// Is it a name as [`generate_name`] makes them of `base`?
pub fn is_generated(name: &str, base: &str) -> bool {
    let made = name.strip_prefix(generated_base(base));
    made.is_some_and(|made| made.len() == GENERATED_SUFFIX && made.bytes().all(|one| SUFFIX_ALPHABET.contains(&one)))
}

fn generated_base(base: &str) -> &str {
    let end = (0..=base.len().min(GENERATED_BASE_BYTES_MAX)).rev().find(|&end| base.is_char_boundary(end)).unwrap_or(0);
    &base[..end]
}

const GENERATED_SUFFIX: usize = 5;

/// Leaves room for the five characters within a DNS label.
const GENERATED_BASE_BYTES_MAX: usize = 58;

/// Consonants and digits that make no words and are hard to confuse.
pub const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// `length` characters of [`SUFFIX_ALPHABET`] that encode `number`, lowest digit first.
pub fn suffix(mut number: u64, length: usize) -> String {
    let base = SUFFIX_ALPHABET.len() as u64;
    let digits = (0..length).map(|_| {
        let digit = SUFFIX_ALPHABET[(number % base) as usize];
        number /= base;
        digit as char
    });
    digits.collect()
}

fn parse_meta<T: Default + serde::de::DeserializeOwned>(stored: &[u8]) -> Result<T, serde_json::Error> {
    let start = metadata_start(stored).or_else(|| {
        let span = field_span(stored, "metadata")?;
        Some(span.start + METADATA.len())
    });
    match start {
        // What follows the metadata is left unread, so there is no call of `end()`.
        Some(start) => T::deserialize(&mut serde_json::Deserializer::from_slice(&stored[start..])),
        None => serde_json::from_slice::<serde::de::IgnoredAny>(stored).map(|_| T::default()),
    }
}

const METADATA: &[u8] = b"\"metadata\":";

/// Where the value of `metadata` begins, when it is the third field: after two short strings.
fn metadata_start(stored: &[u8]) -> Option<usize> {
    let mut at = 1;
    for field in [&b"\"apiVersion\":\""[..], b"\"kind\":\""] {
        at += stored.get(at..)?.strip_prefix(field).map(|_| field.len())?;
        at += stored[at..].iter().position(|b| *b == b'"')? + 1;
        at += stored.get(at..)?.strip_prefix(b",").map(|_| 1)?;
    }
    stored[at..].starts_with(METADATA).then_some(at + METADATA.len())
}

fn metadata_to_front(bytes: &mut [u8]) {
    if metadata_start(bytes).is_some() {
        return;
    }
    let (Some(kind), Some(metadata)) = (field_span(bytes, "kind"), field_span(bytes, "metadata")) else { return };
    let region = &mut bytes[kind.end + 1..metadata.end];
    let length = metadata.end - metadata.start;
    region.rotate_right(length);
    region[length..].rotate_right(1);
}

/// Where a top-level field of a compact JSON object stands, from its opening quote to the end of its value.
fn field_span(bytes: &[u8], name: &str) -> Option<Range<usize>> {
    let (mut at, mut depth, mut start) = (0, 0usize, None);
    let mut key = 0..0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let end = string_end(bytes, at)?;
                key = at..end;
                at = end;
                continue;
            }
            b':' if depth == 1 && start.is_none() => {
                let found = bytes.get(key.start + 1..key.end.saturating_sub(1)) == Some(name.as_bytes());
                start = found.then_some(key.start);
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if let Some(start) = start
            && (depth == 1 && *byte == b',' || depth == 0)
        {
            return Some(start..at);
        }
        at += 1;
    }
    None
}

/// The index after the string that begins at `at`.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match bytes.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_revision_is_spliced_in_and_nothing_else_changes() {
        for (stored, expected) in [
            (
                r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{}}"#,
                r#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"7","name":"a"},"spec":{}}"#,
            ),
            (
                r#"{"apiVersion":"v1","kind":"Pod","metadata":{}}"#,
                r#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"7"}}"#,
            ),
        ] {
            assert_eq!(String::from_utf8(with_revision(stored.as_bytes(), 7)).unwrap(), expected);
        }
    }

    #[test]
    fn metadata_comes_third_whatever_the_type_does() {
        let mut map = ConfigMap::default();
        map.metadata.name = Some("m".into());
        map.data = Some([("metadata".into(), "{\"metadata\":{".into())].into());
        map.immutable = Some(true);
        let encoded = String::from_utf8(encode(&map)).unwrap();
        assert_eq!(
            encoded,
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"metadata":"{\"metadata\":{"},"immutable":true}"#
        );
        assert_eq!(meta(encoded.as_bytes()).unwrap().name, "m");
    }

    #[test]
    fn generated_names_fit_a_label() {
        assert_eq!(generate_name("web-", 0), "web-bbbbb");
        assert_eq!(generate_name(&"a".repeat(80), 1).len(), 63);
        assert_eq!(generate_name(&"ä".repeat(40), 1).chars().count(), 29 + 5);
        assert_ne!(generate_name("web-", 1), generate_name("web-", 2));
    }

    #[test]
    fn a_generated_name_is_told_from_one_that_was_chosen() {
        for base in ["web-", "web", &"a".repeat(80), &"ä".repeat(40)] {
            assert!(is_generated(&generate_name(base, 12_345), base), "{base}");
        }
        for chosen in ["web-0", "web-10000", "web-bbbbbb", "web-bbbb", "db-bbbbb", "web-", "bbbbb"] {
            assert!(!is_generated(chosen, "web-"), "{chosen}");
        }
    }

    #[test]
    fn stamping_gives_identity_once() {
        let stored = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{}}"#;
        let stamped = stamp(stored, "u-1", "2026-01-02T03:04:05.678Z".parse().unwrap());
        assert_eq!(
            String::from_utf8(stamped).unwrap(),
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"creationTimestamp":"2026-01-02T03:04:05Z","name":"a","uid":"u-1"},"spec":{}}"#
        );
    }

    #[test]
    fn broken_bytes_are_an_error_and_no_panic() {
        for broken in [
            "",
            "{",
            "{\"metadata\":",
            "{\"metadata\":{\"name\":1}}",
            "[",
            "\"\\",
            "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{",
        ] {
            assert!(meta(broken.as_bytes()).is_err(), "{broken:?}");
            with_revision(broken.as_bytes(), 1);
            replace_meta(broken.as_bytes(), &ObjectMeta::default());
        }
    }

    proptest! {
        #[test]
        fn splice_and_parse_round_trip(
            name in "\\PC{0,20}",
            data in proptest::collection::btree_map("\\PC{0,12}", "\\PC{0,40}", 0..6),
            revision: u64,
        ) {
            let mut map = ConfigMap { data: Some(data), ..ConfigMap::default() };
            map.metadata.name = Some(name.clone());
            let stored = encode(&map);
            prop_assert_eq!(&serde_json::from_slice::<ConfigMap>(&stored).unwrap(), &map);
            prop_assert_eq!(&meta(&stored).unwrap().name, &name);
            let shown = with_revision(&stored, revision);
            let asked = revision.to_string();
            prop_assert_eq!(meta(&shown).unwrap().resource_version, asked.clone());
            map.metadata.resource_version = Some(asked);
            prop_assert_eq!(serde_json::from_slice::<ConfigMap>(&shown).unwrap(), map);
            serde_json::from_slice::<Value>(&shown).unwrap();
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = meta(&bytes);
            with_revision(&bytes, 1);
            replace_meta(&bytes, &ObjectMeta::default());
        }
    }
}
