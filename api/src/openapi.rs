//! OpenAPI v3 and v2 of what is served, made from the table of kinds and k8s-openapi's schemas. Pure.
//!
//! Nothing is kept but the hashes of the documents: each is made when asked for, and caching it is for the door.
//! kubectl reads them for `explain`, to learn that the server validates fields, and for the merge keys of `apply`.

mod item;
mod parameters;
mod paths;
mod proto;
mod schemas;
mod v2;
mod v3;

use crate::discovery;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::OnceLock;

/// The media type of `v2_protobuf`, as clients ask for it. Those before kubectl 1.32 ask for the other spelling.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const V2_PROTOBUF_OLD: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Whether a client of `/openapi/v2` wants protobuf. kubectl cannot read the JSON form.
pub fn wants_protobuf(accept: &str) -> bool {
    let mut media_types = accept.split(',').map(|media_type| media_type.split(';').next().unwrap_or("").trim());
    media_types.any(|media_type| media_type == V2_PROTOBUF || media_type == V2_PROTOBUF_OLD)
}

/// `/openapi/v3`: where the document of each group and version is. The hash in each URL changes with the
/// document, so what is fetched by it may be cached for good.
pub fn v3_index() -> Value {
    let paths = hashes().iter().map(|(group, version, hash)| {
        let path = place(group, version);
        let url = format!("/openapi/v3/{path}?hash={hash}");
        (path, json!({"serverRelativeURL": url}))
    });
    json!({"paths": paths.collect::<serde_json::Map<_, _>>()})
}

/// `/openapi/v3/api/v1` (with the group "") and `/openapi/v3/apis/<group>/<version>`, as JSON.
pub fn v3(group: &str, version: &str) -> Option<Vec<u8>> {
    let (group, version) = group_versions().find(|(of, at)| *of == group && *at == version)?;
    Some(encode(&v3::document(group, version)))
}

/// The hash of such a document: its ETag.
pub fn v3_hash(group: &str, version: &str) -> Option<&'static str> {
    hashes().iter().find(|(of, at, _)| *of == group && *at == version).map(|(_, _, hash)| hash.as_str())
}

/// `/openapi/v2`, as JSON.
pub fn v2() -> Vec<u8> {
    encode(&v2::document())
}

/// `/openapi/v2`, as protobuf (gnostic's openapi.v2.Document).
pub fn v2_protobuf() -> Vec<u8> {
    proto::encode(&v2::document())
}

/// The path of a group and version below `/openapi/v3/`.
fn place(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn group_versions() -> impl Iterator<Item = (&'static str, &'static str)> {
    let groups = std::iter::once("").chain(discovery::named_groups());
    groups.flat_map(|group| discovery::versions(group).map(move |version| (group, version)))
}

fn hashes() -> &'static [(&'static str, &'static str, String)] {
    static HASHES: OnceLock<Vec<(&str, &str, String)>> = OnceLock::new();
    HASHES.get_or_init(|| {
        let hash = |(group, version)| {
            let digest = Sha256::digest(encode(&v3::document(group, version)));
            let hex: String = digest.iter().map(|byte| format!("{byte:02X}")).collect();
            (group, version, hex)
        };
        group_versions().map(hash).collect()
    })
}

fn encode(document: &Value) -> Vec<u8> {
    serde_json::to_vec(document).expect("documents have only string keys and finite numbers")
}

fn info() -> Value {
    json!({"title": "Kubernetes API, served by Kontiki", "version": concat!("v", env!("CARGO_PKG_VERSION"))})
}

#[cfg(test)]
mod tests;
