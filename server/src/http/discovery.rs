//! What is served here: versions, groups, resources. Acts (reads only); `api::discovery` makes the documents.

use api::discovery::{self, Aggregated};
use axum::body::Body;
use http::header::{ACCEPT, HOST};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use serde_json::{Value, json};

use super::caller::Caller;
use super::respond::{self, Failure};

/// The version of Kubernetes whose API this is.
const MAJOR: &str = "1";
const MINOR: &str = "33";
const GIT_VERSION: &str = "v1.33.0+kontiki";

pub async fn version() -> Response<Body> {
    let (os, architecture) = (std::env::consts::OS, architecture());
    document(&json!({
        "major": MAJOR,
        "minor": MINOR,
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{os}/{architecture}"),
    }))
}

/// As Go names it, which is what clients know.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `/api`
pub async fn core_versions(caller: Caller, uri: Uri, headers: HeaderMap) -> Result<Response<Body>, Failure> {
    caller.may_get(&uri)?;
    if let Some(of) = wants_aggregated(&headers) {
        return Ok(aggregated(of, true));
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.authority().map(|authority| authority.as_str()));
    Ok(document(&discovery::api_versions(host.unwrap_or_default())))
}

/// `/apis`
pub async fn groups(caller: Caller, uri: Uri, headers: HeaderMap) -> Result<Response<Body>, Failure> {
    caller.may_get(&uri)?;
    Ok(match wants_aggregated(&headers) {
        Some(of) => aggregated(of, false),
        None => document(&discovery::groups()),
    })
}

/// `/api/v1`, `/apis/<group>` and `/apis/<group>/<version>`; `None` for paths that are no such document.
pub fn resources(method: &Method, uri: &Uri) -> Option<Response<Body>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let path = uri.path().trim_matches('/');
    let segments: Vec<&str> = path.split('/').collect();
    let found = match segments.as_slice() {
        ["api", version] => discovery::resources("", version),
        ["apis", group] => discovery::group(group),
        ["apis", group, version] => discovery::resources(group, version),
        ["apis", "apiextensions.k8s.io", "v1", "customresourcedefinitions"] => Some(no_custom_resources()),
        _ => None,
    };
    found.map(|value| document(&value))
}

/// kubectl before 1.28 looks for a definition before it says that it does not know a kind; the group itself is not
/// served.
fn no_custom_resources() -> Value {
    json!({
        "kind": "CustomResourceDefinitionList",
        "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {"resourceVersion": "1"},
        "items": [],
    })
}

fn wants_aggregated(headers: &HeaderMap) -> Option<Aggregated> {
    headers.get_all(ACCEPT).iter().find_map(|value| Aggregated::wanted(value.to_str().ok()?))
}

fn aggregated(of: Aggregated, core: bool) -> Response<Body> {
    let body = serde_json::to_vec(&discovery::aggregated(of, core)).expect("JSON values serialize");
    let kind = HeaderValue::from_str(&of.media_type()).expect("a media type is a header value");
    respond::typed(StatusCode::OK, kind, body)
}

fn document(value: &Value) -> Response<Body> {
    respond::json(StatusCode::OK, serde_json::to_vec(value).expect("JSON values serialize"))
}
