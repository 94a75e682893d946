//! HTTP/2 over mutual TLS straight to a service, with nothing in between that a client's call would not need. Acts.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proto::gather::Gathered;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;

const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// After an error of accept itself (out of file descriptors), so that the loop does not spin.
const PAUSE: Duration = Duration::from_millis(50);
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Serves until it is dropped.
pub async fn serve<F>(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) where
    F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, acceptor.clone(), http.clone(), answer.clone()))),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Why it ended, its client knows.
async fn connection<F>(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    http: http2::Builder<TokioExecutor>,
    answer: impl Fn(Request<Incoming>) -> F,
) -> Option<()>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    stream.set_nodelay(true).ok()?;
    let greeted = timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream)).await.ok()?.ok()?;
    http.serve_connection(TokioIo::new(Gathered::new(greeted)), hyper::service::service_fn(answer)).await.ok()
}
