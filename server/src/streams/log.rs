//! `GET pods/<name>/log`: a container's log as plain text. Acts.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, header};
use tokio::time::timeout;

use super::failure;
use super::open::Streams;
use super::options::LogOptions;
use crate::sessions::{Ended, Output, TunnelReceiver, TunnelSender};

/// An error that comes within this time is answered as a Status; after it the text has begun.
const FIRST_MAX: Duration = Duration::from_millis(300);

/// Answers the whole request.
pub async fn log(streams: &Streams, namespace: &str, pod: &str, request: Request) -> Response {
    let options = match LogOptions::from_query(request.uri(), pod) {
        Ok(options) => options,
        Err(status) => return failure(status),
    };
    match streams.open_logs(namespace, pod, &options).await {
        Ok(None) => text(Body::empty()),
        Ok(Some(tunnel)) => {
            let (sender, mut receiver) = tunnel.split();
            let first = timeout(FIRST_MAX, receiver.next()).await.unwrap_or(Some(Output::Stdout(Bytes::new())));
            if let Some(Output::End(Ended::Failed(error))) = first {
                return failure(api::Status::internal(error));
            }
            let left = options.limit_bytes.map_or(u64::MAX, |limit| limit.max(0) as u64);
            text(body(Lines { first, receiver, left, _sender: sender }))
        }
        Err(status) => failure(status),
    }
}

fn text(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

struct Lines {
    first: Option<Output>,
    receiver: TunnelReceiver,
    /// Bytes that may still be told.
    left: u64,
    /// Dropped with the body: that is how the agent learns that the caller is gone.
    _sender: TunnelSender,
}

fn body(lines: Lines) -> Body {
    Body::from_stream(stream::try_unfold(lines, |mut lines| async move {
        loop {
            let output = match lines.first.take() {
                Some(output) => Some(output),
                None => lines.receiver.next().await,
            };
            match output {
                Some(Output::Stdout(bytes) | Output::Stderr(bytes)) if bytes.is_empty() => {}
                Some(Output::Stdout(mut bytes) | Output::Stderr(mut bytes)) => {
                    bytes.truncate(usize::try_from(lines.left).unwrap_or(usize::MAX));
                    lines.left -= bytes.len() as u64;
                    return Ok((!bytes.is_empty()).then_some((bytes, lines)));
                }
                Some(Output::End(Ended::Exited(_))) | None => return Ok(None),
                // Cut off rather than ended: the client must not take it for the whole log.
                Some(Output::End(Ended::Failed(error))) => return Err(std::io::Error::other(error)),
            }
        }
    }))
}
