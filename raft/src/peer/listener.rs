//! Takes connections on the peer port: mutual TLS, and a certificate that names a replica. Acts.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, net::SocketAddr};

use proto::gather::Gathered;
use proto::seam::{Listener, Stream};
use proto::tls;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tonic::transport::server::Connected;

const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// Whoever connects without a certificate occupies one of these until its handshake ends.
const HANDSHAKES_MAX: usize = 64;
const NAME: &str = "kontiki:replica:";

/// A connection whose other end has shown a replica's certificate.
pub struct Incoming {
    stream: Gathered<TlsStream<Box<dyn Stream>>>,
    from: From,
    /// Breaks the connection: a peer must not go on talking to a replica that has stopped.
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// Who speaks, by certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct From {
    pub replica: u64,
}

/// Until `stop`; once `tasks` have ended the port is free again.
pub fn accept(
    mut listener: Box<dyn Listener>,
    acceptor: TlsAcceptor,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> ReceiverStream<io::Result<Incoming>> {
    let (ready, incoming) = mpsc::channel(16);
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let handshaking = tasks.clone();
    tasks.spawn(async move {
        loop {
            let next = async {
                let permit = handshakes.clone().acquire_owned().await.expect("nobody closes it");
                (permit, listener.accept().await)
            };
            let Some((permit, accepted)) = stop.run_until_cancelled(next).await else { return };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, for example: it may pass, and must not spin meanwhile.
                    tracing::warn!(%error, "cannot accept on the peer port");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (acceptor, ready, stop) = (acceptor.clone(), ready.clone(), stop.clone());
            handshaking.spawn(async move {
                let _permit = permit;
                let greeting = tokio::time::timeout(HANDSHAKE_DEADLINE, greet(&acceptor, stream, stop.clone()));
                match stop.run_until_cancelled(greeting).await {
                    Some(Ok(Ok(incoming))) => drop(ready.send(Ok(incoming)).await),
                    Some(Ok(Err(error))) => refused(from, &error.to_string()),
                    Some(Err(_)) => refused(from, "the handshake took too long"),
                    None => {}
                }
            });
        }
    });
    ReceiverStream::new(incoming)
}

fn refused(from: SocketAddr, why: &str) {
    tracing::debug!(%from, why, "refused a connection on the peer port");
}

async fn greet(acceptor: &TlsAcceptor, stream: Box<dyn Stream>, stop: CancellationToken) -> io::Result<Incoming> {
    let stream = acceptor.accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).and_then(tls::subject);
    let replica = shown.as_ref().and_then(|subject| replica(&subject.common_name));
    match replica {
        Some(replica) => {
            let stop = Box::pin(stop.cancelled_owned());
            Ok(Incoming { stream: Gathered::new(stream), from: From { replica }, stop })
        }
        None => Err(io::Error::other(format!("{shown:?} is no replica"))),
    }
}

/// `kontiki:replica:<id>`
pub fn replica(common_name: &str) -> Option<u64> {
    common_name.strip_prefix(NAME)?.parse().ok()
}

impl Connected for Incoming {
    type ConnectInfo = From;

    fn connect_info(&self) -> From {
        self.from
    }
}

impl AsyncRead for Incoming {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Incoming {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::replica;

    #[test]
    fn only_a_replica_s_name_names_a_replica() {
        assert_eq!(replica("kontiki:replica:12"), Some(12));
        for other in ["kontiki:replica:", "kontiki:replica:x", "kontiki:replica:-1", "system:node:1", "12", ""] {
            assert_eq!(replica(other), None, "{other}");
        }
    }
}
