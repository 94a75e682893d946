//! One stream of a container: asked for over the node's session, dialled back by the agent. Acts.

use std::time::Duration;

use api::Status;
use bytes::Bytes;
use proto::session::open_tunnel::Request;
use proto::session::{End, Frame, OpenTunnel, ReplicaMessage, Size, TunnelRefused, frame, replica_message};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tonic::Streaming;

use super::registry::{Connected, Sessions};

/// Frames towards the agent that wait to be sent.
pub(super) const FRAMES_MAX: usize = 16;
/// A stdin frame carries at most this much; longer pieces are split.
const FRAME_BYTES_MAX: usize = 64 << 10;
/// A replica that has just started has no sessions yet: every agent dials it within about a second.
const SESSION_MAX: Duration = Duration::from_secs(2);
/// From asking the agent to its dialling back; the agent asks its container engine first.
const DIAL_MAX: Duration = Duration::from_secs(10);
/// Tunnels that agents were asked for and have not dialled yet.
const WAITING_MAX: usize = 1024;

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("error dialing backend: node {node:?} has no session with this replica")]
    NoSession { node: String },
    /// After the agent was asked: it may have begun.
    #[error("error dialing backend: node {node:?} was asked, and its session with this replica ended")]
    Lost { node: String },
    #[error("error dialing backend: node {node:?} did not answer within {DIAL_MAX:?}")]
    Silent { node: String },
    /// The agent's answer, in HTTP's terms.
    #[error("{reason}")]
    Refused { code: u16, reason: String },
    #[error("{WAITING_MAX} streams are being opened already")]
    TooMany,
}

impl From<OpenError> for Status {
    fn from(error: OpenError) -> Status {
        let message = error.to_string();
        match error {
            // Nothing was begun, and the node may have a session with another replica. Without a time to retry after:
            // kubectl would ask the same replica ten times for what runs on a node that is down.
            OpenError::NoSession { .. } => Status::service_unavailable(message, 0),
            OpenError::Lost { .. } | OpenError::Silent { .. } => Status::internal(message),
            OpenError::TooMany => Status::too_many_requests(message, 1),
            OpenError::Refused { code: 400, .. } => Status::bad_request(message),
            OpenError::Refused { code: 503, .. } => Status::service_unavailable(message, 1),
            OpenError::Refused { code: 504, .. } => Status::timeout(message, 1),
            OpenError::Refused { code: 404, .. } => {
                Status { code: 404, reason: "NotFound".into(), message, details: None }
            }
            OpenError::Refused { .. } => Status::internal(message),
        }
    }
}

/// What a waiting caller gets when the agent has dialled.
pub(super) struct Waiting {
    node: String,
    answer: oneshot::Sender<Result<Tunnel, OpenError>>,
}

/// A stream to a container. Dropping it (or both halves) tells the agent that the caller is gone.
pub struct Tunnel {
    sender: TunnelSender,
    receiver: TunnelReceiver,
}

/// The half towards the container. Sends wait while the agent reads slowly.
#[derive(Clone)]
pub struct TunnelSender(mpsc::Sender<Result<Frame, tonic::Status>>);

/// The half away from the container.
pub struct TunnelReceiver {
    frames: Streaming<Frame>,
    ended: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    Stdout(Bytes),
    Stderr(Bytes),
    /// The last one; also when the stream broke.
    End(Ended),
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The command's exit code; 0 for logs that were read to their end.
    Exited(i32),
    /// It could not be run, or the stream broke.
    Failed(String),
}

/// The agent is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection to the node is gone")]
pub struct Broken;

impl Sessions {
    /// Asks the node's agent for a stream, and waits until it has dialled back. Cancel safe.
    pub async fn open(&self, node: &str, request: Request) -> Result<Tunnel, OpenError> {
        let session = self.session_soon(node).await?;
        let id = self.0.env.random.uuid();
        let (answer, answered) = oneshot::channel();
        let _waits = self.wait_for(&id, Waiting { node: node.to_owned(), answer })?;
        let open = replica_message::Message::OpenTunnel(OpenTunnel { id, request: Some(request) });
        if !session.push(vec![ReplicaMessage { message: Some(open) }]) {
            return Err(OpenError::NoSession { node: node.to_owned() });
        }
        let silent = || OpenError::Silent { node: node.to_owned() };
        tokio::select! {
            answer = answered => answer.unwrap_or_else(|_| Err(silent())),
            () = session.ended.cancelled() => Err(OpenError::Lost { node: node.to_owned() }),
            () = tokio::time::sleep(DIAL_MAX) => Err(silent()),
        }
    }

    async fn session_soon(&self, node: &str) -> Result<Connected, OpenError> {
        let deadline = Instant::now() + SESSION_MAX;
        let mut changes = self.changes();
        loop {
            if let Some(session) = self.session(node) {
                return Ok(session);
            }
            if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return Err(OpenError::NoSession { node: node.to_owned() });
            }
        }
    }

    fn wait_for(&self, id: &str, waiting: Waiting) -> Result<Waits, OpenError> {
        let mut tunnels = self.0.tunnels.lock().expect("no holder of the lock panics");
        if tunnels.len() >= WAITING_MAX {
            return Err(OpenError::TooMany);
        }
        tunnels.insert(id.to_owned(), waiting);
        Ok(Waits { sessions: self.clone(), id: id.to_owned() })
    }

    /// Only the node that was asked may answer.
    fn waiting(&self, node: &str, id: &str) -> Option<Waiting> {
        let mut tunnels = self.0.tunnels.lock().expect("no holder of the lock panics");
        tunnels.get(id).is_some_and(|waiting| waiting.node == node).then(|| tunnels.remove(id))?
    }

    /// The agent has dialled.
    pub(super) fn arrived(
        &self,
        node: &str,
        id: &str,
        sender: mpsc::Sender<Result<Frame, tonic::Status>>,
        frames: Streaming<Frame>,
    ) -> Result<(), tonic::Status> {
        let nobody = || tonic::Status::not_found("nobody waits for this tunnel (any more)");
        let waiting = self.waiting(node, id).ok_or_else(nobody)?;
        let receiver = TunnelReceiver { frames, ended: false };
        waiting.answer.send(Ok(Tunnel { sender: TunnelSender(sender), receiver })).map_err(|_| nobody())
    }

    pub(super) fn refused(&self, node: &str, refused: TunnelRefused) {
        let TunnelRefused { id, reason, code } = refused;
        if let Some(waiting) = self.waiting(node, &id) {
            let code = u16::try_from(code).unwrap_or(500);
            // A caller that has gone needs no answer.
            let _ = waiting.answer.send(Err(OpenError::Refused { code, reason }));
        }
    }
}

/// Withdraws the wait when the caller goes away or has its answer.
struct Waits {
    sessions: Sessions,
    id: String,
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.sessions.0.tunnels.lock().expect("no holder of the lock panics").remove(&self.id);
    }
}

impl Tunnel {
    pub fn split(self) -> (TunnelSender, TunnelReceiver) {
        (self.sender, self.receiver)
    }
}

impl TunnelSender {
    pub async fn stdin(&self, mut bytes: Bytes) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(FRAME_BYTES_MAX));
            self.send(frame::Frame::Stdin(piece)).await?;
        }
        Ok(())
    }

    /// The caller closed its half; output still comes.
    pub async fn stdin_end(&self) -> Result<(), Broken> {
        self.send(frame::Frame::StdinEnd(true)).await
    }

    pub async fn resize(&self, width: u32, height: u32) -> Result<(), Broken> {
        self.send(frame::Frame::Resize(Size { width, height })).await
    }

    async fn send(&self, frame: frame::Frame) -> Result<(), Broken> {
        self.0.send(Ok(Frame { frame: Some(frame) })).await.map_err(|_| Broken)
    }
}

impl TunnelReceiver {
    /// The next piece; `None` after [`Output::End`]. Cancel safe.
    pub async fn next(&mut self) -> Option<Output> {
        if self.ended {
            return None;
        }
        loop {
            let ended = match self.frames.message().await {
                Ok(Some(Frame { frame: Some(frame::Frame::Stdout(bytes)) })) => return Some(Output::Stdout(bytes)),
                Ok(Some(Frame { frame: Some(frame::Frame::Stderr(bytes)) })) => return Some(Output::Stderr(bytes)),
                Ok(Some(Frame { frame: Some(frame::Frame::End(End { code, error })) })) => match error.as_str() {
                    "" => Ended::Exited(code),
                    _ => Ended::Failed(error),
                },
                Ok(Some(_)) => continue,
                Ok(None) => Ended::Failed("the agent broke the stream off".into()),
                Err(status) => Ended::Failed(format!("the connection to the node broke: {}", status.message())),
            };
            self.ended = true;
            return Some(Output::End(ended));
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::seam::Env;
    use proto::session::Exec;
    use raft::{Role, Roster, Standing};
    use tokio::sync::watch;

    use super::*;
    use crate::sessions::Config;

    fn sessions() -> Sessions {
        let role = Role::Follower;
        let standing = Standing { id: 1, role, term: 1, leader: None, applied_index: 0, leads_in_term: None };
        let (roster, standing) = (watch::channel(Roster::default()).1, watch::channel(standing).1);
        Sessions::new(Config { cluster_id: "test".into(), epoch: 0, roster, standing }, Env::real())
    }

    async fn code_of(sessions: &Sessions) -> u16 {
        let opened = sessions.open("n1", Request::Exec(Exec::default())).await.map(drop);
        Status::from(opened.expect_err("nobody dials")).code
    }

    /// Clients begin elsewhere after a 503, and only then.
    #[tokio::test(start_paused = true)]
    async fn only_what_was_not_begun_may_be_begun_elsewhere() {
        let sessions = sessions();
        assert_eq!(code_of(&sessions).await, 503, "no session");

        let (_, queue) = sessions.join("n1");
        drop(queue);
        assert_eq!(code_of(&sessions).await, 503, "the agent takes nothing");

        let (session, mut queue) = sessions.join("n1");
        let asked = async {
            queue.recv().await.expect("the agent is asked");
            sessions.leave(&session);
        };
        assert_eq!(tokio::join!(code_of(&sessions), asked).0, 500, "the session ended after that");

        let (_session, _queue) = sessions.join("n1");
        assert_eq!(code_of(&sessions).await, 500, "the agent does not dial");
    }
}
