//! One tunnel: asked for by a replica, dialled back by the agent, served by [`Tunnels`]. Acts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::session::{AgentMessage, Frame, OpenTunnel, Size, TunnelRefused, agent_message, frame};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

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
    tokio::join!(serve, receive(inbound, stdin, resize, &gone));
}

async fn receive(
    mut inbound: Streaming<Frame>,
    stdin: mpsc::Sender<Bytes>,
    resize: mpsc::Sender<Size>,
    gone: &CancellationToken,
) {
    let mut stdin = Some(stdin);
    while let Ok(Some(frame)) = inbound.message().await {
        match frame.frame {
            Some(frame::Frame::Stdin(bytes)) => {
                if let Some(sender) = &stdin
                    && sender.send(bytes).await.is_err()
                {
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
