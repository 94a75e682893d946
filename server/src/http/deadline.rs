//! A connection whose other side must do its part: cuts clients that connect and stay silent, and clients that take
//! nothing of what they asked for. Acts.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

/// As long as HTTP/2's connection preface. What comes later is under hyper's own deadlines and pings.
const FIRST_BYTES: usize = 24;

/// Fails reads when the first bytes do not arrive in time, and writes that make no headway for too long.
pub struct Deadlines<S> {
    stream: S,
    /// For the first bytes, and how many are missing; `None` once enough was read.
    first: Option<(Pin<Box<Sleep>>, usize)>,
    stall: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Given back with the stream, wherever an upgrade may have taken it.
    _slot: Option<OwnedSemaphorePermit>,
}

impl<S> Deadlines<S> {
    /// `first`: for the first bytes; `None` sets no deadline. `stall`: for a write that waits.
    pub fn new(stream: S, first: Option<Duration>, stall: Duration) -> Deadlines<S> {
        let first = first.map(|after| (Box::pin(tokio::time::sleep(after)), FIRST_BYTES));
        Deadlines { stream, first, stall, stalled: None, _slot: None }
    }

    /// The stream takes this slot until it is dropped.
    pub fn taking(self, slot: OwnedSemaphorePermit) -> Deadlines<S> {
        Deadlines { _slot: Some(slot), ..self }
    }

    /// Lets an outcome through, and times one that is pending.
    fn timed<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let stall = self.stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Deadlines<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let Some((deadline, missing)) = &mut this.first else { return read };
        if read.is_pending() {
            ready!(deadline.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        *missing = missing.saturating_sub(buffer.filled().len() - before);
        if *missing == 0 {
            this.first = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Deadlines<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.timed(context, outcome)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_flush(context);
        this.timed(context, outcome)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_shutdown(context);
        this.timed(context, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.timed(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::{Instant, timeout};

    const FIRST: Duration = Duration::from_secs(30);
    const STALL: Duration = Duration::from_secs(60);
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn silence_is_cut_and_speech_is_not() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = Deadlines::new(server, Some(FIRST), STALL);
        let mut byte = [0u8; 1];
        client.write_all(b"P").await.unwrap();
        assert_eq!(server.read(&mut byte).await.unwrap(), 1);
        assert_eq!(server.read(&mut byte).await.unwrap_err().kind(), io::ErrorKind::TimedOut);

        let (mut client, server) = tokio::io::duplex(64);
        let mut server = Deadlines::new(server, Some(FIRST), STALL);
        client.write_all(&[b'x'; FIRST_BYTES]).await.unwrap();
        server.read_exact(&mut [0u8; FIRST_BYTES]).await.unwrap();
        assert!(timeout(LONG, server.read(&mut byte)).await.is_err(), "who has spoken may be silent");
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_cut_and_who_is_slow_is_not() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = Deadlines::new(server, None, STALL);
        let began = Instant::now();
        let slow = async {
            let mut taken = 0;
            while taken < 640 {
                tokio::time::sleep(STALL / 2).await;
                taken += client.read(&mut [0u8; 64]).await.unwrap();
            }
            client
        };
        let (written, client) = tokio::join!(server.write_all(&[b'x'; 640]), slow);
        written.unwrap();
        assert!(began.elapsed() > STALL * 2);

        let stalled = server.write_all(&[b'x'; 640]).await;
        assert_eq!(stalled.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(client);
    }
}
