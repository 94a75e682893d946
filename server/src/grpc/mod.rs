//! The native API's door: the generic verbs, streams and status over gRPC. Acts; every rule is behind it.

mod admin;
mod convert;
mod gate;
mod objects;
mod reply;
mod status;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use axum::middleware;
use proto::api as wire;
use proto::api::api_server::{Api, ApiServer};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::auth::Identity;
use crate::objects::Objects;
use crate::sessions::Sessions;
use crate::streams::Streams;

/// The largest message a client may send: an object of 3 MiB, with room around it.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Messages of a stream that wait for the client; past it the source waits.
const STREAM_QUEUE: usize = 16;
/// How long a replica may take to describe itself before it counts as unreachable.
const STATUS_DEADLINE: Duration = Duration::from_millis(700);

/// For the first message of a stream.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// What the door stands in front of. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    pub objects: Objects,
    pub streams: Streams,
    pub store: raft::Store,
    pub cluster_id: Arc<str>,
    pub clock: Arc<dyn proto::seam::Clock>,
}

/// The routes of all services, behind the gate. Without a fallback, for REST has one.
pub fn routes(door: Door, sessions: &Sessions) -> axum::Router {
    Routes::from(axum::Router::new())
        .add_service(door.clone().service())
        .add_service(door.admin())
        .add_service(sessions.service())
        .into_axum_router()
        .route_layer(middleware::from_fn_with_state(gate::Gate::default(), gate::pass))
}

impl Door {
    fn service(self) -> ApiServer<Door> {
        ApiServer::new(self).max_decoding_message_size(REQUEST_BYTES_MAX)
    }
}

/// Who asks: put into the request's extensions by the listener, from the connection's certificate.
fn identity<T>(request: &Request<T>) -> Identity {
    request.extensions().get::<Identity>().cloned().unwrap_or_else(Identity::anonymous)
}

type Stream<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl Api for Door {
    async fn get(&self, request: Request<wire::GetRequest>) -> Result<Response<wire::Object>, Status> {
        objects::get(self, identity(&request), request.into_inner()).await.map(Response::new).map_err(convert::failure)
    }

    async fn list(&self, request: Request<wire::ListRequest>) -> Result<Response<wire::ListReply>, Status> {
        objects::list(self, identity(&request), request.into_inner()).await.map(Response::new).map_err(convert::failure)
    }

    async fn create(&self, request: Request<wire::CreateRequest>) -> Result<Response<wire::Object>, Status> {
        objects::create(self, identity(&request), request.into_inner())
            .await
            .map(Response::new)
            .map_err(convert::failure)
    }

    async fn update(&self, request: Request<wire::UpdateRequest>) -> Result<Response<wire::Object>, Status> {
        objects::update(self, identity(&request), request.into_inner())
            .await
            .map(Response::new)
            .map_err(convert::failure)
    }

    async fn patch(&self, request: Request<wire::PatchRequest>) -> Result<Response<wire::Object>, Status> {
        objects::patch(self, identity(&request), request.into_inner())
            .await
            .map(Response::new)
            .map_err(convert::failure)
    }

    async fn delete(&self, request: Request<wire::DeleteRequest>) -> Result<Response<wire::Object>, Status> {
        objects::delete(self, identity(&request), request.into_inner())
            .await
            .map(Response::new)
            .map_err(convert::failure)
    }

    type WatchStream = Stream<wire::WatchEvent>;

    async fn watch(&self, request: Request<wire::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        objects::watch(self, identity(&request), request.into_inner())
            .await
            .map(Response::new)
            .map_err(convert::failure)
    }

    async fn history(&self, request: Request<wire::HistoryRequest>) -> Result<Response<wire::HistoryReply>, Status> {
        objects::history(self, identity(&request), request.into_inner())
            .await
            .map(Response::new)
            .map_err(convert::failure)
    }

    type LogsStream = Stream<wire::Chunk>;

    async fn logs(&self, request: Request<wire::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        streams::logs(self, identity(&request), request.into_inner()).await.map(Response::new).map_err(convert::failure)
    }

    type ExecStream = Stream<wire::ExecOutput>;

    async fn exec(&self, request: Request<Streaming<wire::ExecInput>>) -> Result<Response<Self::ExecStream>, Status> {
        let user = identity(&request);
        streams::exec(self, user, request.into_inner()).await.map(Response::new)
    }

    async fn status(&self, request: Request<wire::StatusRequest>) -> Result<Response<wire::StatusReply>, Status> {
        if identity(&request).is_anonymous() {
            return Err(convert::failure(api::status::Status::unauthorized()));
        }
        Ok(Response::new(status::status(self).await))
    }

    /// Tells nothing but that this process runs, so it asks nobody who they are.
    async fn ping(&self, _: Request<wire::PingRequest>) -> Result<Response<wire::PingReply>, Status> {
        Ok(Response::new(wire::PingReply {}))
    }
}
