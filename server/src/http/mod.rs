//! The REST door: the Kubernetes API over TLS, on the same listener as gRPC. In reading order:
//!
//! - `serve`, `deadline`: connections, with the caller's identity on every request;
//! - `access`: what holds for every request: an id, metrics, a bound, and that a panic stays one request's;
//! - `caller`, `path`, `query`, `accept`, `body`, `protobuf`: what is asked for (pure, but for reading the body);
//! - `resources`, `list`, `watch`: the verbs over objects;
//! - `discovery`, `openapi`, `health`: what is served here, and how it fares;
//! - `respond`, `shapes`, `pieces`: the answers' shape (pure).

mod accept;
mod access;
mod body;
mod caller;
mod deadline;
mod discovery;
mod health;
mod list;
mod openapi;
mod path;
mod pieces;
mod protobuf;
mod query;
mod resources;
mod respond;
mod serve;
mod shapes;
mod watch;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::get;
use proto::seam::Env;
use raft::Store;
use tokio_util::sync::CancellationToken;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

pub use serve::serve;

use crate::metrics::Metrics;
use crate::objects::Objects;
use crate::streams::Streams;

/// What the door stands in front of. Cheap to clone.
#[derive(Clone)]
pub struct Doors {
    pub objects: Objects,
    pub streams: Streams,
    pub store: Store,
    pub env: Env,
    pub metrics: Metrics,
    /// Cancelled when the process is about to end: watches end, and readiness is withdrawn.
    pub shutdown: CancellationToken,
}

/// The REST API. It has a fallback of its own, so gRPC services are added to it, not it to them:
/// `tonic::service::Routes::from(router).add_service(…).into_axum_router()`.
pub fn router(doors: Doors) -> Router {
    let compression = CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(list::compression());
    let access = access::Access::new(&doors);
    // Clients made from the OpenAPI document, such as Python's, ask for some of these with a slash at the end.
    Router::new()
        .route("/healthz", get(health::live))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/version", get(discovery::version))
        .route("/version/", get(discovery::version))
        .route("/metrics", get(health::metrics))
        .route("/api", get(discovery::core_versions))
        .route("/api/", get(discovery::core_versions))
        .route("/apis", get(discovery::groups))
        .route("/apis/", get(discovery::groups))
        .route("/openapi/v2", get(openapi::v2))
        .route("/openapi/v3", get(openapi::v3_index))
        .route("/openapi/v3/{*path}", get(openapi::v3))
        .fallback(resources::answer)
        .method_not_allowed_fallback(resources::method_not_allowed)
        .layer(DefaultBodyLimit::disable())
        .layer(compression)
        .layer(middleware::from_fn_with_state(access, access::pass))
        .with_state(doors)
}
