//! `pods/<name>/portforward`: SPDY/3.1, bare or inside a WebSocket. Per connection to a port the client makes two
//! streams, `data` and `error`, which belong together by their request id. Acts.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::Status;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use super::exec::{Protocol, protocol};
use super::open::Streams;
use super::spdy::{Connection, FORWARD_PROTOCOL, Frame, Handshake, Headers, REFUSED_STREAM, Sender};
use super::{carry, failure, over, websocket};
use crate::sessions::{Ended, Output, Tunnel};

/// kubectl's name for SPDY/3.1 inside a WebSocket.
const TUNNELLED: &str = "SPDY/3.1+portforward.k8s.io";
/// Connections to ports at one time, of one client.
const FORWARDS_MAX: usize = 256;
/// Bytes that wait for one port to take them; a client with all its ports has 64 MiB of them. Beyond that the whole
/// client waits, since it knows no windows of single streams.
const WAITING_BYTES_MAX: usize = 256 << 10;
/// What a port is given at once.
const PIECE_BYTES_MAX: usize = 32 << 10;
/// At the end of the run, for telling the client.
const LINGER_MAX: Duration = Duration::from_secs(3);

/// Answers the whole request. Needs HTTP/1.1, as every upgrade.
pub async fn port_forward(streams: &Streams, namespace: &str, pod: &str, request: Request) -> Response {
    upgrade(streams, namespace, pod, request).await.unwrap_or_else(failure)
}

async fn upgrade(streams: &Streams, namespace: &str, pod: &str, mut request: Request) -> Result<Response, Status> {
    let target = Target { streams: streams.clone(), namespace: namespace.to_owned(), pod: pod.to_owned() };
    match protocol(request.headers())? {
        Protocol::Spdy => {
            let handshake = Handshake::of(&mut request, &[FORWARD_PROTOCOL])?;
            streams.check_forward(namespace, pod).await?;
            let run = streams.run.clone();
            Ok(handshake.accept(run.clone(), |connection, _| target.serve(connection, run)))
        }
        Protocol::WebSocket => {
            let offered = websocket::offered(&request);
            if !offered.iter().any(|name| name == TUNNELLED) {
                return Err(Status::bad_request(format!("of {offered:?} none is {TUNNELLED:?}")));
            }
            let upgrade = websocket::upgrade(&mut request).await?;
            streams.check_forward(namespace, pod).await?;
            let run = streams.run.clone();
            Ok(upgrade.protocols([TUNNELLED]).on_upgrade(|socket| {
                let (sink, messages) = socket.split();
                let end = run.clone();
                over::within(end, carry::serve(messages, sink, |near| target.serve(Connection::over(near), run)))
            }))
        }
    }
}

struct Target {
    streams: Streams,
    namespace: String,
    pod: String,
}

impl Target {
    async fn serve(self, connection: Connection, run: CancellationToken) {
        let target = Arc::new(self);
        let pod = target.pod.clone();
        let open = move |port| {
            let target = target.clone();
            async move { target.streams.open_port(&target.namespace, &target.pod, port).await }
        };
        serve(connection, &pod, open, run).await;
    }
}

/// The streams of one connection to a port.
#[derive(Default)]
struct Pair {
    error: Option<u32>,
    data: Option<u32>,
}

/// A connection to a port, by the id of its data stream.
struct Forward {
    /// `None`: the client's half is closed.
    pipe: Option<DuplexStream>,
    /// The client has given the connection up.
    reset: CancellationToken,
}

/// Until the client is gone, or the run is over. `open`: a connection to this port of the Pod.
async fn serve<F>(
    connection: Connection,
    pod: &str,
    open: impl Fn(u16) -> F + Clone + Send + 'static,
    run: CancellationToken,
) where
    F: Future<Output = Result<Tunnel, Status>> + Send + 'static,
{
    let (sender, mut receiver) = connection.split();
    let mut pairs: BTreeMap<(String, u16), Pair> = BTreeMap::new();
    let mut forwards: BTreeMap<u32, Forward> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut last = 0;
    loop {
        let frame = tokio::select! {
            () = stopped(&run, &sender) => break,
            frame = receiver.next() => frame,
            Some(done) = tasks.join_next() => {
                if let Ok(data) = done {
                    forwards.remove(&data);
                }
                continue;
            }
        };
        match frame {
            Some(Frame::SynStream { id, headers, .. }) => {
                last = id;
                let ready = match read(&headers) {
                    Some(stream) if tasks.len() < FORWARDS_MAX && pairs.len() < FORWARDS_MAX => {
                        if sender.reply(id).await.is_err() {
                            break;
                        }
                        join(&mut pairs, stream, id)
                    }
                    _ => {
                        if sender.reset(id, REFUSED_STREAM).await.is_err() {
                            break;
                        }
                        None
                    }
                };
                if let Some((port, error, data)) = ready {
                    let (pipe, bytes) = tokio::io::duplex(WAITING_BYTES_MAX);
                    let reset = CancellationToken::new();
                    forwards.insert(data, Forward { pipe: Some(pipe), reset: reset.clone() });
                    let (open, sender, run) = (open.clone(), sender.clone(), run.clone());
                    let forward = Ending { pod: pod.to_owned(), port, error, data, sender: sender.clone(), reset, run };
                    let tunnelled = async move { tunnel(open(port).await, data, &sender, bytes).await };
                    tasks.spawn(forward.of(tunnelled));
                }
            }
            Some(Frame::Data { id, fin, bytes }) => {
                let Some(forward) = forwards.get_mut(&id) else { continue };
                if let Some(pipe) = &mut forward.pipe {
                    tokio::select! {
                        // What comes for a connection that has ended is dropped.
                        _ = pipe.write_all(&bytes) => {}
                        () = stopped(&run, &sender) => break,
                    }
                }
                if fin {
                    forward.pipe = None;
                }
            }
            Some(Frame::Reset { id, .. }) => {
                forget(&mut pairs, id);
                if let Some(forward) = forwards.get(&id) {
                    forward.reset.cancel();
                }
            }
            Some(_) => {}
            None => break,
        }
    }
    if run.is_cancelled() {
        let goodbye = async {
            while tasks.join_next().await.is_some() {}
            let _ = sender.go_away(last).await;
        };
        let _ = timeout(LINGER_MAX, goodbye).await;
    }
    // Dropping the tasks drops their tunnels.
}

/// The run is over, or the client has vanished: while no frame is read, only the writer finds that out.
async fn stopped(run: &CancellationToken, sender: &Sender) {
    tokio::select! {
        () = run.cancelled() => {}
        () = sender.closed() => {}
    }
}

struct Asked {
    request: String,
    port: u16,
    is_error: bool,
}

fn read(headers: &Headers) -> Option<Asked> {
    let text = |name: &str| headers.get(name).map(String::as_str);
    let port = text("port")?.parse().ok().filter(|&port| port != 0)?;
    let is_error = match text("streamtype")? {
        "error" => true,
        "data" => false,
        _ => return None,
    };
    Some(Asked { request: text("requestid").unwrap_or_default().to_owned(), port, is_error })
}

/// Notes a stream; `Some((port, error, data))` when its pair is complete.
fn join(pairs: &mut BTreeMap<(String, u16), Pair>, stream: Asked, id: u32) -> Option<(u16, u32, u32)> {
    let key = (stream.request, stream.port);
    let pair = pairs.entry(key.clone()).or_default();
    *(if stream.is_error { &mut pair.error } else { &mut pair.data }) = Some(id);
    let (error, data) = (pair.error?, pair.data?);
    pairs.remove(&key);
    Some((key.1, error, data))
}

/// Half of a pair that the client has reset waits for no other half.
fn forget(pairs: &mut BTreeMap<(String, u16), Pair>, id: u32) {
    pairs.retain(|_, pair| ![pair.error, pair.data].contains(&Some(id)));
}

/// How one connection to a port ends.
struct Ending {
    pod: String,
    port: u16,
    error: u32,
    data: u32,
    sender: Sender,
    reset: CancellationToken,
    run: CancellationToken,
}

impl Ending {
    /// Of what goes through the tunnel, which says why it failed. Returns the id of the data stream.
    async fn of(self, tunnelled: impl Future<Output = Option<String>>) -> u32 {
        let failed = tokio::select! {
            failed = tunnelled => failed,
            () = self.run.cancelled() => Some(over::WHY.to_owned()),
            () = self.reset.cancelled() => None,
        };
        let Ending { pod, port, error, data, sender, reset, .. } = self;
        let told = failed.map(|failed| format!("error forwarding port {port} to pod {pod}: {failed}"));
        // A client that is gone needs no end, nor does a stream that it has reset.
        if !reset.is_cancelled() {
            let _ = sender.data(data, Bytes::new(), true).await;
        }
        let _ = sender.data(error, told.unwrap_or_default().into(), true).await;
        data
    }
}

/// Between the client and a port, to the end; then why it failed, if it did.
async fn tunnel(opened: Result<Tunnel, Status>, data: u32, sender: &Sender, bytes: DuplexStream) -> Option<String> {
    let (input, mut output) = match opened {
        Ok(tunnel) => tunnel.split(),
        Err(status) => return Some(status.message),
    };
    let inbound = async {
        let mut pieces = ReaderStream::with_capacity(bytes, PIECE_BYTES_MAX);
        while let Some(Ok(piece)) = pieces.next().await {
            if input.stdin(piece).await.is_err() {
                break;
            }
        }
        // Nobody waits for this port any more.
        drop(pieces);
        let _ = input.stdin_end().await;
        std::future::pending().await
    };
    let outbound = async {
        loop {
            match output.next().await {
                Some(Output::Stdout(bytes) | Output::Stderr(bytes)) => sender.data(data, bytes, false).await.ok()?,
                Some(Output::End(Ended::Failed(error))) => return Some(error),
                Some(Output::End(Ended::Exited(_))) | None => return None,
            }
        }
    };
    tokio::select! {
        failed = outbound => failed,
        never = inbound => never,
    }
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
