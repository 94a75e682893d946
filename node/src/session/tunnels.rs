//! The agent's side of logs, exec and attach as the rest of the agent sees it: byte channels, no wire. Types only.

use async_trait::async_trait;
use bytes::Bytes;
use proto::session::{End, Frame, Size, frame};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use proto::session::open_tunnel::Request;

/// Serves streams of containers. Several run at once.
#[async_trait]
pub trait Tunnels: Send + Sync + 'static {
    /// Can this be served? Asked before the tunnel is dialled, so that a refusal becomes the answer of the
    /// request. Must answer within [`super::TUNNEL_CHECK_MAX`].
    async fn check(&self, request: &Request) -> Result<(), Refusal>;

    /// Serves one stream to its end, and says how it ended with [`Output::end`]. Dropped when the agent shuts down.
    async fn serve(&self, request: Request, io: TunnelIo);
}

/// Why a stream cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status that fits: 400, 404, 500, …
    pub code: u32,
    pub reason: String,
}

impl Refusal {
    pub fn new(code: u32, reason: impl Into<String>) -> Refusal {
        Refusal { code, reason: reason.into() }
    }
}

/// The near end of a tunnel.
pub struct TunnelIo {
    /// Bytes for the container's stdin (or the forwarded port). Ends (`None`) when the caller closed its half,
    /// and when it is gone altogether.
    pub stdin: mpsc::Receiver<Bytes>,
    /// Sizes of the caller's terminal.
    pub resize: mpsc::Receiver<Size>,
    pub output: Output,
    /// Cancelled when the caller hung up: nobody reads any more.
    pub gone: CancellationToken,
}

/// Where a container's output goes. Sends wait while the caller reads slowly. Clones share the tunnel.
#[derive(Clone)]
pub struct Output(mpsc::Sender<Frame>);

/// The caller hung up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caller hung up")]
pub struct Gone;

impl Output {
    /// A wire frame carries at most this much; longer pieces are split.
    pub const FRAME_BYTES_MAX: usize = 64 << 10;

    pub fn new(frames: mpsc::Sender<Frame>) -> Output {
        Output(frames)
    }

    /// Also carries the bytes that come out of a forwarded port.
    pub async fn stdout(&self, bytes: Bytes) -> Result<(), Gone> {
        self.pieces(bytes, frame::Frame::Stdout).await
    }

    pub async fn stderr(&self, bytes: Bytes) -> Result<(), Gone> {
        self.pieces(bytes, frame::Frame::Stderr).await
    }

    /// The command ended with this exit code (0 for logs that were read to their end).
    pub async fn end(&self, code: i32) -> Result<(), Gone> {
        self.send(frame::Frame::End(End { code, error: String::new() })).await
    }

    /// It could not be run, or the stream broke.
    pub async fn fail(&self, error: impl Into<String> + Send) -> Result<(), Gone> {
        let error = error.into();
        self.send(frame::Frame::End(End { code: 0, error })).await
    }

    async fn pieces(&self, mut bytes: Bytes, wrap: fn(Bytes) -> frame::Frame) -> Result<(), Gone> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(Self::FRAME_BYTES_MAX));
            self.send(wrap(piece)).await?;
        }
        Ok(())
    }

    async fn send(&self, frame: frame::Frame) -> Result<(), Gone> {
        self.0.send(Frame { frame: Some(frame) }).await.map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn long_output_is_split_and_complete() {
        let (sender, mut receiver) = mpsc::channel(16);
        let output = Output::new(sender);
        output.stdout(Bytes::from(vec![7; Output::FRAME_BYTES_MAX * 2 + 1])).await.unwrap();
        output.end(3).await.unwrap();
        drop(output);
        let mut sizes = Vec::new();
        while let Some(frame) = receiver.recv().await {
            match frame.frame.unwrap() {
                frame::Frame::Stdout(bytes) => sizes.push(bytes.len()),
                frame::Frame::End(end) => assert_eq!(end.code, 3),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(sizes, [Output::FRAME_BYTES_MAX, Output::FRAME_BYTES_MAX, 1]);
    }
}
