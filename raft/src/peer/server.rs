//! What comes in from the other replicas. Acts.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use openraft::raft::TransferLeaderRequest;
use proto::mutants::{self, Mutant};
use proto::peer::peer_server::{Peer, PeerServer};
use proto::peer::{
    AliveReply, AliveRequest, AppendReply, AppendRequest, ChangeReply, ChangeRequest, DescribeReply, DescribeRequest,
    FollowsReply, FollowsRequest, ForwardBatch, ForwardReplies, PastReply, PastRequest, ReadIndexReply,
    ReadIndexRequest, SnapshotPart, SnapshotReply, TransferReply, TransferRequest, VoteReply, VoteRequest,
};
use tokio::sync::RwLock;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status, Streaming};

use super::alive::{Alive, Leader};
use super::arrival::Arrivals;
use super::channels::MESSAGE_BYTES_MAX;
use super::door::Door;
use super::ear::Ear;
use super::line::OWED_MAX;
use super::snapshot::Arriving;
use super::{describe, forward, listener, past, wire};
use crate::accord::Accord;
use crate::accord::guard::{Franchise, Guard};
use crate::admission::Admission;
use crate::log::LogStore;
use crate::machine::objects::Generations;
use crate::members::plan::MemberChange;
use crate::members::{self, Members};
use crate::read::Reader;
use crate::read::leads::Leads;
use crate::recall::Recall;
use crate::trouble::Trouble;
use crate::types::{Place, Raft, Types, Vote};

/// Cheap to clone.
#[derive(Clone)]
pub struct Server {
    pub id: u64,
    pub raft: Raft,
    pub admission: Admission,
    pub reader: Reader,
    pub accord: Arc<Accord>,
    pub ear: Arc<Ear>,
    pub guard: Arc<Guard>,
    pub trouble: Trouble,
    pub alive: Arc<Alive>,
    pub members: Arc<Members>,
    pub log: LogStore,
    pub generations: Arc<Generations>,
    pub franchise: Franchise,
    pub recall: Arc<Recall>,
    pub stop: CancellationToken,
    pub arrivals: Arrivals,
    /// Held for writing until a snapshot that has come in is durable. The raft node takes what follows on it at once, and would
    /// answer no heartbeat while that waits ([`LogStore`]): so it waits out here.
    pub settling: Arc<RwLock<()>>,
}

impl Server {
    pub fn service(self, door: Door) -> InterceptedService<PeerServer<Server>, Door> {
        let service = PeerServer::new(self)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        InterceptedService::new(service, door)
    }

    fn entitled(&self) -> Result<(), Status> {
        if mutants::on(Mutant::ForgetfulVotes) {
            return Ok(());
        }
        if !self.recall.is_certain() {
            return Err(Status::unavailable("it has not been told yet what it has forgotten"));
        }
        self.franchise.lost().map_or(Ok(()), |why| Err(Status::unavailable(why)))
    }

    /// For the reads of a replica that follows this one.
    async fn index_for(&self, asker: u64, request: ReadIndexRequest) -> Result<ReadIndexReply, Status> {
        self.trusted()?;
        let leads = Leads::look(&self.raft, self.id).await;
        let leads = leads.ok_or_else(|| Status::unavailable("another replica leads"))?;
        let follows = request.follows.map(|vote| wire::vote_in(Some(vote))).transpose()?;
        let is_confirmed = follows == Some(leads.vote)
            && (leads.is_majority(&BTreeSet::from([asker])) || mutants::on(Mutant::TwoAreAMajority));
        let index = match is_confirmed {
            true => leads.index,
            false => self.reader.index().await.ok_or_else(|| stopped("the store has stopped"))?,
        };
        Ok(ReadIndexReply { index })
    }

    /// Does this replica still follow the sender, and has it promised nobody else anything? What counts is what is saved: a
    /// vote is answered later than that.
    fn confirm(&self, sender: u64, request: FollowsRequest) -> Result<FollowsReply, Status> {
        self.trusted()?;
        let vote = wire::vote_in(request.vote)?;
        own(&vote, sender)?;
        believes(&self.recall, &vote)?;
        let follows = self.log.vote() == Some(vote);
        if follows {
            self.ear.heard(vote.leader_id.term, sender);
        }
        Ok(FollowsReply { follows: follows || mutants::on(Mutant::AnyAnswerConfirms) })
    }

    /// A write that waits for room, or for a disk that hangs, may hold up the raft node: what came in meanwhile would fill the
    /// memory.
    pub(super) fn held_up(&self) -> Option<String> {
        self.trouble.held_up()
    }

    /// A fenced replica counts for no majority.
    fn trusted(&self) -> Result<(), Status> {
        match self.guard.is_shut() {
            true => Err(Status::unavailable(self.guard.why().unwrap_or_default())),
            false => Ok(()),
        }
    }

    /// What others get to keep for good comes from no replica that doubts its state, nor from one whose disk is in trouble.
    fn tells(&self) -> Result<(), Status> {
        self.guard.why().or_else(|| self.held_up()).map_or(Ok(()), |why| Err(Status::unavailable(why)))
    }
}

/// The replica of the sender's certificate.
fn sender<T>(request: &Request<T>) -> Result<u64, Status> {
    let from = request.extensions().get::<listener::From>();
    from.map(|from| from.replica).ok_or_else(|| Status::unauthenticated("no certificate"))
}

/// A vote speaks for the replica that sends it.
pub(super) fn own(vote: &Vote, sender: u64) -> Result<(), Status> {
    match vote.leader_id.voted_for == sender {
        true => Ok(()),
        false => Err(Status::permission_denied(format!("replica {sender} speaks for {}", vote.leader_id.voted_for))),
    }
}

pub(super) fn believes(recall: &Recall, leader: &Vote) -> Result<(), Status> {
    match recall.believes(leader.leader_id.term) {
        true => Ok(()),
        false => Err(Status::unavailable("it may have forgotten a later leader")),
    }
}

pub(super) fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Peer for Server {
    type AppendStream = BoxStream<'static, Result<AppendReply, Status>>;
    type HeartbeatsStream = BoxStream<'static, Result<AppendReply, Status>>;

    async fn append(&self, request: Request<Streaming<AppendRequest>>) -> Reply<Self::AppendStream> {
        let sender = sender(&request)?;
        self.trusted()?;
        if let Some(why) = self.held_up() {
            return Err(Status::unavailable(why));
        }
        Ok(Response::new(self.take_entries(sender, request.into_inner()).boxed()))
    }

    async fn heartbeats(&self, request: Request<Streaming<AppendRequest>>) -> Reply<Self::HeartbeatsStream> {
        let sender = sender(&request)?;
        let server = self.clone();
        let replies = request.into_inner().map(move |request| {
            let server = server.clone();
            async move { server.heartbeat(sender, request?).await }
        });
        // Each is heard at once, also while the raft node here still waits with the answer to an earlier one.
        Ok(Response::new(replies.buffered(OWED_MAX).boxed()))
    }

    async fn vote(&self, request: Request<VoteRequest>) -> Reply<VoteReply> {
        self.entitled()?;
        let sender = sender(&request)?;
        let request = wire::vote_request_in(request.into_inner())?;
        own(&request.vote, sender)?;
        let reply = self.raft.vote(request).await.map_err(stopped)?;
        Ok(Response::new(wire::vote_reply_out(&reply)))
    }

    async fn pre_vote(&self, request: Request<VoteRequest>) -> Reply<VoteReply> {
        self.entitled()?;
        let sender = sender(&request)?;
        let request = wire::vote_request_in(request.into_inner())?;
        own(&request.vote, sender)?;
        let leader = self.alive.judge().await;
        let last = request.last_log_id;
        let mut reply = self.raft.pre_vote(request).await.map_err(stopped)?;
        reply.vote_granted &= leader != Leader::Heard;
        if leader == Leader::Lost && !reply.vote_granted && reply.last_log_id > last {
            // The candidate lacks entries that this replica has: only this one can win, so it need not wait its turn.
            self.raft.trigger().elect(true).await.map_err(stopped)?;
        }
        Ok(Response::new(wire::vote_reply_out(&reply)))
    }

    async fn transfer_leader(&self, request: Request<TransferRequest>) -> Reply<TransferReply> {
        let sender = sender(&request)?;
        let TransferRequest { vote, to, last } = request.into_inner();
        let vote = wire::vote_in(vote)?;
        own(&vote, sender)?;
        if let Some(refusal) = self.franchise.lost().filter(|_| to == self.id) {
            return Ok(Response::new(TransferReply { refusal }));
        }
        let request = TransferLeaderRequest::<Types>::new(vote, to, last.map(wire::log_id_in));
        let taken = self.raft.handle_transfer_leader(request).await.map_err(stopped)?;
        let refusal = taken.err().map(|error| error.to_string()).unwrap_or_default();
        Ok(Response::new(TransferReply { refusal }))
    }

    async fn install_snapshot(&self, request: Request<Streaming<SnapshotPart>>) -> Reply<SnapshotReply> {
        let sender = sender(&request)?;
        self.trusted()?;
        let arriving = Arriving::begin(request.into_inner()).await?;
        let vote = arriving.vote;
        own(&vote, sender)?;
        believes(&self.recall, &vote)?;
        let arrival = self.arrivals.begin(vote.leader_id.term).await;
        let arrival = arrival.ok_or_else(|| Status::resource_exhausted("another snapshot is coming in"))?;
        let received = arrival.on_its_way(arriving.receive(&self.generations, &self.trouble.metrics)).await;
        let snapshot = received.ok_or_else(|| Status::aborted("another snapshot comes in instead"))??;
        let (raft, settling) = (self.raft.clone(), self.settling.clone());
        // In a task of its own: whoever sent it may go away meanwhile, and what follows on it waits all the same.
        let installed = tokio::spawn(async move {
            let _held = (arrival, settling.write_owned().await);
            raft.install_full_snapshot(vote, snapshot).await
        });
        let reply = installed.await.map_err(stopped)?.map_err(stopped)?;
        Ok(Response::new(SnapshotReply { vote: Some(wire::vote_out(&reply.vote)) }))
    }

    async fn past(&self, request: Request<PastRequest>) -> Reply<PastReply> {
        self.tells()?;
        let reply = past::answer(&self.members.published, request.into_inner()).await?;
        // It may have come to doubt what it read meanwhile.
        self.tells()?;
        Ok(Response::new(reply))
    }

    type ForwardStream = ReceiverStream<Result<ForwardReplies, Status>>;

    async fn forward(&self, request: Request<Streaming<ForwardBatch>>) -> Reply<Self::ForwardStream> {
        Ok(Response::new(forward::receive(self.admission.clone(), request.into_inner())))
    }

    type ReadIndexStream = BoxStream<'static, Result<ReadIndexReply, Status>>;

    async fn read_index(&self, request: Request<Streaming<ReadIndexRequest>>) -> Reply<Self::ReadIndexStream> {
        let sender = sender(&request)?;
        let server = self.clone();
        let replies = request.into_inner().then(move |request| {
            let server = server.clone();
            async move { server.index_for(sender, request?).await }
        });
        Ok(Response::new(replies.boxed()))
    }

    type FollowsStream = BoxStream<'static, Result<FollowsReply, Status>>;

    async fn follows(&self, request: Request<Streaming<FollowsRequest>>) -> Reply<Self::FollowsStream> {
        let sender = sender(&request)?;
        let server = self.clone();
        let replies = request.into_inner().map(move |request| server.confirm(sender, request?));
        Ok(Response::new(replies.boxed()))
    }

    async fn describe(&self, _: Request<DescribeRequest>) -> Reply<DescribeReply> {
        Ok(Response::new(describe::describe(self)))
    }

    async fn change(&self, request: Request<ChangeRequest>) -> Reply<ChangeReply> {
        let sender = sender(&request)?;
        let change = members::wire::read(request.into_inner());
        let change = change.ok_or_else(|| Status::invalid_argument("the request asks for no change"))?;
        if let MemberChange::Move { id, peer_address, client_address } = &change {
            if *id != sender {
                return Err(Status::permission_denied(format!("replica {sender} moves replica {id}")));
            }
            // Whether or not a leader can write it down by now: here the replica itself says where it is.
            self.members.channels.moved(*id, peer_address);
            // As it says at every start: there is nothing to change, and nobody who changes something is in its way.
            let (peer_address, client_address) = (peer_address.clone(), client_address.clone());
            if self.members.recorded(*id) == Some(Place { peer_address, client_address }) {
                return Ok(Response::new(members::wire::Answered::Done(*id).reply()));
            }
        }
        Ok(Response::new(self.members.change_here(&change).await.reply()))
    }

    type AliveStream = BoxStream<'static, Result<AliveReply, Status>>;

    async fn alive(&self, _: Request<AliveRequest>) -> Reply<Self::AliveStream> {
        let never = futures::stream::pending().take_until(self.stop.clone().cancelled_owned());
        Ok(Response::new(never.boxed()))
    }
}
