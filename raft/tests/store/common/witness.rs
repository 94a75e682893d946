//! A follower of the test's own: it stores nothing, counts what a leader sends to it, and answers as it is told.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::StreamExt as _;
use futures::stream::BoxStream;
use proto::peer::append_reply::Result as Answer;
use proto::peer::peer_server::{Peer, PeerServer};
use proto::peer::{
    AliveReply, AliveRequest, AppendReply, AppendRequest, ChangeReply, ChangeRequest, DescribeReply, DescribeRequest,
    FollowsReply, FollowsRequest, ForwardBatch, ForwardReplies, LogId, Matched, PastReply, PastRequest, ReadIndexReply,
    ReadIndexRequest, SnapshotPart, SnapshotReply, TransferReply, TransferRequest, VoteReply, VoteRequest,
};
use proto::tls::{self, ClientCertificate};
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::Cluster;

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Witness(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// What had come in requests that had any.
    entries: usize,
    requests: usize,
    is_silent: bool,
    owed_max: usize,
}

/// One stream of entries.
#[derive(Default)]
struct Course {
    has_begun: bool,
    /// Requests with entries that have no answer.
    owed: usize,
}

impl Witness {
    /// Listens where this replica has been, with its name.
    pub async fn in_place_of(cluster: &Cluster, replica: u64) -> Witness {
        let witness = Witness::default();
        let identity = cluster.identity(&format!("kontiki:replica:{replica}"));
        let acceptor = tls::acceptor(&identity, ClientCertificate::Required, &["h2"]).unwrap();
        let listener = TcpListener::bind(cluster.peer_address(replica)).await.unwrap();
        let (ready, incoming) = mpsc::channel::<io::Result<DuplexStream>>(16);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, ready) = (acceptor.clone(), ready.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let (mut inner, served) = tokio::io::duplex(1 << 16);
                    if ready.send(Ok(served)).await.is_ok() {
                        let _ = tokio::io::copy_bidirectional(&mut stream, &mut inner).await;
                    }
                });
            }
        });
        let service = PeerServer::new(witness.clone());
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(ReceiverStream::new(incoming)));
        witness
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap()
    }

    /// How many entries have come, and in how many requests.
    pub fn entries(&self) -> (usize, usize) {
        let seen = self.seen();
        (seen.entries, seen.requests)
    }

    /// From now on, no request is answered but the first one of each stream.
    pub fn fall_silent(&self) {
        self.seen().is_silent = true;
    }

    /// The most requests with entries that have come on one stream while none of them was answered.
    pub fn owed_max(&self) -> usize {
        self.seen().owed_max
    }

    /// The answer, where there is one.
    fn take(&self, request: &AppendRequest, course: &mut Course) -> Option<AppendReply> {
        let mut seen = self.seen();
        let has_entries = usize::from(!request.entries.is_empty());
        seen.entries += request.entries.len();
        seen.requests += has_entries;
        if std::mem::replace(&mut course.has_begun, true) && seen.is_silent {
            course.owed += has_entries;
            seen.owed_max = seen.owed_max.max(course.owed);
            return None;
        }
        let last = request.entries.last().map(|entry| LogId { term: entry.term, index: entry.index });
        let matched = Matched { log_id: last.or(request.previous) };
        Some(AppendReply { result: Some(Answer::Matched(matched)), report: None })
    }
}

type Reply<T> = Result<Response<T>, Status>;
type Answers<T> = BoxStream<'static, Result<T, Status>>;

fn nothing<T>() -> Reply<T> {
    Err(Status::unavailable("a witness takes entries alone"))
}

#[tonic::async_trait]
impl Peer for Witness {
    type AppendStream = Answers<AppendReply>;

    async fn append(&self, request: Request<Streaming<AppendRequest>>) -> Reply<Self::AppendStream> {
        let (witness, mut course) = (self.clone(), Course::default());
        let answers = request.into_inner().filter_map(move |request| {
            let answer = request.map(|request| witness.take(&request, &mut course));
            std::future::ready(answer.transpose())
        });
        Ok(Response::new(answers.boxed()))
    }

    type HeartbeatsStream = Answers<AppendReply>;

    async fn heartbeats(&self, _: Request<Streaming<AppendRequest>>) -> Reply<Self::HeartbeatsStream> {
        nothing()
    }

    async fn vote(&self, _: Request<VoteRequest>) -> Reply<VoteReply> {
        nothing()
    }

    async fn pre_vote(&self, _: Request<VoteRequest>) -> Reply<VoteReply> {
        nothing()
    }

    async fn transfer_leader(&self, _: Request<TransferRequest>) -> Reply<TransferReply> {
        nothing()
    }

    async fn install_snapshot(&self, _: Request<Streaming<SnapshotPart>>) -> Reply<SnapshotReply> {
        nothing()
    }

    async fn past(&self, _: Request<PastRequest>) -> Reply<PastReply> {
        nothing()
    }

    type ForwardStream = Answers<ForwardReplies>;

    async fn forward(&self, _: Request<Streaming<ForwardBatch>>) -> Reply<Self::ForwardStream> {
        nothing()
    }

    type ReadIndexStream = Answers<ReadIndexReply>;

    async fn read_index(&self, _: Request<Streaming<ReadIndexRequest>>) -> Reply<Self::ReadIndexStream> {
        nothing()
    }

    type FollowsStream = Answers<FollowsReply>;

    async fn follows(&self, _: Request<Streaming<FollowsRequest>>) -> Reply<Self::FollowsStream> {
        nothing()
    }

    async fn describe(&self, _: Request<DescribeRequest>) -> Reply<DescribeReply> {
        nothing()
    }

    async fn change(&self, _: Request<ChangeRequest>) -> Reply<ChangeReply> {
        nothing()
    }

    type AliveStream = Answers<AliveReply>;

    async fn alive(&self, _: Request<AliveRequest>) -> Reply<Self::AliveStream> {
        nothing()
    }
}
