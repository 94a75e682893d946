//! The gRPC door of the agents: sessions and tunnels. Acts; who an agent is, its certificate says.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use proto::session::agent_message::Message as Said;
use proto::session::node_server::{Node, NodeServer};
use proto::session::{
    AgentMessage, Frame, HeartbeatAck, Hello, Member, Members, ReplicaMessage, Welcome, frame, replica_message,
};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::registry::{Applied, Connected, Sessions};
use super::tunnel::FRAMES_MAX;
use crate::auth::Identity;

/// An agent that says nothing for so long (it beats every second) has its session ended.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// For the first message of a stream.
const FIRST_MAX: Duration = Duration::from_secs(5);
/// Agents send heartbeats, confirmations and frames of at most 64 KiB.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

impl Sessions {
    pub fn service(&self) -> NodeServer<Sessions> {
        NodeServer::new(self.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Node for Sessions {
    type SessionStream = Out<ReplicaMessage>;
    type TunnelStream = ReceiverStream<Result<Frame, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let node = node(&request)?;
        let mut inbound = request.into_inner();
        let first =
            timeout(FIRST_MAX, inbound.message()).await.map_err(|_| Status::deadline_exceeded("no Hello"))??;
        let Some(Said::Hello(hello)) = first.and_then(|message| message.message) else {
            return Err(Status::invalid_argument("a session begins with Hello"));
        };
        if hello.node != node {
            let message = format!("the certificate is node {node:?}'s, and Hello says {:?}", hello.node);
            return Err(Status::permission_denied(message));
        }
        let (session, queue) = self.join(&node);
        tracing::info!(%node, version = %hello.version, term = hello.term, "an agent's session begins");
        session.push(vec![self.welcome()]);
        tokio::spawn(listen(self.clone(), session.clone(), hello, inbound));
        let messages = ReceiverStream::new(queue).flat_map(|batch| futures::stream::iter(batch.into_iter().map(Ok)));
        Ok(Response::new(Box::pin(messages.take_until(session.ended.cancelled_owned()))))
    }

    async fn tunnel(&self, request: Request<Streaming<Frame>>) -> Result<Response<Self::TunnelStream>, Status> {
        let node = node(&request)?;
        let mut inbound = request.into_inner();
        let first = timeout(FIRST_MAX, inbound.message()).await.map_err(|_| Status::deadline_exceeded("no id"))??;
        let Some(frame::Frame::Id(id)) = first.and_then(|frame| frame.frame) else {
            return Err(Status::invalid_argument("a tunnel begins with its id"));
        };
        let (sender, to_send) = tokio::sync::mpsc::channel(FRAMES_MAX);
        self.arrived(&node, &id, sender, inbound)?;
        Ok(Response::new(ReceiverStream::new(to_send)))
    }
}

/// The node whose certificate this connection showed.
fn node<T>(request: &Request<T>) -> Result<String, Status> {
    let identity = request.extensions().get::<Identity>();
    let node = identity.and_then(Identity::node).map(str::to_owned);
    node.ok_or_else(|| Status::permission_denied("only agents may do this, with the certificate of their node"))
}

async fn listen(sessions: Sessions, session: Connected, hello: Hello, mut inbound: Streaming<AgentMessage>) {
    let mut roster = sessions.0.config.roster.clone();
    roster.mark_changed();
    let mut store_runs = true;
    let reason = loop {
        let message = tokio::select! {
            () = session.ended.cancelled() => break "another session took its place, or it was too slow".to_owned(),
            changed = roster.changed(), if store_runs => {
                store_runs = changed.is_ok();
                if let Some(members) = sessions.members(&roster.borrow_and_update()) {
                    session.push(vec![members]);
                }
                continue;
            }
            message = timeout(SILENCE_MAX, inbound.message()) => message,
        };
        match message {
            Ok(Ok(Some(message))) => sessions.hear(&session, message),
            Ok(Ok(None)) => break "the agent closed it".to_owned(),
            Ok(Err(status)) => break status.message().to_owned(),
            Err(_) => break format!("silent for {SILENCE_MAX:?}"),
        }
    };
    sessions.leave(&session);
    tracing::info!(node = %session.node, boot = %hello.boot_id, reason, "an agent's session ended");
}

impl Sessions {
    fn hear(&self, session: &Connected, message: AgentMessage) {
        match message.message {
            Some(Said::Heartbeat(heartbeat)) => {
                let sequence = heartbeat.sequence;
                self.heard(session, heartbeat);
                let standing = self.0.config.standing.borrow();
                let (term, leads) = (standing.term, standing.leads_in_term.is_some());
                drop(standing);
                let ack = replica_message::Message::HeartbeatAck(HeartbeatAck { sequence, term, leads });
                session.push(vec![ReplicaMessage { message: Some(ack) }]);
            }
            Some(Said::Applied(applied)) => {
                self.confirmed(session, Applied { term: applied.term, sequence: applied.sequence });
            }
            Some(Said::TunnelRefused(refused)) => self.refused(&session.node, refused),
            // A second Hello says nothing new, and a later version's message is not for us.
            Some(Said::Hello(_)) | None => {}
        }
    }

    /// `None` as long as they are not known.
    fn members(&self, roster: &raft::Roster) -> Option<ReplicaMessage> {
        let member = |member: &raft::Member| Member { id: member.id, address: member.client_address.clone() };
        let members = roster.members.iter().map(member).collect();
        let members = Members { epoch: self.0.config.epoch, index: roster.index, members };
        let message = Some(replica_message::Message::Members(members));
        (roster.index > 0).then_some(ReplicaMessage { message })
    }

    fn welcome(&self) -> ReplicaMessage {
        let standing = self.0.config.standing.borrow();
        let welcome = Welcome {
            replica: standing.id,
            term: standing.term,
            leads: standing.leads_in_term.is_some(),
            cluster_id: self.0.config.cluster_id.clone(),
        };
        ReplicaMessage { message: Some(replica_message::Message::Welcome(welcome)) }
    }
}
