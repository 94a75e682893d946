//! The WebSocket protocols `v5.channel.k8s.io` and its elders: every message carries a channel's number and its
//! bytes. Acts; the channels are in the pure functions below.

use std::time::Duration;

use api::Status;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{FromRequestParts as _, Request};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use http::header;
use serde::Deserialize;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::options::ExecOptions;
use super::{ending, over};
use crate::sessions::{Output, Tunnel, TunnelReceiver, TunnelSender};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Version 5: the next byte names the channel that is closed.
const CLOSE: u8 = 255;

/// A client may put so much into one message.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Keeps what stands between from taking a silent connection for dead, and finds out when it is.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// After the end, the client's own close is waited for so long: closing first could lose what is on its way.
const LINGER_MAX: Duration = Duration::from_secs(3);

/// One way to talk, in order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    name: &'static str,
    /// Text frames with base64, for clients that can do no better.
    base64: bool,
    /// The end is a Status, also when all went well.
    status: bool,
    /// Channels can be closed one by one.
    closes: bool,
}

const DIALECTS: [Dialect; 5] = [
    Dialect { name: "v5.channel.k8s.io", base64: false, status: true, closes: true },
    Dialect { name: "v4.channel.k8s.io", base64: false, status: true, closes: false },
    Dialect { name: "v4.base64.channel.k8s.io", base64: true, status: true, closes: false },
    Dialect { name: "channel.k8s.io", base64: false, status: false, closes: false },
    Dialect { name: "base64.channel.k8s.io", base64: true, status: false, closes: false },
];
/// For a client that names no protocol.
const NAMELESS: Dialect = Dialect { name: "", base64: false, status: false, closes: false };

/// A request that can be upgraded.
pub struct Handshake {
    upgrade: WebSocketUpgrade,
    dialect: Dialect,
}

impl Handshake {
    pub async fn of(request: &mut Request) -> Result<Handshake, Status> {
        let offered = offered(request);
        let dialect = choose(&offered).ok_or_else(|| {
            let known: Vec<&str> = DIALECTS.iter().map(|dialect| dialect.name).collect();
            Status::bad_request(format!("none of the WebSocket protocols {offered:?} is known; these are: {known:?}"))
        })?;
        Ok(Handshake { upgrade: upgrade(request).await?, dialect })
    }

    /// Answers 101, and runs the stream in a task of its own, which ends with the `run`.
    pub fn exec(self, options: ExecOptions, tunnel: Tunnel, run: CancellationToken) -> Response {
        let dialect = self.dialect;
        let upgrade = match dialect.name {
            "" => self.upgrade,
            name => self.upgrade.protocols([name]),
        };
        upgrade.on_upgrade(move |socket| over::within(run.clone(), serve(socket, dialect, options, tunnel, run)))
    }
}

/// The protocols that the client names.
pub fn offered(request: &Request) -> Vec<String> {
    let values = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let names = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    names.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

pub async fn upgrade(request: &mut Request) -> Result<WebSocketUpgrade, Status> {
    let (mut parts, body) = std::mem::take(request).into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    *request = Request::from_parts(parts, body);
    let upgrade = upgrade.map_err(|rejection| Status::bad_request(rejection.body_text()))?;
    Ok(upgrade.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX))
}

/// When to ping, the first time after a while.
pub fn pings() -> Interval {
    let mut pings = interval(PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.reset();
    pings
}

fn choose(offered: &[String]) -> Option<Dialect> {
    if offered.is_empty() {
        return Some(NAMELESS);
    }
    DIALECTS.into_iter().find(|dialect| offered.iter().any(|name| name == dialect.name))
}

async fn serve(socket: WebSocket, dialect: Dialect, options: ExecOptions, tunnel: Tunnel, run: CancellationToken) {
    let (sink, stream) = socket.split();
    let (sender, receiver) = tunnel.split();
    let mut inbound = std::pin::pin!(receive(stream, dialect, options.stdin, sender));
    let told = {
        let mut outbound = std::pin::pin!(send(sink, dialect, &options, receiver, &run));
        tokio::select! {
            sink = &mut outbound => sink,
            // The client is gone: dropping the tunnel tells the agent.
            () = &mut inbound => return,
        }
    };
    let Some(mut sink) = told else { return };
    let goodbye = async {
        let normal = CloseFrame { code: close_code::NORMAL, reason: "".into() };
        let _ = sink.send(Message::Close(Some(normal))).await;
        inbound.await;
    };
    let _ = timeout(LINGER_MAX, goodbye).await;
}

/// From the container to the client, to the end; `None` when the client is gone.
async fn send(
    mut sink: SplitSink<WebSocket, Message>,
    dialect: Dialect,
    options: &ExecOptions,
    mut receiver: TunnelReceiver,
    run: &CancellationToken,
) -> Option<SplitSink<WebSocket, Message>> {
    let mut ping = pings();
    let lowest = match options {
        ExecOptions { stdout: true, .. } => STDOUT,
        ExecOptions { stderr: true, .. } => STDERR,
        _ => ERROR,
    };
    // Clients take an empty first message for the sign that the stream stands.
    sink.send(message(dialect, lowest, &[])).await.ok()?;
    loop {
        let output = tokio::select! {
            output = over::next(&mut receiver, run) => output?,
            _ = ping.tick() => {
                sink.send(Message::Ping(Bytes::new())).await.ok()?;
                continue;
            }
        };
        let next = match output {
            Output::Stdout(bytes) if options.stdout => message(dialect, STDOUT, &bytes),
            Output::Stderr(bytes) if options.stderr => message(dialect, STDERR, &bytes),
            Output::Stdout(_) | Output::Stderr(_) => continue,
            Output::End(ended) => {
                let last = if dialect.status { ending::status(&ended) } else { ending::text(&ended) };
                if !last.is_empty() {
                    sink.send(message(dialect, ERROR, &last)).await.ok()?;
                }
                return Some(sink);
            }
        };
        sink.send(next).await.ok()?;
    }
}

/// From the client to the container, until the client closes. Waits while the container reads slowly.
async fn receive(mut stream: SplitStream<WebSocket>, dialect: Dialect, wants_stdin: bool, sender: TunnelSender) {
    let mut stdin_open = wants_stdin;
    while let Some(Ok(message)) = stream.next().await {
        let input = match message {
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Binary(bytes) => read(dialect, bytes),
            Message::Text(text) => read(dialect, text.into()),
        };
        // An agent that is gone ends the stream from the other side.
        let _ = match input {
            Some(Input::Stdin(bytes)) if stdin_open => sender.stdin(bytes).await,
            Some(Input::StdinEnd) if stdin_open => {
                stdin_open = false;
                sender.stdin_end().await
            }
            Some(Input::Resize { width, height }) => sender.resize(width, height).await,
            _ => Ok(()),
        };
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Input {
    Stdin(Bytes),
    StdinEnd,
    Resize { width: u32, height: u32 },
}

/// A terminal's size as clients send it.
#[derive(Deserialize)]
pub struct TerminalSize {
    #[serde(rename = "Width", alias = "width")]
    pub width: u16,
    #[serde(rename = "Height", alias = "height")]
    pub height: u16,
}

/// `None` for what means nothing in this dialect.
fn read(dialect: Dialect, mut bytes: Bytes) -> Option<Input> {
    let first = *bytes.first()?;
    let rest = bytes.split_off(1);
    let (channel, data) = match dialect.base64 {
        true => (first.checked_sub(b'0')?, STANDARD.decode(rest).ok()?.into()),
        false => (first, rest),
    };
    match channel {
        STDIN => Some(Input::Stdin(data)),
        RESIZE => {
            let TerminalSize { width, height } = serde_json::from_slice(&data).ok()?;
            Some(Input::Resize { width: width.into(), height: height.into() })
        }
        CLOSE if dialect.closes && data[..] == [STDIN] => Some(Input::StdinEnd),
        _ => None,
    }
}

fn message(dialect: Dialect, channel: u8, bytes: &[u8]) -> Message {
    if dialect.base64 {
        return Message::Text(format!("{channel}{}", STANDARD.encode(bytes)).into());
    }
    let mut framed = Vec::with_capacity(1 + bytes.len());
    framed.push(channel);
    framed.extend_from_slice(bytes);
    Message::Binary(framed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect(name: &str) -> Dialect {
        choose(&[name.to_owned()]).unwrap()
    }

    #[test]
    fn the_newest_common_dialect_is_chosen() {
        let offered = |names: &[&str]| choose(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>());
        assert_eq!(offered(&["v4.channel.k8s.io", "v5.channel.k8s.io"]).unwrap().name, "v5.channel.k8s.io");
        assert_eq!(offered(&[]), Some(NAMELESS));
        assert_eq!(offered(&["v9.channel.k8s.io"]), None);
    }

    #[test]
    fn channels_are_read() {
        let (v4, v5) = (dialect("v4.channel.k8s.io"), dialect("v5.channel.k8s.io"));
        let base64 = dialect("v4.base64.channel.k8s.io");
        for (dialect, bytes, expected) in [
            (v5, &b"\0hello"[..], Some(Input::Stdin("hello".into()))),
            (v5, b"\xff\0", Some(Input::StdinEnd)),
            (v4, b"\xff\0", None),
            (v5, b"\x04{\"Width\":80,\"Height\":24}", Some(Input::Resize { width: 80, height: 24 })),
            (v5, b"\x04{\"Width\":-1}", None),
            (v5, b"", None),
            (base64, b"0aGVsbG8=", Some(Input::Stdin("hello".into()))),
            (base64, b"0!!", None),
            (base64, b"\0", None),
        ] {
            assert_eq!(read(dialect, Bytes::from_static(bytes)), expected, "{bytes:?}");
        }
    }

    #[test]
    fn messages_carry_their_channel() {
        assert_eq!(message(dialect("v5.channel.k8s.io"), STDERR, b"x"), Message::Binary(vec![2, b'x'].into()));
        assert_eq!(message(dialect("v4.base64.channel.k8s.io"), STDOUT, b"hello"), Message::Text("1aGVsbG8=".into()));
    }
}
