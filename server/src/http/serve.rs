//! The listener's loop: TLS, connections with deadlines, the caller's identity on every request. Acts.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use proto::gather::Gathered;
use proto::seam::{Listener, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::deadline::Deadlines;
use super::slots;
use crate::auth::Identity;

/// A client that does not finish its part of the handshake in this time is cut.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// From the handshake, or the last response, to the last byte of the next request's head. Also how long an idle
/// HTTP/1.1 connection is kept.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// A client that takes nothing of what is written for it is cut after so long.
const STALL_DEADLINE: Duration = Duration::from_secs(60);
/// HTTP/2 clients are pinged this often, and cut when they do not answer in time.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_DEADLINE: Duration = Duration::from_secs(10);
/// Requests in flight on one HTTP/2 connection: an agent's tunnels and an operator's watches share one.
const STREAMS_MAX: u32 = 1024;
const HEADER_BYTES_MAX: usize = 64 << 10;
/// HTTP/2 flow control windows, so that a list of some megabytes does not wait for round trips.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// At shutdown, requests in flight may take this long to end.
const DRAIN_DEADLINE: Duration = Duration::from_secs(2);
/// After an error of accept itself (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`, then lets requests in flight end for a short while. REST and gRPC alike: `router` is what
/// [`super::router`] makes, with the gRPC routes merged into it.
pub async fn serve(
    mut listener: Box<dyn Listener>,
    acceptor: TlsAcceptor,
    router: Router,
    shutdown: CancellationToken,
) {
    // More connections at once are closed right after they are accepted.
    let slots_max = slots::here();
    let slots = Arc::new(Semaphore::new(slots_max));
    let graceful = GracefulShutdown::new();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            tracing::warn!(%from, "closed a connection: {slots_max} are open");
            continue;
        };
        let (acceptor, router, watcher) = (acceptor.clone(), router.clone(), graceful.watcher());
        connections.spawn(async move {
            match handshake(&acceptor, stream).await {
                Ok((stream, identity)) => connection(stream, slot, identity, router, watcher).await,
                Err(error) => tracing::debug!(%from, %error, "no handshake"),
            }
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN_DEADLINE, graceful.shutdown()).await;
    connections.shutdown().await;
}

/// TLS, and who the certificate says the client is.
async fn handshake(
    acceptor: &TlsAcceptor,
    stream: Box<dyn Stream>,
) -> std::io::Result<(TlsStream<Box<dyn Stream>>, Identity)> {
    let stream = tokio::time::timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream))
        .await
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let identity = match certificate {
        None => Identity::anonymous(),
        Some(certificate) => match proto::tls::subject(certificate) {
            Some(subject) => Identity::of_certificate(&subject),
            None => return Err(std::io::Error::other("the client's certificate has no common name")),
        },
    };
    Ok((stream, identity))
}

async fn connection(
    stream: TlsStream<Box<dyn Stream>>,
    slot: OwnedSemaphorePermit,
    identity: Identity,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let speaks_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = hyper::service::service_fn(move |request| answer(router.clone(), identity.clone(), request));
    // hyper times the head of HTTP/1.1 requests, and nothing before HTTP/2's preface.
    let stream = Deadlines::new(stream, speaks_h2.then_some(HEAD_DEADLINE), STALL_DEADLINE).taking(slot);
    let ended = match speaks_h2 {
        true => {
            let (builder, stream) = (builder().http2_only(), TokioIo::new(Gathered::new(stream)));
            watcher.watch(builder.serve_connection(stream, service).into_owned()).await
        }
        false => {
            let (builder, stream) = (builder().http1_only(), TokioIo::new(stream));
            watcher.watch(builder.serve_connection_with_upgrades(stream, service).into_owned()).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE).max_buf_size(HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_DEADLINE)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    builder
}

fn answer(
    router: Router,
    identity: Identity,
    mut request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Body>, Infallible>> {
    request.extensions_mut().insert(identity);
    async move {
        // What lay in the socket of a process that was frozen may have been taken back since then, and sent to another
        // replica: hyper looks for that while a response is not ready. So nothing is begun at once.
        tokio::task::yield_now().await;
        router.oneshot(request.map(Body::new)).await
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
