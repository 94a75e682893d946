//! The schemas of what is served, version 3 and 2. Acts (reads only); `api::openapi` makes the documents, which are
//! large and rarely asked for: they are made anew each time, away from the requests' threads, and clients keep them
//! by their ETag.

use std::sync::OnceLock;

use api::openapi;
use api::status::Status;
use axum::body::Body;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use sha2::{Digest as _, Sha256};

use super::caller::Caller;
use super::respond::{self, Failure};

/// `/openapi/v3`
pub async fn v3_index(caller: Caller, uri: Uri) -> Result<Response<Body>, Failure> {
    caller.may_get(&uri)?;
    let index = blocking(|| serde_json::to_vec(&openapi::v3_index())).await?.map_err(Status::internal)?;
    Ok(respond::json(StatusCode::OK, index))
}

/// `/openapi/v3/api/v1` and `/openapi/v3/apis/<group>/<version>`
pub async fn v3(caller: Caller, uri: Uri, headers: HeaderMap) -> Result<Response<Body>, Failure> {
    caller.may_get(&uri)?;
    let segments: Vec<&str> = uri.path().trim_matches('/').split('/').skip(2).collect();
    let (group, version) = match segments.as_slice() {
        ["api", version] => (String::new(), version.to_string()),
        ["apis", group, version] => (group.to_string(), version.to_string()),
        _ => return Err(Status::no_such_path().into()),
    };
    let made = blocking(move || {
        let hash = openapi::v3_hash(&group, &version)?;
        let document = if is_known(&headers, hash) { None } else { Some(openapi::v3(&group, &version)?) };
        Some((hash, document))
    });
    let (hash, document) = made.await?.ok_or_else(Status::no_such_path)?;
    let mut response = tagged(hash, respond::JSON, document);
    if uri.query().is_some_and(|query| query.contains("hash=")) {
        // The hash in the URL changes with the document.
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    Ok(response)
}

/// `/openapi/v2`: protobuf for kubectl, JSON for the others.
pub async fn v2(caller: Caller, uri: Uri, headers: HeaderMap) -> Result<Response<Body>, Failure> {
    caller.may_get(&uri)?;
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let protobuf = openapi::wants_protobuf(accept);
    let made = blocking(move || {
        let hash = v2_hash();
        let make = if protobuf { openapi::v2_protobuf } else { openapi::v2 };
        (hash, (!is_known(&headers, hash)).then(make))
    });
    let (hash, document) = made.await?;
    let content_type = if protobuf { HeaderValue::from_static(openapi::V2_PROTOBUF) } else { respond::JSON };
    let mut response = tagged(hash, content_type, document);
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// The same facts as version 3, so it changes with them.
fn v2_hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| {
        let digest = Sha256::digest(openapi::v3_index().to_string());
        digest.iter().map(|byte| format!("{byte:02X}")).collect()
    })
}

fn is_known(headers: &HeaderMap, hash: &str) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().any(|value| value.to_str().is_ok_and(|tags| tags.contains(hash)))
}

/// `None`: the client has it.
fn tagged(hash: &str, content_type: HeaderValue, document: Option<Vec<u8>>) -> Response<Body> {
    let mut response = match document {
        Some(document) => respond::typed(StatusCode::OK, content_type, document),
        None => respond::typed(StatusCode::NOT_MODIFIED, content_type, Body::empty()),
    };
    if response.status() == StatusCode::NOT_MODIFIED {
        response.headers_mut().remove(CONTENT_TYPE);
    }
    let tag = HeaderValue::from_str(&format!("\"{hash}\"")).expect("hexadecimal digits are a header value");
    response.headers_mut().insert(ETAG, tag);
    response
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    proto::seam::apart(work).await.map_err(Status::internal)
}
