//! A connection whose small writes go out together: for HTTP/2, which otherwise writes each frame of more than 256
//! bytes by itself, each as a TLS record and a system call of its own. Acts.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};

/// A whole frame of the usual largest size (16 KiB) with what goes before it.
const BUFFER_BYTES: usize = 20 << 10;

/// Holds back what is written until it is flushed or [`BUFFER_BYTES`] are full. It does not offer vectored writes, and
/// that is the point: `h2` then copies frames of up to 1 KiB behind one another and flushes once, when it has no more.
pub struct Gathered<S>(BufWriter<S>);

impl<S: AsyncWrite> Gathered<S> {
    pub fn new(stream: S) -> Gathered<S> {
        Gathered(BufWriter::with_capacity(BUFFER_BYTES, stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use bytes::Bytes;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_util::io::InspectWriter;

    use super::*;

    #[tokio::test]
    async fn what_many_streams_send_at_once_is_one_write() {
        const STREAMS: usize = 20;
        const BYTES: usize = 600;
        let (near, far) = tokio::io::duplex(1 << 20);
        let writes = Arc::new(AtomicUsize::new(0));
        let counter = writes.clone();
        let counted = Gathered::new(InspectWriter::new(far, move |_| {
            counter.fetch_add(1, Relaxed);
        }));
        let (release, released) = tokio::sync::watch::channel(false);
        let serving = async move {
            let mut server = h2::server::handshake(counted).await.unwrap();
            let mut streams = tokio::task::JoinSet::new();
            while let Some(Ok((_, mut answer))) = server.accept().await {
                let mut released = released.clone();
                streams.spawn(async move {
                    let mut body = answer.send_response(http::Response::new(()), false).unwrap();
                    released.wait_for(|released| *released).await.unwrap();
                    body.send_data(Bytes::from_static(&[7; BYTES]), true).unwrap();
                });
            }
        };
        tokio::spawn(serving);
        let (client, connection) = h2::client::handshake(near).await.unwrap();
        tokio::spawn(connection);
        let mut bodies = Vec::new();
        for _ in 0..STREAMS {
            let mut client = client.clone().ready().await.unwrap();
            let (answer, _) = client.send_request(http::Request::new(()), true).unwrap();
            bodies.push(answer.await.unwrap().into_body());
        }
        let before = writes.load(Relaxed);
        release.send(true).unwrap();
        for mut body in bodies {
            let mut got = 0;
            while let Some(piece) = body.data().await {
                got += piece.unwrap().len();
            }
            assert_eq!(got, BYTES);
        }
        let took = writes.load(Relaxed) - before;
        assert!(took <= 2, "{STREAMS} frames took {took} writes");
    }

    #[tokio::test]
    async fn all_that_was_written_arrives_in_order_also_where_the_other_side_is_slow() {
        let (mut near, far) = tokio::io::duplex(64);
        let sent: Vec<u8> = (0..100_000u32).map(|at| at as u8).collect();
        let mut far = Gathered::new(far);
        let sending = async {
            for (at, piece) in sent.chunks(777).enumerate() {
                far.write_all(piece).await.unwrap();
                if at % 3 == 0 {
                    far.flush().await.unwrap();
                }
            }
            far.shutdown().await.unwrap();
        };
        let mut got = Vec::new();
        let (read, ()) = tokio::join!(near.read_to_end(&mut got), sending);
        read.unwrap();
        assert!(got == sent);
    }
}
