//! One tunnel: asked for by a replica, dialled back by the agent, served by [`Tunnels`]. Acts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use proto::session::{AgentMessage, Frame, OpenTunnel, Size, TunnelRefused, agent_message, frame};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::tunnels::{Output, Refusal, Request, TunnelIo};
use super::{Shared, TUNNEL_CHECK_MAX, dial};

/// Frames that wait in each direction; at most [`Output::FRAME_BYTES_MAX`] each.
const FRAMES_MAX: usize = 16;
/// For connecting, TLS and the replica's answer together.
const DIAL_MAX: Duration = Duration::from_secs(5);
/// How long a server of a stream may go on after its caller hung up.
const AFTER_GONE_MAX: Duration = Duration::from_secs(10);

/// Serves a tunnel to its end. A refusal goes back over the session that asked.
pub async fn serve(shared: Arc<Shared>, address: String, open: OpenTunnel, session: mpsc::Sender<AgentMessage>) {
    let id = open.id;
    let shutdown = shared.shutdown.clone();
    let tunnel = async {
        if let Err(Refusal { code, reason }) = try_serve(&shared, &address, &id, open.request).await {
            let refused = agent_message::Message::TunnelRefused(TunnelRefused { id, reason, code });
            // A session that does not take it is about to end, and the replica's wait with it.
            let _ = session.try_send(AgentMessage { message: Some(refused) });
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tunnel => {}
    }
}

async fn try_serve(shared: &Arc<Shared>, address: &str, id: &str, request: Option<Request>) -> Result<(), Refusal> {
    let request = request.ok_or_else(|| Refusal::new(501, "this agent does not know that kind of stream"))?;
    let permit = shared.tunnel_permits.clone().try_acquire_owned();
    let _permit = permit.map_err(|_| Refusal::new(503, "this node serves as many streams as it can"))?;
    timeout(TUNNEL_CHECK_MAX, shared.tunnels.check(&request))
        .await
        .map_err(|_| Refusal::new(504, "the container engine did not answer in time"))??;
    let (frames, to_send) = mpsc::channel(FRAMES_MAX);
    frames.try_send(Frame { frame: Some(frame::Frame::Id(id.to_owned())) }).expect("the queue is empty");
    let mut client = dial::client(shared, address);
    let inbound = timeout(DIAL_MAX, client.tunnel(ReceiverStream::new(to_send)))
        .await
        .map_err(|_| Refusal::new(504, "the replica could not be dialled back in time"))?
        .map_err(|status| Refusal::new(502, format!("the replica could not be dialled back: {}", status.message())))?
        .into_inner();
    join(shared, request, inbound, frames).await;
    Ok(())
}

/// Runs the two directions until the server of the stream is done and the replica has read it all.
async fn join(shared: &Shared, request: Request, inbound: Streaming<Frame>, frames: mpsc::Sender<Frame>) {
    let (stdin, stdin_receiver) = mpsc::channel(FRAMES_MAX);
    let (resize, resize_receiver) = mpsc::channel(FRAMES_MAX);
    let gone = CancellationToken::new();
    let outgoing = frames.downgrade();
    let io =
        TunnelIo { stdin: stdin_receiver, resize: resize_receiver, output: Output::new(frames), gone: gone.clone() };
    let serve = async {
        let abandoned = async {
            gone.cancelled().await;
            tokio::time::sleep(AFTER_GONE_MAX).await;
        };
        tokio::select! {
            () = shared.tunnels.serve(request, io) => {}
            () = abandoned => tracing::warn!("a stream went on after its caller hung up; dropped"),
        }
    };
    // The replica ends its half when it has read everything: that is what tells that nothing was lost. A dead
    // replica is noticed by the keepalive.
    tokio::join!(serve, receive(inbound, stdin, resize, outgoing, &gone));
}

/// `outgoing`: the queue towards the replica. It closes when the replica resets the stream and when the connection breaks, and
/// that is all there is to see of it while a full stdin keeps the next frame from being read.
async fn receive(
    inbound: impl Stream<Item = Result<Frame, Status>>,
    stdin: mpsc::Sender<Bytes>,
    resize: mpsc::Sender<Size>,
    outgoing: mpsc::WeakSender<Frame>,
    gone: &CancellationToken,
) {
    let mut inbound = std::pin::pin!(inbound);
    let mut stdin = Some(stdin);
    while let Some(Ok(frame)) = inbound.next().await {
        match frame.frame {
            Some(frame::Frame::Stdin(bytes)) => {
                let Some(sender) = &stdin else { continue };
                let sent = tokio::select! {
                    sent = sender.send(bytes) => sent,
                    () = closed(&outgoing) => break,
                };
                if sent.is_err() {
                    // Nobody reads stdin (any more): the rest of it is dropped, as a closed pipe would.
                    stdin = None;
                }
            }
            Some(frame::Frame::StdinEnd(_)) => stdin = None,
            // A terminal that is resized faster than anyone looks loses steps in between.
            Some(frame::Frame::Resize(size)) => drop(resize.try_send(size)),
            _ => {}
        }
    }
    gone.cancel();
}

/// Holds the queue only while it waits: it must end once the server of the stream has said everything.
async fn closed(outgoing: &mpsc::WeakSender<Frame>) {
    match outgoing.upgrade() {
        Some(outgoing) => outgoing.closed().await,
        // The server is done, and lets go of stdin.
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn input(text: &'static str) -> Result<Frame, Status> {
        Ok(Frame { frame: Some(frame::Frame::Stdin(Bytes::from_static(text.as_bytes()))) })
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_hangs_up_is_noticed_though_nobody_reads_stdin() {
        let (stdin, _unread) = mpsc::channel(1);
        let (resize, _sizes) = mpsc::channel(1);
        let (frames, to_send) = mpsc::channel(1);
        let gone = CancellationToken::new();
        let inbound = stream::iter([input("one"), input("two")]).chain(stream::pending());
        let receiving = receive(inbound, stdin, resize, frames.downgrade(), &gone);
        let hanging_up = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(!gone.is_cancelled(), "who only waits is not gone");
            drop(to_send);
        };
        let both = async { tokio::join!(receiving, hanging_up) };
        timeout(Duration::from_secs(120), both).await.expect("it is noticed");
        assert!(gone.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn stdin_that_is_read_slowly_arrives_whole_and_the_queue_ends_with_the_server_of_the_stream() {
        let (stdin, mut read) = mpsc::channel(1);
        let (resize, _sizes) = mpsc::channel(1);
        let (frames, mut to_send) = mpsc::channel::<Frame>(1);
        let gone = CancellationToken::new();
        let inbound = stream::iter([input("one"), input("two"), input("three")]).chain(stream::pending());
        let receiving = receive(inbound, stdin, resize, frames.downgrade(), &gone);
        let serving = async {
            for expected in ["one", "two"] {
                tokio::time::sleep(Duration::from_secs(60)).await;
                assert_eq!(read.recv().await.unwrap(), expected);
            }
            drop((read, frames));
            assert!(to_send.recv().await.is_none());
        };
        tokio::select! {
            () = receiving => panic!("the caller is there"),
            served = timeout(Duration::from_secs(600), serving) => served.expect("the queue ends"),
        }
        assert!(!gone.is_cancelled());
    }
}
