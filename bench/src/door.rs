//! A process of the store alone: one replica of `raft` behind the part of etcd's API in proto/kv.proto. Acts.
//!
//! It exists to compare like with like: bytes by key through the same gRPC calls and the same mutual TLS that etcd
//! serves, without the Kubernetes object model that `kontiki server` puts in between.

use std::path::PathBuf;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt as _};
use proto::seam::{Clock, Env};
use proto::tls::{self, ClientCertificate, Identity};
use raft::{Action, Command, Config, HistoryWindow, Member, News, Op, Outcome, Precondition, Store, Timing};
use tonic::codegen::Service as _;
use tonic::{Request, Response, Status, Streaming};

use crate::incoming;
use crate::wire::kv_server::{Kv, KvServer};
use crate::wire::maintenance_server::{Maintenance, MaintenanceServer};
use crate::wire::watch_request::Request as Asked;
use crate::wire::watch_server::{Watch, WatchServer};
use crate::wire::{
    Event, KeyValue, MoveLeaderRequest, MoveLeaderResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    ResponseHeader, StatusRequest, StatusResponse, WatchRequest, WatchResponse,
};

type Messages = BoxStream<'static, Result<WatchResponse, Status>>;

#[derive(clap::Args)]
pub struct Args {
    /// With `peers.crt`, `api.crt` and what they signed.
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    id: u64,
    /// Client ports from here on, one for each of the three; peer ports ten above.
    #[arg(long)]
    port: u16,
}

#[derive(Clone)]
struct Door {
    store: Store,
    clock: Arc<dyn Clock>,
}

pub async fn run(args: Args) -> crate::Outcome {
    // As a replica has one. Without any, libraries look for another way to log with everything they do.
    tracing_subscriber::fmt().with_env_filter("warn").with_writer(std::io::stderr).init();
    let env = Env::real();
    let member = |id: u64| Member {
        id,
        peer_address: format!("127.0.0.1:{}", args.port + 10 + id as u16),
        client_address: format!("127.0.0.1:{}", args.port + id as u16),
    };
    let members: Vec<Member> = (1..=3).map(member).collect();
    let me = members.get(args.id as usize - 1).ok_or("the id is 1, 2 or 3")?.clone();
    let config = Config {
        id: args.id,
        dir: args.dir.join(format!("member-{}/data", args.id)),
        peer_listen: me.peer_address,
        initial_members: members,
        cluster_id: "bench".into(),
        tls: Identity::load(&args.dir.join("pki"), &format!("peer-{}", args.id), "ca")?,
        timing: Timing::default(),
        history: HistoryWindow::default(),
        renewals: Default::default(),
    };
    let store = Store::open(config, env.clone()).await?;
    let identity = Identity::load(&args.dir.join("pki"), &format!("server-{}", args.id), "ca")?;
    let acceptor = tls::acceptor(&identity, ClientCertificate::Required, &["h2"])?;
    let listener = tokio::net::TcpListener::bind(&me.client_address).await?;
    let door = Door { store: store.clone(), clock: env.clock };
    let mut stop = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let (kv, watch) = (KvServer::new(door.clone()), WatchServer::new(door.clone()));
    let maintenance = MaintenanceServer::new(door);
    let answer = move |request: http::Request<hyper::body::Incoming>| match request.uri().path().split('/').nth(1) {
        Some("etcdserverpb.KV") => kv.clone().call(request),
        Some("etcdserverpb.Watch") => watch.clone().call(request),
        _ => maintenance.clone().call(request),
    };
    tokio::select! {
        () = incoming::serve(listener, acceptor, answer) => {}
        _ = stop.recv() => store.shutdown().await,
    }
    Ok(())
}

fn unavailable(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

impl Door {
    fn header(&self, revision: u64) -> Option<ResponseHeader> {
        let term = self.store.standing().borrow().term;
        Some(ResponseHeader { cluster_id: 1, member_id: self.store.id(), revision: revision as i64, raft_term: term })
    }
}

#[tonic::async_trait]
impl Kv for Door {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let request = request.into_inner();
        if !request.serializable {
            self.store.barrier().await.map_err(unavailable)?;
        }
        let state = self.store.state();
        let found = state.get(&request.key).map(|found| KeyValue {
            key: request.key.clone(),
            create_revision: found.created as i64,
            mod_revision: found.revision as i64,
            value: found.value.clone(),
        });
        let kvs: Vec<KeyValue> = found.into_iter().collect();
        Ok(Response::new(RangeResponse { header: self.header(state.revision()), count: kvs.len() as i64, kvs }))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let PutRequest { key, value } = request.into_inner();
        let op = Op { key, precondition: Precondition::Any, action: Action::Put(value) };
        let (proposed_at_ms, author) = (self.clock.now_ms(), "bench".into());
        let command = Command { fence: None, proposed_at_ms, author, ops: vec![op] };
        match self.store.propose(command).await.map_err(unavailable)? {
            Outcome::Applied { revisions } => {
                let revision = revisions.last().copied().unwrap_or_default();
                Ok(Response::new(PutResponse { header: self.header(revision) }))
            }
            other => Err(Status::aborted(format!("{other:?}"))),
        }
    }
}

#[tonic::async_trait]
impl Watch for Door {
    type WatchStream = Messages;

    /// One watch per stream: the first message asks for it.
    async fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let opened = stream::once(self.clone().open(request.into_inner())).flatten();
        Ok(Response::new(opened.boxed()))
    }
}

impl Door {
    /// Nothing runs beside the stream: it looks for changes when the connection asks it for the next message.
    async fn open(self, mut asked: Streaming<WatchRequest>) -> Messages {
        let Ok(Some(WatchRequest { request: Some(Asked::CreateRequest(create)) })) = asked.message().await else {
            return stream::empty().boxed();
        };
        let now = self.store.state().revision();
        let after = if create.start_revision > 0 { create.start_revision as u64 - 1 } else { now };
        let Ok(watcher) = self.store.watch(create.key, after) else {
            let refused = WatchResponse { canceled: true, compact_revision: 1, ..Default::default() };
            return stream::iter([Ok(refused)]).boxed();
        };
        let created = WatchResponse { header: self.header(now), created: true, ..Default::default() };
        // The request's side stays open as long as the watch.
        let news = stream::unfold((self, watcher, asked), |(door, mut watcher, asked)| async move {
            let changes = loop {
                match watcher.next().await.ok()? {
                    News::Changes(changes) => break changes,
                    News::Progress(_) => {}
                }
            };
            let events = changes.iter().map(|change| event(change)).collect();
            let revision = changes.last().map_or(0, |change| change.revision);
            let message = WatchResponse { header: door.header(revision), events, ..Default::default() };
            Some((Ok(message), (door, watcher, asked)))
        });
        stream::iter([Ok(created)]).chain(news).boxed()
    }
}

fn event(change: &raft::Change) -> Event {
    let value = change.value.clone();
    Event {
        r#type: i32::from(value.is_none()),
        kv: Some(KeyValue {
            key: change.key.clone(),
            create_revision: 0,
            mod_revision: change.revision as i64,
            value: value.unwrap_or_default(),
        }),
    }
}

#[tonic::async_trait]
impl Maintenance for Door {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let standing = self.store.standing().borrow().clone();
        let header = self.header(self.store.state().revision());
        let leader = standing.leader.unwrap_or_default();
        Ok(Response::new(StatusResponse { header, leader, raft_term: standing.term }))
    }

    async fn move_leader(&self, request: Request<MoveLeaderRequest>) -> Result<Response<MoveLeaderResponse>, Status> {
        let to = request.into_inner().target_id;
        self.store.transfer_leadership(Some(to)).await.map_err(unavailable)?;
        Ok(Response::new(MoveLeaderResponse { header: self.header(0) }))
    }
}
