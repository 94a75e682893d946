//! Serves logs, exec, attach and port-forward: finds the container and pumps bytes. Acts.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use jiff::Timestamp;
use proto::seam::{Clock, Stream};
use proto::session::{Exec, Logs, PortForward, Size};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::agent::{Directory, Place};
use crate::runtime::{AttachSpec, Chunk, Container, ContainerId, ExecSpec, Input, LogsSpec, Process, Runtime, State};
use crate::session::{Output, Refusal, Request, TunnelIo, Tunnels};

const DIAL_MAX: Duration = Duration::from_secs(5);
/// Read at once from a forwarded port.
const PORT_BUFFER_BYTES: usize = 32 << 10;
/// How often a container whose stream does not end by itself is looked at. Once it has ended, nothing more is awaited of a
/// stream that is quiet for as long.
const END_POLL: Duration = Duration::from_secs(2);

pub struct Streams {
    pub runtime: Arc<dyn Runtime>,
    pub directory: Arc<Directory>,
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Tunnels for Streams {
    async fn check(&self, request: &Request) -> Result<(), Refusal> {
        match request {
            Request::Logs(logs) => self.logs_target(logs).map(|_| ()),
            Request::Exec(exec) => self.exec_target(exec).map(|_| ()),
            Request::PortForward(forward) => self.port_target(forward).map(|_| ()),
        }
    }

    async fn serve(&self, request: Request, io: TunnelIo) {
        let gone = io.gone.clone();
        let output = io.output.clone();
        let serving = async {
            match request {
                Request::Logs(logs) => self.logs(logs, io).await,
                Request::Exec(exec) if exec.attach => self.attach(exec, io).await,
                Request::Exec(exec) => self.exec(exec, io).await,
                Request::PortForward(forward) => self.forward(forward, io).await,
            }
        };
        let result = tokio::select! {
            result = serving => result,
            () = gone.cancelled() => return,
        };
        // Whoever hung up does not hear it: no error.
        let _ = match result {
            Ok(code) => output.end(code).await,
            Err(message) => output.fail(message).await,
        };
    }
}

impl Streams {
    fn place(&self, namespace: &str, name: &str, uid: &str) -> Result<Place, Refusal> {
        let place = self.directory.find(namespace, name);
        place
            .filter(|place| uid.is_empty() || place.uid == uid)
            .ok_or_else(|| Refusal::new(404, format!("pod {name:?} is not on this node")))
    }

    fn logs_target(&self, logs: &Logs) -> Result<Container, Refusal> {
        let place = self.place(&logs.namespace, &logs.pod, &logs.pod_uid)?;
        let name = pick(&place, &logs.container, &logs.pod)?;
        match place.attempt(name, logs.previous) {
            Some(container) => Ok(container.clone()),
            None if logs.previous => Err(Refusal::new(
                400,
                format!("previous terminated container {name:?} in pod {:?} not found", logs.pod),
            )),
            None => Err(Refusal::new(
                400,
                format!("container {name:?} in pod {:?} is waiting to start: ContainerCreating", logs.pod),
            )),
        }
    }

    fn exec_target(&self, exec: &Exec) -> Result<Container, Refusal> {
        let place = self.place(&exec.namespace, &exec.pod, &exec.pod_uid)?;
        let name = pick(&place, &exec.container, &exec.pod)?;
        let container = place.attempt(name, false).filter(|one| matches!(one.state, State::Running { .. }));
        container
            .cloned()
            .ok_or_else(|| Refusal::new(400, format!("container {name:?} of pod {:?} is not running", exec.pod)))
    }

    fn port_target(&self, forward: &PortForward) -> Result<SocketAddr, Refusal> {
        let place = self.place(&forward.namespace, &forward.pod, &forward.pod_uid)?;
        let port = u16::try_from(forward.port).ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| Refusal::new(400, format!("{} is no port", forward.port)))?;
        let ip = place.ip.ok_or_else(|| Refusal::new(400, format!("pod {:?} has no address", forward.pod)))?;
        Ok(SocketAddr::new(ip, port))
    }

    async fn logs(&self, logs: Logs, io: TunnelIo) -> Result<i32, String> {
        let container = self.logs_target(&logs).map_err(|refusal| refusal.reason)?;
        let spec = LogsSpec {
            follow: logs.follow && matches!(container.state, State::Running { .. }),
            timestamps: logs.timestamps,
            tail_lines: logs.tail_lines.map(|lines| lines.max(0) as u64),
            since_s: self.since_s(&logs),
        };
        let mut chunks = self.runtime.logs(&container.id, &spec).await.map_err(|error| error.to_string())?;
        let mut room = logs.limit_bytes.map_or(u64::MAX, |bytes| bytes.max(0) as u64);
        while room > 0
            && let Some(chunk) = chunks.next().await
        {
            let chunk = chunk.map_err(|error| error.to_string())?;
            let mut bytes = chunk.bytes().clone();
            bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
            room -= bytes.len() as u64;
            if send(&io.output, &chunk, bytes).await.is_err() {
                break;
            }
        }
        Ok(0)
    }

    fn since_s(&self, logs: &Logs) -> Option<i64> {
        if let Some(seconds) = logs.since_seconds {
            return Some(self.clock.now_ms() as i64 / 1000 - seconds);
        }
        logs.since_time.parse::<Timestamp>().ok().map(|at| at.as_second())
    }

    async fn exec(&self, exec: Exec, io: TunnelIo) -> Result<i32, String> {
        let container = self.exec_target(&exec).map_err(|refusal| refusal.reason)?;
        let spec = ExecSpec {
            command: exec.command.clone(),
            stdin: exec.stdin,
            stdout: exec.stdout,
            // A terminal has one output.
            stderr: exec.stderr && !exec.tty,
            tty: exec.tty,
        };
        let process = self.runtime.exec(&container.id, &spec).await.map_err(|error| error.to_string())?;
        let control = pump(process, io, exec.stdin, std::future::pending()).await?;
        let code = control.exit_code().await.map_err(|error| error.to_string())?;
        code.ok_or_else(|| "the command's exit code is not known".into())
    }

    async fn attach(&self, exec: Exec, io: TunnelIo) -> Result<i32, String> {
        let container = self.exec_target(&exec).map_err(|refusal| refusal.reason)?;
        let spec = AttachSpec { stdin: exec.stdin, stdout: exec.stdout, stderr: exec.stderr && !container.tty };
        let process = self.runtime.attach(&container.id, &spec).await.map_err(|error| error.to_string())?;
        // An engine may leave the stream open when the process has ended.
        let control = pump(process, io, exec.stdin, self.ended(&container.id)).await?;
        let code = control.exit_code().await.map_err(|error| error.to_string())?;
        Ok(code.unwrap_or(0))
    }

    async fn ended(&self, id: &ContainerId) {
        loop {
            tokio::time::sleep(END_POLL).await;
            match self.runtime.inspect(id).await {
                Ok(Some(container)) if matches!(container.state, State::Running { .. }) => {}
                Ok(_) => return,
                Err(_) => {}
            }
        }
    }

    async fn forward(&self, forward: PortForward, io: TunnelIo) -> Result<i32, String> {
        let address = self.port_target(&forward).map_err(|refusal| refusal.reason)?;
        let dialled = tokio::time::timeout(DIAL_MAX, self.runtime.dial(address)).await;
        let stream = dialled
            .map_err(|_| format!("no connection to port {} within {DIAL_MAX:?}", forward.port))?
            .map_err(|error| format!("port {}: {error}", forward.port))?;
        carry(stream, io).await
    }
}

/// Between a caller and a port, until the port says no more. A caller that says no more is told all the same what the port still
/// has to say; a port has no way to say so and to go on listening, for its end is what callers wait for.
async fn carry(stream: Box<dyn Stream>, mut io: TunnelIo) -> Result<i32, String> {
    let (mut from, mut to) = tokio::io::split(stream);
    let outward = async {
        let mut buffer = vec![0; PORT_BUFFER_BYTES];
        loop {
            let count = from.read(&mut buffer).await.map_err(|error| error.to_string())?;
            if count == 0 || io.output.stdout(Bytes::copy_from_slice(&buffer[..count])).await.is_err() {
                return Ok(0);
            }
        }
    };
    let inward = async {
        while let Some(bytes) = io.stdin.recv().await {
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = outward => result,
        () = inward => Ok(0),
    }
}

/// The container meant: the named one, or the only one.
fn pick<'a>(place: &'a Place, wanted: &str, pod: &str) -> Result<&'a str, Refusal> {
    if wanted.is_empty() {
        return match place.names.as_slice() {
            [only] => Ok(only),
            _ => Err(Refusal::new(
                400,
                format!("a container name must be specified for pod {pod}, choose one of: [{}]", place.names.join(" ")),
            )),
        };
    }
    let found = place.names.iter().find(|name| *name == wanted);
    found.map(String::as_str).ok_or_else(|| Refusal::new(400, format!("container {wanted} is not valid for pod {pod}")))
}

async fn send(output: &Output, chunk: &Chunk, bytes: Bytes) -> Result<(), crate::session::Gone> {
    match chunk {
        Chunk::Stdout(_) => output.stdout(bytes).await,
        Chunk::Stderr(_) => output.stderr(bytes).await,
    }
}

/// Moves bytes both ways until the output ends, or is quiet for [`END_POLL`] after `ended`. Gives back what tells the exit
/// code.
async fn pump(
    process: Process,
    io: TunnelIo,
    has_stdin: bool,
    ended: impl Future<Output = ()>,
) -> Result<Box<dyn crate::runtime::Resize>, String> {
    let Process { input, mut output, control } = process;
    let TunnelIo { stdin, mut resize, output: sink, .. } = io;
    // The container is looked at while nothing comes, so that a caller who is slow to take what came loses none of it.
    let outward = async {
        let mut ended = std::pin::pin!(ended);
        let mut has_ended = false;
        loop {
            let chunk = tokio::select! {
                biased;
                chunk = output.next() => chunk,
                () = &mut ended, if !has_ended => {
                    has_ended = true;
                    continue;
                }
                () = tokio::time::sleep(END_POLL), if has_ended => None,
            };
            let Some(chunk) = chunk else { return Ok(()) };
            let chunk = chunk.map_err(|error| error.to_string())?;
            let bytes = chunk.bytes().clone();
            if send(&sink, &chunk, bytes).await.is_err() {
                return Ok(());
            }
        }
    };
    let inward = async {
        if has_stdin {
            feed(input, stdin).await;
        }
        std::future::pending::<()>().await;
    };
    let resizing = async {
        while let Some(Size { width, height }) = resize.recv().await {
            let side = |length: u32| u16::try_from(length).unwrap_or(u16::MAX);
            let _ = control.resize(side(width), side(height)).await;
        }
        std::future::pending::<()>().await;
    };
    let result: Result<(), String> = tokio::select! {
        result = outward => result,
        () = inward => Ok(()),
        () = resizing => Ok(()),
    };
    result.map(|()| control)
}

/// The caller's half closes, and then the command's stdin does: what was read before is all there was.
async fn feed(mut input: Input, mut stdin: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = stdin.recv().await {
        if input.write_all(&bytes).await.is_err() {
            return;
        }
        if stdin.is_empty() && input.flush().await.is_err() {
            return;
        }
    }
    let _ = input.shutdown().await;
}
