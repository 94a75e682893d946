//! Containers' logs, through whichever replica answers. Acts.

use bytes::Bytes;
use proto::api as wire;

use crate::dispatch::{Repeat, ended};
use crate::{Client, Error};

/// Whose log, and which part of it.
#[derive(Clone, Debug, Default)]
pub struct LogsRequest {
    pub namespace: String,
    pub pod: String,
    /// "" when the Pod has one container.
    pub container: String,
    /// Go on as the container writes.
    pub follow: bool,
    /// The log of the container's run before this one.
    pub previous: bool,
    /// A time (RFC 3339) before every line.
    pub timestamps: bool,
    /// Only the last lines.
    pub tail_lines: Option<i64>,
    /// Only what is younger than so many seconds.
    pub since_seconds: Option<i64>,
    /// At most so many bytes.
    pub limit_bytes: Option<i64>,
}

/// What a container wrote, in order. Dropping it ends the stream.
pub struct Logs {
    chunks: tonic::Streaming<wire::Chunk>,
}

impl Client {
    /// A container's log, as the bytes it wrote. With `follow` it ends when the container does.
    pub async fn logs(&self, request: LogsRequest) -> Result<Logs, Error> {
        let request = wire::LogsRequest {
            namespace: request.namespace,
            pod: request.pod,
            container: request.container,
            follow: request.follow,
            previous: request.previous,
            timestamps: request.timestamps,
            tail_lines: request.tail_lines,
            since_seconds: request.since_seconds,
            limit_bytes: request.limit_bytes,
            since_time: String::new(),
        };
        let chunks = self.call(Repeat::Read, |mut replica| {
            let request = request.clone();
            async move { replica.logs(request).await }
        });
        Ok(Logs { chunks: chunks.await? })
    }
}

impl Logs {
    /// The next piece, not cut at lines; `None` at the end. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let chunk = self.chunks.message().await.map_err(ended)?;
        Ok(chunk.map(|chunk| chunk.data))
    }
}
