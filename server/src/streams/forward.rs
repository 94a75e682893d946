//! `pods/<name>/portforward`: SPDY/3.1, bare or inside a WebSocket. Per connection to a port the client makes two
//! streams, `data` and `error`, which belong together by their request id. Acts.

use std::collections::BTreeMap;
use std::time::Duration;

use api::Status;
use axum::extract::Request;
use axum::extract::ws::{Message, WebSocket};
use axum::response::Response;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::exec::{Protocol, protocol};
use super::open::Streams;
use super::spdy::{Connection, FORWARD_PROTOCOL, Frame, Handshake, Headers, REFUSED_STREAM, Sender};
use super::{failure, websocket};
use crate::sessions::{Ended, Output};

/// kubectl's name for SPDY/3.1 inside a WebSocket.
const TUNNELLED: &str = "SPDY/3.1+portforward.k8s.io";
/// Connections to ports at one time, of one client.
const FORWARDS_MAX: usize = 256;
/// Pieces that wait for a port to take them.
const PIECES_MAX: usize = 16;
const BUFFER_BYTES: usize = 64 << 10;
/// For the WebSocket's own close.
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
            Ok(handshake.accept(|connection, _| serve(connection, target)))
        }
        Protocol::WebSocket => {
            let offered = websocket::offered(&request);
            if !offered.iter().any(|name| name == TUNNELLED) {
                return Err(Status::bad_request(format!("of {offered:?} none is {TUNNELLED:?}")));
            }
            let upgrade = websocket::upgrade(&mut request).await?;
            streams.check_forward(namespace, pod).await?;
            Ok(upgrade.protocols([TUNNELLED]).on_upgrade(|socket| async move {
                let (near, far) = tokio::io::duplex(BUFFER_BYTES);
                tokio::join!(carry(socket, far), serve(Connection::over(near), target));
            }))
        }
    }
}

/// Bytes between a WebSocket's binary messages and a byte stream, until either side ends.
async fn carry(socket: WebSocket, stream: DuplexStream) {
    let (mut sink, mut messages) = socket.split();
    let (mut read, mut write) = tokio::io::split(stream);
    let inbound = async {
        while let Some(Ok(message)) = messages.next().await {
            match message {
                Message::Binary(bytes) if write.write_all(&bytes).await.is_err() => break,
                Message::Close(_) => break,
                _ => {}
            }
        }
        let _ = write.shutdown().await;
    };
    let outbound = async {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(length @ 1..) = read.read(&mut buffer).await {
            let message = Message::Binary(Bytes::copy_from_slice(&buffer[..length]));
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let _ = timeout(LINGER_MAX, sink.send(Message::Close(None))).await;
    };
    tokio::join!(inbound, outbound);
}

#[derive(Clone)]
struct Target {
    streams: Streams,
    namespace: String,
    pod: String,
}

/// The streams of one connection to a port.
#[derive(Default)]
struct Pair {
    error: Option<u32>,
    data: Option<u32>,
}

async fn serve(connection: Connection, target: Target) {
    let (sender, mut receiver) = connection.split();
    let mut pairs: BTreeMap<(String, u16), Pair> = BTreeMap::new();
    let mut pieces: BTreeMap<u32, mpsc::Sender<Bytes>> = BTreeMap::new();
    let mut forwards = JoinSet::new();
    loop {
        let frame = tokio::select! {
            frame = receiver.next() => frame,
            Some(done) = forwards.join_next() => {
                if let Ok(data) = done {
                    pieces.remove(&data);
                }
                continue;
            }
        };
        match frame {
            Some(Frame::SynStream { id, headers, .. }) => {
                let ready = match read(&headers) {
                    Some(stream) if forwards.len() < FORWARDS_MAX && pairs.len() < FORWARDS_MAX => {
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
                    let (piece, queue) = mpsc::channel(PIECES_MAX);
                    pieces.insert(data, piece);
                    forwards.spawn(forward(target.clone(), port, Ids { error, data }, sender.clone(), queue));
                }
            }
            Some(Frame::Data { id, fin, bytes }) => {
                // What comes for a connection that has ended is dropped.
                if let Some(piece) = pieces.get(&id)
                    && !bytes.is_empty()
                {
                    let _ = piece.send(bytes).await;
                }
                if fin {
                    pieces.remove(&id);
                }
            }
            Some(Frame::Reset { id, .. }) => drop(pieces.remove(&id)),
            Some(_) => {}
            None => break,
        }
    }
    // Dropping the forwards drops their tunnels.
}

struct Stream {
    request: String,
    port: u16,
    is_error: bool,
}

fn read(headers: &Headers) -> Option<Stream> {
    let text = |name: &str| headers.get(name).map(String::as_str);
    let port = text("port")?.parse().ok().filter(|&port| port != 0)?;
    let is_error = match text("streamtype")? {
        "error" => true,
        "data" => false,
        _ => return None,
    };
    Some(Stream { request: text("requestid").unwrap_or_default().to_owned(), port, is_error })
}

/// Notes a stream; `Some((port, error, data))` when its pair is complete.
fn join(pairs: &mut BTreeMap<(String, u16), Pair>, stream: Stream, id: u32) -> Option<(u16, u32, u32)> {
    let key = (stream.request, stream.port);
    let pair = pairs.entry(key.clone()).or_default();
    *(if stream.is_error { &mut pair.error } else { &mut pair.data }) = Some(id);
    let (error, data) = (pair.error?, pair.data?);
    pairs.remove(&key);
    Some((key.1, error, data))
}

struct Ids {
    error: u32,
    data: u32,
}

/// One connection to a port, to its end. Returns the id of its data stream.
async fn forward(target: Target, port: u16, ids: Ids, sender: Sender, mut pieces: mpsc::Receiver<Bytes>) -> u32 {
    let failed = match target.streams.open_port(&target.namespace, &target.pod, port).await {
        Err(status) => Some(status.message),
        Ok(tunnel) => {
            let (input, mut output) = tunnel.split();
            let inbound = async {
                while let Some(bytes) = pieces.recv().await {
                    if input.stdin(bytes).await.is_err() {
                        break;
                    }
                }
                let _ = input.stdin_end().await;
                std::future::pending().await
            };
            let outbound = async {
                loop {
                    match output.next().await {
                        Some(Output::Stdout(bytes) | Output::Stderr(bytes)) => {
                            sender.data(ids.data, bytes, false).await.ok()?;
                        }
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
    };
    let told = failed.map(|error| format!("error forwarding port {port} to pod {}: {error}", target.pod));
    // A client that is gone needs no end.
    let _ = sender.data(ids.data, Bytes::new(), true).await;
    let _ = sender.data(ids.error, told.unwrap_or_default().into(), true).await;
    ids.data
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(kind: &str, request: &str, port: &str) -> Option<Stream> {
        let pairs = [("streamtype", kind), ("requestid", request), ("port", port)];
        read(&pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect())
    }

    #[test]
    fn streams_pair_up_by_request() {
        let mut pairs = BTreeMap::new();
        assert_eq!(join(&mut pairs, stream("error", "0", "80").unwrap(), 1), None);
        assert_eq!(join(&mut pairs, stream("error", "1", "80").unwrap(), 3), None);
        assert_eq!(join(&mut pairs, stream("data", "0", "80").unwrap(), 5), Some((80, 1, 5)));
        assert_eq!(join(&mut pairs, stream("data", "1", "80").unwrap(), 7), Some((80, 3, 7)));
        assert!(pairs.is_empty());
    }

    #[test]
    fn streams_that_make_no_sense_are_refused() {
        for (kind, port) in [("data", "0"), ("data", "99999"), ("data", ""), ("stdin", "80")] {
            assert!(stream(kind, "0", port).is_none(), "{kind} {port}");
        }
    }
}
