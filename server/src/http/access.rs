//! What holds for every request: it has an id, is counted and bounded, and its panic is its own. Acts.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use api::status::Status;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use futures::FutureExt as _;
use http::header::{CACHE_CONTROL, HeaderName};
use http::{HeaderValue, Response};
use proto::seam::Random;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Doors, respond};
use crate::auth::Identity;
use crate::metrics::{Kind, Metrics, Word};

/// Requests whose answer has not begun. Each may hold a body of 3 MiB: this many are what memory allows.
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
}

impl Access {
    pub fn new(doors: &Doors) -> Access {
        let slots = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        Access { metrics: doors.metrics.clone(), random: doors.env.random.clone(), slots }
    }
}

pub async fn pass(State(access): State<Access>, request: Request, next: Next) -> Response<Body> {
    let began = Instant::now();
    let id = access.random.uuid();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let user = request.extensions().get::<Identity>().cloned().unwrap_or_else(Identity::anonymous);
    let held = access.metrics.in_flight();
    let mut response = match access.slots.try_acquire() {
        Ok(_slot) => match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(_) => {
                access.metrics.panicked();
                tracing::error!(audit_id = id, %method, path, "a request's handler panicked");
                respond::status(&Status::internal("the request's handler panicked; the log says more"))
            }
        },
        Err(_) => {
            let why = "too many requests are in flight, please try again later";
            respond::status(&Status::too_many_requests(why, RETRY_AFTER_SECONDS))
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
    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt as _;

    async fn ask(router: &Router, path: &str) -> u16 {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert!(response.headers().contains_key("audit-id"));
        response.status().as_u16()
    }

    fn router(slots: usize) -> Router {
        let random = Random::from_seed(1);
        let access = Access { metrics: Metrics::new(), random, slots: Arc::new(Semaphore::new(slots)) };
        Router::new()
            .route("/fine", get(async || "fine"))
            .route("/panic", get(async || -> &'static str { panic!("a bug") }))
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
}
