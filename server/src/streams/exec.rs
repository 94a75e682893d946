//! `pods/<name>/exec` and `attach`: opens the tunnel first, so that what goes wrong is answered as a Status, then
//! upgrades the connection to the protocol the client asked for. Acts.

use api::Status;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderMap, header};

use super::open::Streams;
use super::options::ExecOptions;
use super::{failure, spdy, websocket};

/// Answers the whole request. Needs HTTP/1.1, as every upgrade.
pub async fn exec(streams: &Streams, namespace: &str, pod: &str, request: Request) -> Response {
    upgrade(streams, namespace, pod, request, false).await.unwrap_or_else(failure)
}

/// Answers the whole request. Needs HTTP/1.1, as every upgrade.
pub async fn attach(streams: &Streams, namespace: &str, pod: &str, request: Request) -> Response {
    upgrade(streams, namespace, pod, request, true).await.unwrap_or_else(failure)
}

async fn upgrade(
    streams: &Streams,
    namespace: &str,
    pod: &str,
    mut request: Request,
    attach: bool,
) -> Result<Response, Status> {
    let options = ExecOptions::from_query(request.uri(), attach)?;
    match protocol(request.headers())? {
        Protocol::WebSocket => {
            let handshake = websocket::Handshake::of(&mut request).await?;
            let tunnel = streams.open_exec(namespace, pod, &options).await?;
            Ok(handshake.exec(options, tunnel, streams.run.clone()))
        }
        Protocol::Spdy => {
            let handshake = spdy::Handshake::of(&mut request, &spdy::EXEC_PROTOCOLS)?;
            let tunnel = streams.open_exec(namespace, pod, &options).await?;
            let run = streams.run.clone();
            Ok(handshake
                .accept(run.clone(), |connection, version| spdy::exec(connection, version, options, tunnel, run)))
        }
    }
}

pub(super) enum Protocol {
    WebSocket,
    Spdy,
}

/// What the `Upgrade` header asks for.
pub(super) fn protocol(headers: &HeaderMap) -> Result<Protocol, Status> {
    let asked = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match asked.to_ascii_lowercase().as_str() {
        "websocket" => Ok(Protocol::WebSocket),
        "spdy/3.1" => Ok(Protocol::Spdy),
        _ => Err(Status::bad_request("Upgrade request required")),
    }
}
