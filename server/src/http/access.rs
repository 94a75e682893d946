//! What holds for every request: it has an id, is counted, and its panic is its own. What asks for more than whether this
//! replica is well is also bounded, and needs somebody who asks. Acts.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use api::status::Status;
use api::yaml::BODY_BYTES_MAX;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use futures::FutureExt as _;
use http::header::{CACHE_CONTROL, HeaderName};
use http::{HeaderValue, Response};
use proto::seam::Random;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::caller::Caller;
use super::{Doors, respond};
use crate::arrival::Arrivals;
use crate::auth::{self, Identity};
use crate::metrics::{Kind, Metrics, Word};

/// Requests that have arrived whole, and whose answer has not begun.
const IN_FLIGHT_MAX: usize = 400;
const RETRY_AFTER_SECONDS: u32 = 1;
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// A handler tells by this extension of its response what it did.
pub type Measured = Kind;

#[derive(Clone)]
pub struct Access {
    metrics: Metrics,
    random: Random,
    slots: Arc<Semaphore>,
    arrivals: Arrivals,
}

impl Access {
    pub fn new(doors: &Doors) -> Access {
        let (slots, arrivals) = (Arc::new(Semaphore::new(IN_FLIGHT_MAX)), Arrivals::default());
        Access { metrics: doors.metrics.clone(), random: doors.env.random.clone(), slots, arrivals }
    }

    /// With room for nobody.
    #[cfg(test)]
    pub fn full(doors: &Doors) -> Access {
        Access { slots: Arc::new(Semaphore::new(0)), ..Access::new(doors) }
    }
}

pub async fn pass(State(access): State<Access>, request: Request, next: Next) -> Response<Body> {
    let began = Instant::now();
    let id = access.random.uuid();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let user = request.extensions().get::<Identity>().cloned().unwrap_or_else(Identity::anonymous);
    let held = access.metrics.in_flight();
    let mut response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            access.metrics.panicked();
            tracing::error!(audit_id = id, %method, path, "a request's handler panicked");
            respond::status(&Status::internal("the request's handler panicked; the log says more"))
        }
    };
    drop(held);
    let measured = response.extensions().get::<Measured>().copied();
    let measured = measured.unwrap_or(Kind { verb: Word(verb(&method)), resource: Word("") });
    let took = began.elapsed();
    access.metrics.request(measured, response.status().as_u16(), took);
    tracing::debug!(audit_id = id, user = user.user(), %method, path, code = response.status().as_u16(), ?took, "request");
    let headers = response.headers_mut();
    headers.insert(AUDIT_ID, HeaderValue::from_str(&id).expect("a UUID is a header value"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    response
}

/// Lets somebody in whom a certificate names, with all that the request brings along. Who sends it slowly keeps nobody
/// out: a request takes its place only once it is there.
pub async fn admit(State(access): State<Access>, Caller(user): Caller, request: Request, next: Next) -> Response<Body> {
    if user.is_anonymous() {
        return respond::status(&auth::unauthorized());
    }
    let (request, _taken) = match access.arrivals.receive(request, BODY_BYTES_MAX).await {
        Ok(received) => received,
        Err(refused) => return respond::status(&refused.into()),
    };
    let Ok(_slot) = access.slots.try_acquire() else {
        let why = "too many requests are in flight, please try again later";
        return respond::status(&Status::too_many_requests(why, RETRY_AFTER_SECONDS));
    };
    next.run(request).await
}

fn verb(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::{get, post};
    use futures::stream;
    use tokio::time::timeout;
    use tower::ServiceExt as _;

    async fn send(router: &Router, user: Option<Identity>, path: &str, body: Body) -> u16 {
        let method = if path == "/write" { "POST" } else { "GET" };
        let mut request = Request::builder().method(method).uri(path).body(body).unwrap();
        user.map(|user| request.extensions_mut().insert(user));
        let response = router.clone().oneshot(request).await.unwrap();
        assert!(response.headers().contains_key("audit-id"));
        response.status().as_u16()
    }

    async fn ask(router: &Router, path: &str) -> u16 {
        send(router, Some(jane()), path, Body::empty()).await
    }

    fn jane() -> Identity {
        Identity::new("jane", &[])
    }

    fn never() -> Body {
        Body::from_stream(stream::pending::<Result<&str, std::io::Error>>())
    }

    fn router(slots: usize) -> Router {
        let (random, arrivals) = (Random::from_seed(1), Arrivals::default());
        let access = Access { metrics: Metrics::new(), random, slots: Arc::new(Semaphore::new(slots)), arrivals };
        Router::new()
            .route("/fine", get(async || "fine"))
            .route("/write", post(async |body: String| body))
            .route("/panic", get(async || -> &'static str { panic!("a bug") }))
            .layer(from_fn_with_state(access.clone(), admit))
            .layer(from_fn_with_state(access, pass))
    }

    #[tokio::test]
    async fn a_panic_ends_one_request_and_holds_nothing() {
        let router = router(1);
        assert_eq!(ask(&router, "/panic").await, 500);
        assert_eq!(ask(&router, "/panic").await, 500);
        assert_eq!(ask(&router, "/fine").await, 200);
    }

    #[tokio::test]
    async fn more_than_fit_are_asked_to_come_back() {
        assert_eq!(ask(&router(0), "/fine").await, 429);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_unknown_is_refused_before_anything_is_read() {
        let router = router(1);
        for user in [None, Some(Identity::anonymous())] {
            let refused = timeout(Duration::from_secs(1), send(&router, user, "/write", never()));
            assert_eq!(refused.await.expect("at once"), 401);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_keeps_nobody_out() {
        let router = router(1);
        let slow = tokio::spawn({
            let router = router.clone();
            async move { send(&router, Some(jane()), "/write", never()).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(ask(&router, "/fine").await, 200);
        assert_eq!(send(&router, Some(jane()), "/write", Body::from("all of it")).await, 200);
        assert_eq!(slow.await.unwrap(), 504);
    }
}
