//! Frames over a byte stream. Acts: one task writes, the holder of the receiver reads.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::frame::{Decoder, Encoder, Frame};
use super::headers::Headers;

/// Frames that wait to be written.
const FRAMES_MAX: usize = 16;
/// A data frame of ours carries at most this much.
const DATA_BYTES_MAX: usize = 32 << 10;
const READ_BYTES: usize = 32 << 10;
/// Keeps what stands between from taking a silent connection for dead, and the kernel from waiting for a client that has
/// vanished.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// The server's side of a connection.
pub struct Connection {
    sender: Sender,
    receiver: Receiver,
}

/// Sends wait while the client reads slowly. When the last one is dropped, everything is written and the connection's
/// sending half is closed.
#[derive(Clone)]
pub struct Sender(mpsc::Sender<Frame>);

pub struct Receiver {
    read: Box<dyn AsyncRead + Send + Unpin>,
    decoder: Decoder,
    /// For pings. Weak, because the receiver often outlives the conversation.
    sender: mpsc::WeakSender<Frame>,
}

/// The client is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub struct Closed;

impl Connection {
    pub fn over(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Connection {
        let (read, write) = tokio::io::split(io);
        let (sender, frames) = mpsc::channel(FRAMES_MAX);
        tokio::spawn(async move {
            if let Err(error) = write_all(write, frames).await {
                tracing::debug!(%error, "a SPDY/3.1 connection broke");
            }
        });
        let receiver = Receiver { read: Box::new(read), decoder: Decoder::default(), sender: sender.downgrade() };
        Connection { sender: Sender(sender), receiver }
    }

    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

async fn write_all(mut write: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Frame>) -> io::Result<()> {
    let (mut encoder, mut out, mut batch) = (Encoder::default(), Vec::new(), Vec::new());
    let mut ping = 0u32;
    loop {
        tokio::select! {
            received = frames.recv_many(&mut batch, FRAMES_MAX) => if received == 0 { break },
            () = sleep(PING_INTERVAL) => {
                // The server's are even.
                ping = ping.wrapping_add(2);
                batch.push(Frame::Ping(ping));
            }
        }
        out.clear();
        for frame in batch.drain(..) {
            encoder.encode(&frame, &mut out);
        }
        write.write_all(&out).await?;
        write.flush().await?;
    }
    write.shutdown().await
}

impl Sender {
    /// `fin`: nothing follows on this stream from our side.
    pub async fn data(&self, id: u32, mut bytes: Bytes, fin: bool) -> Result<(), Closed> {
        while bytes.len() > DATA_BYTES_MAX {
            let piece = bytes.split_to(DATA_BYTES_MAX);
            self.frame(Frame::Data { id, fin: false, bytes: piece }).await?;
        }
        self.frame(Frame::Data { id, fin, bytes }).await
    }

    /// Accepts a stream.
    pub async fn reply(&self, id: u32) -> Result<(), Closed> {
        self.frame(Frame::SynReply { id, fin: false, headers: Headers::new() }).await
    }

    pub async fn reset(&self, id: u32, status: u32) -> Result<(), Closed> {
        self.frame(Frame::Reset { id, status }).await
    }

    pub async fn go_away(&self, last: u32) -> Result<(), Closed> {
        self.frame(Frame::GoAway { last }).await
    }

    /// Ends when the client is gone, which the writer finds out by pings at the latest. Cancel safe.
    pub async fn closed(&self) {
        self.0.closed().await;
    }

    async fn frame(&self, frame: Frame) -> Result<(), Closed> {
        self.0.send(frame).await.map_err(|_| Closed)
    }
}

impl Receiver {
    /// The next frame that concerns a stream; `None` when the client is gone or going. Answers pings. Not cancel
    /// safe while a ping waits to be answered, which loses no more than the answer.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            match self.decoder.next() {
                // Odd pings are the client's own; even ones would be answers to ours.
                Ok(Some(Frame::Ping(id))) => {
                    if let Some(sender) = self.sender.upgrade().filter(|_| id % 2 == 1) {
                        sender.send(Frame::Ping(id)).await.ok()?;
                    }
                }
                Ok(Some(Frame::GoAway { .. })) => return None,
                Ok(Some(Frame::WindowUpdate { .. } | Frame::Other(_))) => {}
                Ok(Some(frame)) => return Some(frame),
                Ok(None) => {
                    let buffer = self.decoder.buffer();
                    buffer.reserve(READ_BYTES);
                    if self.read.read_buf(buffer).await.ok()? == 0 {
                        return None;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a client speaks no SPDY/3.1");
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_pinged() {
        let (mut client, server) = tokio::io::duplex(64);
        let connection = Connection::over(server);
        let mut decoder = Decoder::default();
        for id in [2, 4] {
            client.read_buf(decoder.buffer()).await.unwrap();
            assert_eq!(decoder.next(), Ok(Some(Frame::Ping(id))));
        }
        drop(connection);
        assert_eq!(client.read_buf(decoder.buffer()).await.unwrap(), 0, "it is closed");
    }
}
