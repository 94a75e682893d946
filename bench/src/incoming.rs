//! Connections with mutual TLS, in the form tonic serves. Acts.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// Connections whose handshake is under way.
const HANDSHAKES_MAX: usize = 256;
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// After an error of accept itself (out of file descriptors), so that the loop does not spin.
const PAUSE: Duration = Duration::from_millis(50);

pub struct Connection(TlsStream<TcpStream>);

pub fn accept(listener: TcpListener, acceptor: TlsAcceptor) -> impl Stream<Item = io::Result<Connection>> {
    let accepted = futures::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await;
        if accepted.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
        Some((accepted, listener))
    });
    let greeted = accepted.map(move |accepted| {
        let acceptor = acceptor.clone();
        async move {
            let (stream, _) = accepted.ok()?;
            stream.set_nodelay(true).ok()?;
            let greeted = tokio::time::timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream)).await;
            greeted.ok()?.ok().map(Connection)
        }
    });
    greeted.buffer_unordered(HANDSHAKES_MAX).filter_map(|greeted| async move { greeted.map(Ok) })
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    /// Said so that HTTP/2 hands over a message's frames together: otherwise each is a record and a system call.
    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
