//! One end of a simulated connection. Acts.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::net::{Ending, Network, Segment, WINDOW_BYTES};

pub(super) struct SimStream {
    network: Network,
    connection: u64,
    /// 0 connected, 1 accepted.
    end: usize,
}

impl SimStream {
    pub fn new(network: Network, connection: u64, end: usize) -> SimStream {
        SimStream { network, connection, end }
    }

    /// Ready once the other side has taken the connection, or refused it.
    pub fn poll_accepted(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.network.lock();
        let Some(connection) = inner.connections.get_mut(&self.connection) else { return reset() };
        if connection.accepted {
            return Poll::Ready(Ok(()));
        }
        let incoming = &mut connection.pipes[1 - self.end];
        if incoming.ended.is_some() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into()));
        }
        incoming.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

fn reset<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

impl AsyncRead for SimStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.network.lock();
        let Some(connection) = inner.connections.get_mut(&self.connection) else { return reset() };
        if connection.gone[self.end] {
            return reset();
        }
        let pipe = &mut connection.pipes[1 - self.end];
        if pipe.ended == Some(Ending::Reset) {
            return reset();
        }
        let before = buffer.filled().len();
        while let Some(piece) = pipe.inbox.front_mut()
            && buffer.remaining() > 0
        {
            let taken = piece.len().min(buffer.remaining());
            buffer.put_slice(&piece[..taken]);
            piece.advance(taken);
            pipe.bytes -= taken;
            if piece.is_empty() {
                pipe.inbox.pop_front();
            }
        }
        if buffer.filled().len() == before && pipe.ended.is_none() {
            pipe.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let waker = pipe.writer.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.network.lock();
        let Some(connection) = inner.connections.get_mut(&self.connection) else { return reset() };
        let pipe = &mut connection.pipes[self.end];
        if connection.gone[self.end] || pipe.closing || pipe.ended == Some(Ending::Reset) {
            return reset();
        }
        let room = WINDOW_BYTES.saturating_sub(pipe.bytes);
        if room == 0 {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let taken = bytes.len().min(room);
        pipe.bytes += taken;
        inner.send(self.connection, self.end, Segment::Data(Bytes::copy_from_slice(&bytes[..taken])));
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.network.lock();
        if let Some(connection) = inner.connections.get_mut(&self.connection)
            && !connection.gone[self.end]
            && !std::mem::replace(&mut connection.pipes[self.end].closing, true)
        {
            inner.send(self.connection, self.end, Segment::End(Ending::Closed));
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.network.lock().close(self.connection, self.end);
    }
}
