//! The streams of exec and attach over SPDY/3.1: error, stdin, stdout, stderr and resize. Acts.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connection::{Closed, Connection, Receiver, Sender};
use super::frame::{Frame, REFUSED_STREAM};
use crate::sessions::{Output, Tunnel, TunnelReceiver, TunnelSender};
use crate::streams::options::ExecOptions;
use crate::streams::websocket::TerminalSize;
use crate::streams::{ending, over};

/// For the client to make its streams.
const STREAMS_MAX: Duration = Duration::from_secs(30);
/// After the end, the client's own close is waited for so long: closing first could lose what is on its way.
const LINGER_MAX: Duration = Duration::from_secs(3);
/// A terminal's size as JSON is far smaller.
const RESIZE_BYTES_MAX: usize = 1024;

/// The ids of the client's streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ids {
    error: Option<u32>,
    stdin: Option<u32>,
    stdout: Option<u32>,
    stderr: Option<u32>,
    resize: Option<u32>,
    last: u32,
}

impl Ids {
    fn slot(&mut self, kind: &str) -> Option<&mut Option<u32>> {
        match kind {
            "error" => Some(&mut self.error),
            "stdin" => Some(&mut self.stdin),
            "stdout" => Some(&mut self.stdout),
            "stderr" => Some(&mut self.stderr),
            "resize" => Some(&mut self.resize),
            _ => None,
        }
    }

    /// Are all streams there that the output needs?
    fn complete(&self, options: &ExecOptions) -> bool {
        self.error.is_some()
            && (self.stdin.is_some() || !options.stdin)
            && (self.stdout.is_some() || !options.stdout)
            && (self.stderr.is_some() || !options.stderr)
    }
}

/// Runs to the end, or to that of the `run`. `version`: the sub-protocol that was agreed on.
pub async fn exec(
    connection: Connection,
    version: &'static str,
    options: ExecOptions,
    tunnel: Tunnel,
    run: CancellationToken,
) {
    let (sender, receiver) = connection.split();
    let (input, output) = tunnel.split();
    let (ids, known) = watch::channel(Ids::default());
    let mut inbound = std::pin::pin!(receive(receiver, sender.clone(), ids, &options, input));
    let told = {
        let mut outbound = std::pin::pin!(send(&sender, known, version, &options, output, &run));
        tokio::select! {
            told = &mut outbound => told,
            // The client is gone: dropping the tunnel tells the agent.
            () = &mut inbound => return,
            // A command that reads nothing keeps the frames from being read, and this from being seen there.
            () = sender.closed() => return,
        }
    };
    if let Ok(last) = told {
        let _ = timeout(LINGER_MAX, inbound).await;
        let _ = timeout(LINGER_MAX, sender.go_away(last)).await;
    }
}

/// From the container to the client, to the end. Returns the client's last stream.
async fn send(
    sender: &Sender,
    mut known: watch::Receiver<Ids>,
    version: &str,
    options: &ExecOptions,
    mut output: TunnelReceiver,
    run: &CancellationToken,
) -> Result<u32, Closed> {
    let ids = complete(&mut known, options).await?;
    while let Some(next) = over::next(&mut output, run).await {
        match (next, ids) {
            (Output::Stdout(bytes), Ids { stdout: Some(id), .. }) => sender.data(id, bytes, false).await?,
            (Output::Stderr(bytes), Ids { stderr: Some(id), .. }) => sender.data(id, bytes, false).await?,
            (Output::Stdout(_) | Output::Stderr(_), _) => {}
            (Output::End(ended), Ids { error: Some(id), .. }) => {
                for stream in [ids.stdout, ids.stderr].into_iter().flatten() {
                    sender.data(stream, Bytes::new(), true).await?;
                }
                let last = if version.starts_with("v4") { ending::status(&ended) } else { ending::text(&ended) };
                sender.data(id, last.into(), true).await?;
                break;
            }
            (Output::End(_), _) => break,
        }
    }
    Ok(ids.last)
}

async fn complete(known: &mut watch::Receiver<Ids>, options: &ExecOptions) -> Result<Ids, Closed> {
    let ids = timeout(STREAMS_MAX, known.wait_for(|ids| ids.complete(options))).await;
    ids.map_err(|_| Closed)?.map(|ids| *ids).map_err(|_| Closed)
}

/// From the client to the container, until the client closes. Waits while the container reads slowly.
async fn receive(
    mut receiver: Receiver,
    sender: Sender,
    ids: watch::Sender<Ids>,
    options: &ExecOptions,
    input: TunnelSender,
) {
    let mut input = Input { tunnel: input, stdin_open: options.stdin, resize: Vec::new() };
    while let Some(frame) = receiver.next().await {
        let now = *ids.borrow();
        let answered = match frame {
            Frame::SynStream { id, fin, headers } => {
                let kind = headers.get("streamtype").map(String::as_str).unwrap_or_default();
                let mut next = Ids { last: id, ..now };
                match next.slot(kind) {
                    Some(slot @ None) => {
                        *slot = Some(id);
                        // The reply goes first: clients drop data on a stream that was not accepted.
                        let answered = sender.reply(id).await;
                        ids.send_replace(next);
                        if fin && next.stdin == Some(id) {
                            input.stdin(Bytes::new(), true).await;
                        }
                        answered
                    }
                    _ => sender.reset(id, REFUSED_STREAM).await,
                }
            }
            Frame::Data { id, fin, bytes } if Some(id) == now.stdin => {
                input.stdin(bytes, fin).await;
                Ok(())
            }
            Frame::Data { id, bytes, .. } if Some(id) == now.resize => {
                input.resize(&bytes).await;
                Ok(())
            }
            Frame::Reset { id, .. } if Some(id) == now.stdin => {
                input.stdin(Bytes::new(), true).await;
                Ok(())
            }
            _ => Ok(()),
        };
        if answered.is_err() {
            return;
        }
    }
}

struct Input {
    tunnel: TunnelSender,
    stdin_open: bool,
    /// Bytes of a size that is not complete yet.
    resize: Vec<u8>,
}

impl Input {
    /// An agent that is gone ends the conversation from the other side.
    async fn stdin(&mut self, bytes: Bytes, fin: bool) {
        if !self.stdin_open {
            return;
        }
        let _ = self.tunnel.stdin(bytes).await;
        if fin {
            self.stdin_open = false;
            let _ = self.tunnel.stdin_end().await;
        }
    }

    async fn resize(&mut self, bytes: &[u8]) {
        self.resize.extend_from_slice(&bytes[..bytes.len().min(RESIZE_BYTES_MAX)]);
        let (sizes, rest) = sizes(&self.resize);
        self.resize = rest;
        // The newest size is the terminal's.
        if let Some(size) = sizes.last() {
            let _ = self.tunnel.resize(size.width.into(), size.height.into()).await;
        }
    }
}

/// The complete sizes in a run of JSON objects, and the bytes after them. Garbage is dropped.
fn sizes(bytes: &[u8]) -> (Vec<TerminalSize>, Vec<u8>) {
    let mut stream = serde_json::Deserializer::from_slice(bytes).into_iter::<TerminalSize>();
    let (mut found, mut end) = (Vec::new(), 0);
    loop {
        match stream.next() {
            Some(Ok(size)) => {
                found.push(size);
                end = stream.byte_offset();
            }
            Some(Err(error)) if error.is_eof() && bytes.len() - end < RESIZE_BYTES_MAX => {
                return (found, bytes[end..].to_vec());
            }
            Some(Err(_)) | None => return (found, Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, DuplexStream};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::streams::fixtures;
    use crate::streams::spdy::{Encoder, Headers};

    const LONG: Duration = Duration::from_secs(3600);

    /// A client that has sent more than a command takes, which reads nothing.
    async fn stuck(tunnel: Tunnel, run: &CancellationToken) -> (DuplexStream, JoinHandle<()>) {
        let (mut client, server) = tokio::io::duplex(64 << 10);
        let options = ExecOptions { stdin: true, ..ExecOptions::default() };
        let served = tokio::spawn(exec(Connection::over(server), "v4.channel.k8s.io", options, tunnel, run.clone()));
        let (mut encoder, mut out) = (Encoder::default(), Vec::new());
        for (id, kind) in [(1, "error"), (3, "stdin")] {
            let headers = Headers::from([("streamtype".to_owned(), kind.to_owned())]);
            encoder.encode(&Frame::SynStream { id, fin: false, headers }, &mut out);
        }
        encoder.encode(&Frame::Data { id: 3, fin: false, bytes: vec![0u8; 8 << 20].into() }, &mut out);
        assert!(timeout(Duration::from_secs(1), client.write_all(&out)).await.is_err(), "not all is taken");
        (client, served)
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_reads_nothing_is_left_when_its_client_is_gone() {
        let (tunnel, _agent) = fixtures::tunnel().await;
        let (client, served) = stuck(tunnel, &CancellationToken::new()).await;
        drop(client);
        timeout(LONG, served).await.expect("the client is gone").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_reads_nothing_is_left_at_the_end_of_the_run() {
        let (tunnel, _agent) = fixtures::tunnel().await;
        let run = CancellationToken::new();
        let (_client, served) = stuck(tunnel, &run).await;
        run.cancel();
        timeout(LONG, served).await.expect("the run is over").unwrap();
    }

    #[test]
    fn sizes_are_found_in_pieces() {
        let text = b"{\"Width\":80,\"Height\":24}\n{\"Width\":100,\"Hei";
        let (found, rest) = sizes(text);
        assert_eq!((found.len(), found[0].width, found[0].height), (1, 80, 24));
        let (found, rest) = sizes(&[&rest[..], b"ght\":30}\n"].concat());
        assert_eq!((found[0].width, found[0].height, rest.len()), (100, 30, 0));
        assert!(sizes(b"nonsense").0.is_empty() && sizes(b"nonsense").1.is_empty());
    }

    #[test]
    fn output_waits_for_the_streams_that_it_needs() {
        let options = ExecOptions { stdin: true, stdout: true, ..ExecOptions::default() };
        let mut ids = Ids::default();
        for (id, kind) in [(1, "error"), (3, "stdin"), (5, "stdout")] {
            assert!(!ids.complete(&options));
            *ids.slot(kind).unwrap() = Some(id);
        }
        assert!(ids.complete(&options));
        assert!(ids.slot("other").is_none());
    }
}
