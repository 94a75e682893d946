//! What holds for every call: who is there is known before anything is read, what is asked must arrive in time, only so much is
//! done at once, and only so much is kept for those who do not take it. Acts.

use std::sync::Arc;

use api::status::Status;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use http::Response;
use tokio::sync::Semaphore;

use super::{REQUEST_BYTES_MAX, convert, reply};
use crate::arrival::{Arrivals, Refused};
use crate::auth::{self, Identity};
use crate::objects::room::Room;

/// Calls that have arrived whole, and whose answer has not begun: some times as many as there are clients that write without a
/// pause. What their bodies hold together is bounded besides.
const IN_FLIGHT_MAX: usize = 4096;
/// What gRPC puts before a message.
const PREFIX_BYTES: usize = 5;
/// A ping says nothing.
const PING_BYTES_MAX: usize = 1 << 10;
/// What large replies that are under way hold together.
const REPLY_BYTES_MAX: u32 = 256 << 20;
const RETRY_AFTER_SECONDS: u32 = 1;

const PING: &str = "/kontiki.v1.Api/Ping";
/// Calls whose client goes on to talk: each has a deadline of its own for the first message, and takes no place.
const STREAMS: [&str; 3] = ["/kontiki.v1.Api/Exec", "/kontiki.node.v1.Node/Session", "/kontiki.node.v1.Node/Tunnel"];
/// Calls whose replies may be large, and can be refused when they are made, since nothing was changed.
const READS: [&str; 3] = ["/kontiki.v1.Api/Get", "/kontiki.v1.Api/List", "/kontiki.v1.Api/History"];

/// Cheap to clone; clones share.
#[derive(Clone)]
pub struct Gate {
    slots: Arc<Semaphore>,
    arrivals: Arrivals,
    replies: Room,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate {
            slots: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            arrivals: Arrivals::default(),
            replies: Room::new("the replies that are under way", REPLY_BYTES_MAX),
        }
    }
}

pub async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response<Body> {
    let path = request.uri().path();
    let pings = path == PING;
    let known = request.extensions().get::<Identity>().is_some_and(|user| !user.is_anonymous());
    if !known && !pings {
        return convert::failure(auth::unauthorized()).into_http();
    }
    if STREAMS.contains(&path) {
        return next.run(request).await;
    }
    let bytes_max = if pings { PING_BYTES_MAX } else { PREFIX_BYTES + REQUEST_BYTES_MAX };
    let (request, _taken) = match gate.arrivals.receive(request, bytes_max).await {
        Ok(received) => received,
        // As tonic says it: clients know by it that no verb was begun.
        Err(refused @ Refused::TooLarge { .. }) => return tonic::Status::out_of_range(refused.to_string()).into_http(),
        Err(refused) => return convert::failure(refused.into()).into_http(),
    };
    if pings {
        return next.run(request).await;
    }
    let Ok(_slot) = gate.slots.try_acquire() else {
        let why = "too many calls are in flight, please try again later";
        return convert::failure(Status::too_many_requests(why, RETRY_AFTER_SECONDS)).into_http();
    };
    let reads = READS.contains(&request.uri().path());
    let response = next.run(request).await;
    if !reads {
        return response;
    }
    reply::bounded(response, &gate.replies).await.unwrap_or_else(|status| convert::failure(status).into_http())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use futures::stream;
    use proto::api::api_server::ApiServer;
    use proto::session::node_server::NodeServer;
    use tokio::time::timeout;
    use tonic::Code;
    use tonic::server::NamedService;
    use tower::ServiceExt as _;

    use super::*;
    use crate::grpc::Door;
    use crate::sessions::Sessions;

    const GET: &str = "/kontiki.v1.Api/Get";

    /// Behind it a handler that answers what it was sent, and does not wait for it.
    fn router(slots: usize) -> Router {
        let gate = Gate { slots: Arc::new(Semaphore::new(slots)), ..Gate::default() };
        Router::new().fallback(async |request: Request| request.into_body()).layer(from_fn_with_state(gate, pass))
    }

    async fn answer(router: Router, path: &str, user: Option<Identity>, body: Body) -> Response<Body> {
        let mut request = Request::post(path).body(body).expect("a request");
        user.map(|user| request.extensions_mut().insert(user));
        router.oneshot(request).await.expect("an answer")
    }

    async fn call(router: Router, path: &str, user: Option<Identity>, body: Body) -> Code {
        let answer = answer(router, path, user, body).await;
        tonic::Status::from_header_map(answer.headers()).map_or(Code::Ok, |status| status.code())
    }

    fn jane() -> Option<Identity> {
        Some(Identity::new("jane", &[]))
    }

    fn never() -> Body {
        Body::from_stream(stream::pending::<Result<&str, std::io::Error>>())
    }

    #[test]
    fn the_calls_are_called_so() {
        let (api, node) = (ApiServer::<Door>::NAME, NodeServer::<Sessions>::NAME);
        assert_eq!(PING, format!("/{api}/Ping"));
        assert_eq!(STREAMS, [format!("/{api}/Exec"), format!("/{node}/Session"), format!("/{node}/Tunnel")]);
        assert_eq!(READS, ["Get", "List", "History"].map(|verb| format!("/{api}/{verb}")));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_unknown_is_refused_before_anything_is_read() {
        for path in [GET, STREAMS[0], STREAMS[1]] {
            for user in [None, Some(Identity::anonymous())] {
                let refused = timeout(Duration::from_secs(1), call(router(1), path, user, never()));
                assert_eq!(refused.await.expect("at once"), Code::Unauthenticated, "{path}");
            }
        }
        assert_eq!(call(router(1), PING, None, Body::from("....")).await, Code::Ok);
        assert_eq!(call(router(1), PING, None, Body::from(vec![0; 4096])).await, Code::OutOfRange);
        assert_eq!(call(router(1), PING, None, never()).await, Code::DeadlineExceeded);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_arrive_keeps_nobody_out() {
        let router = router(1);
        let slow = tokio::spawn(call(router.clone(), GET, jane(), never()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(call(router.clone(), GET, jane(), Body::from("....")).await, Code::Ok);
        assert_eq!(slow.await.expect("no panic"), Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn a_large_answer_to_a_read_takes_room_and_no_other_does() {
        let gate = Gate { replies: Room::new("the replies", 100 << 10), ..Gate::default() };
        let router =
            Router::new().fallback(async |request: Request| request.into_body()).layer(from_fn_with_state(gate, pass));
        let large = || Body::from(vec![0; 80 << 10]);
        let held = answer(router.clone(), GET, jane(), large()).await;
        assert_eq!(call(router.clone(), GET, jane(), large()).await, Code::ResourceExhausted);
        assert_eq!(call(router.clone(), GET, jane(), Body::from("....")).await, Code::Ok);
        assert_eq!(
            call(router.clone(), "/kontiki.v1.Api/Update", jane(), large()).await,
            Code::Ok,
            "it has taken effect"
        );
        drop(held);
        tokio::task::yield_now().await;
        assert_eq!(call(router, GET, jane(), large()).await, Code::Ok);
    }

    #[tokio::test]
    async fn more_than_fit_are_asked_to_come_back() {
        assert_eq!(call(router(0), GET, jane(), Body::from("....")).await, Code::ResourceExhausted);
        assert_eq!(call(router(0), PING, None, Body::from("....")).await, Code::Ok);
        assert_eq!(call(router(0), STREAMS[1], jane(), never()).await, Code::Ok, "it is there to stay");
    }
}
