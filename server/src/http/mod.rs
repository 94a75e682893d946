//! The REST door: the Kubernetes API over TLS, on the same listener as gRPC. In reading order:
//!
//! - `serve`, `slots`, `deadline`: connections, with the caller's identity on every request;
//! - `access`: what holds for every request: an id, metrics, that a panic stays one request's; and who is let in;
//! - `caller`, `path`, `query`, `accept`, `body`, `protobuf`: what is asked for (pure);
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
mod slots;
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

/// The REST API. It has a fallback of its own, so the gRPC routes that are merged with it must have none.
pub fn router(doors: Doors) -> Router {
    let access = access::Access::new(&doors);
    routes(doors, access)
}

fn routes(doors: Doors, access: access::Access) -> Router {
    let compression = CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(list::compression());
    // Whoever looks after this replica must get an answer however busy it is.
    let probes = Router::new()
        .route("/healthz", get(health::live))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/version", get(discovery::version))
        .route("/version/", get(discovery::version))
        .route("/metrics", get(health::metrics))
        .method_not_allowed_fallback(resources::method_not_allowed);
    // Clients made from the OpenAPI document, such as Python's, ask for some of these with a slash at the end.
    let api = Router::new()
        .route("/api", get(discovery::core_versions))
        .route("/api/", get(discovery::core_versions))
        .route("/apis", get(discovery::groups))
        .route("/apis/", get(discovery::groups))
        .route("/openapi/v2", get(openapi::v2))
        .route("/openapi/v3", get(openapi::v3_index))
        .route("/openapi/v3/{*path}", get(openapi::v3))
        .fallback(resources::answer)
        .method_not_allowed_fallback(resources::method_not_allowed)
        .layer(middleware::from_fn_with_state(access.clone(), access::admit));
    probes
        .merge(api)
        .layer(DefaultBodyLimit::disable())
        .layer(compression)
        .layer(middleware::from_fn_with_state(access, access::pass))
        .with_state(doors)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use tower::ServiceExt as _;

    use super::*;
    use crate::auth::Identity;
    use crate::sessions::{self, Sessions};

    #[tokio::test]
    async fn a_full_house_says_how_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let env = Env::real();
        let store = crate::fixtures::store(dir.path(), env.clone()).await;
        let (roster, standing) = (store.roster(), store.standing());
        let config = sessions::Config { cluster_id: "test".into(), epoch: 0, roster, standing };
        let doors = Doors {
            objects: Objects::new(store.clone(), env.clone()),
            streams: Streams::new(store.clone(), Sessions::new(config, env.clone()), CancellationToken::new()),
            store: store.clone(),
            env,
            metrics: Metrics::default(),
            shutdown: CancellationToken::new(),
        };
        let full = access::Access::full(&doors);
        let router = routes(doors, full);
        for (path, code) in
            [("/livez", 200), ("/readyz", 200), ("/healthz", 200), ("/version", 200), ("/metrics", 200), ("/api", 429)]
        {
            let mut request = Request::get(path).body(Body::empty()).expect("a request");
            request.extensions_mut().insert(Identity::system("test"));
            let answer = router.clone().oneshot(request).await.expect("an answer");
            assert_eq!(answer.status().as_u16(), code, "{path}");
        }
        store.shutdown().await;
    }
}
