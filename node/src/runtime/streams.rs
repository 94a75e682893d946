//! Byte streams of containers: logs, exec, attach. Types only.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use tokio::io::AsyncWrite;

use super::Error;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    Stdout(Bytes),
    Stderr(Bytes),
}

impl Chunk {
    pub fn bytes(&self) -> &Bytes {
        match self {
            Chunk::Stdout(bytes) | Chunk::Stderr(bytes) => bytes,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecSpec {
    pub command: Vec<String>,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachSpec {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogsSpec {
    pub follow: bool,
    /// Each line begins with the time it was written, RFC 3339.
    pub timestamps: bool,
    /// The last so many lines; `None` all.
    pub tail_lines: Option<u64>,
    /// Seconds since the Unix epoch.
    pub since_s: Option<i64>,
}

pub type Input = Pin<Box<dyn AsyncWrite + Send>>;

/// A running command (or a container's main process) with its streams. Dropping it leaves the command running.
pub struct Process {
    pub input: Input,
    pub output: BoxStream<'static, Result<Chunk, Error>>,
    pub control: Box<dyn Resize>,
}

#[async_trait]
pub trait Resize: Send + Sync {
    async fn resize(&self, width: u16, height: u16) -> Result<(), Error>;

    /// The exit code, once the output has ended; `None` while it still runs.
    async fn exit_code(&self) -> Result<Option<i32>, Error>;
}
