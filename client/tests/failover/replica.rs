//! Replicas in memory that answer as they are told, and that can be frozen: the kernel below them still takes connections and
//! bytes. Acts.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use kontiki_client::{Client, Config, Env, Identity};
use proto::api as wire;
use proto::api::api_server::{Api, ApiServer};
use proto::pki::{API_NAME, Authority};
use proto::seam::{Listener, Net, Stream};
use proto::tls::{self, ClientCertificate, TlsAcceptor};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::script::{Script, Told};

const BUFFER_BYTES: usize = 64 << 10;
/// How long a write takes.
const WRITE: Duration = Duration::from_millis(1);

pub struct Cluster {
    pub replicas: Vec<Arc<Replica>>,
    pub script: Arc<Script>,
    identity: Identity,
}

#[derive(Clone)]
pub enum Answer {
    After(Duration),
    /// Nothing is done here, whatever it says.
    Refusal(api::status::Status),
}

pub struct Replica {
    place: usize,
    script: Arc<Script>,
    writes: AtomicUsize,
    /// To the next calls. After them: to do what is asked, at once.
    answers: Mutex<VecDeque<Answer>>,
    /// Who waits for it to go on, while it is frozen.
    frozen: Mutex<Option<Vec<Waker>>>,
    connections: mpsc::Sender<io::Result<Incoming>>,
    acceptor: TlsAcceptor,
}

impl Cluster {
    pub fn new(count: usize) -> Cluster {
        Cluster::with_script(count, &[])
    }

    /// Its watches are told this.
    pub fn with_script(count: usize, script: &[&str]) -> Cluster {
        tls::install_provider();
        let authority = Authority::make("test").unwrap();
        let hosts = [API_NAME.to_owned()];
        let pair =
            authority.sign(&proto::pki::Request { common_name: "test", organizations: &[], hosts: &hosts }).unwrap();
        let identity = Identity {
            certificate_pem: pair.certificate_pem,
            key_pem: pair.key_pem,
            authority_pem: authority.certificate_pem().to_owned(),
        };
        let script = Arc::new(Script::new(script));
        let replicas = (0..count).map(|place| Replica::start(place, &identity, script.clone())).collect();
        Cluster { replicas, script, identity }
    }

    pub fn client(&self) -> Client {
        let addresses = (0..self.replicas.len()).map(|at| at.to_string()).collect();
        let mut config = Config::new(addresses, self.identity.clone());
        config.env = Env { net: Arc::new(Memory(self.replicas.clone())), ..Env::real() };
        Client::connect(config).unwrap()
    }

    pub fn writes(&self) -> usize {
        self.replicas.iter().map(|replica| replica.writes()).sum()
    }
}

impl Replica {
    fn start(place: usize, identity: &Identity, script: Arc<Script>) -> Arc<Replica> {
        let (connections, incoming) = mpsc::channel(16);
        let replica = Arc::new(Replica {
            place,
            script,
            writes: AtomicUsize::default(),
            answers: Mutex::default(),
            frozen: Mutex::default(),
            connections,
            acceptor: tls::acceptor(identity, ClientCertificate::Required, &["h2"]).unwrap(),
        });
        let service = ApiServer::new(Door(replica.clone()));
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(ReceiverStream::new(incoming)));
        replica
    }

    /// How often a write was done here.
    pub fn writes(&self) -> usize {
        self.writes.load(Relaxed)
    }

    pub fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        *self.answers.lock().unwrap() = answers.into_iter().collect();
    }

    pub fn freeze(&self) {
        *self.frozen.lock().unwrap() = Some(Vec::new());
    }

    pub fn thaw(&self) {
        self.frozen.lock().unwrap().take().into_iter().flatten().for_each(Waker::wake);
    }

    fn take(self: Arc<Replica>) -> DuplexStream {
        let (near, far) = tokio::io::duplex(BUFFER_BYTES);
        tokio::spawn(async move {
            let frozen = Freezable { stream: near, replica: self.clone() };
            if let Ok(stream) = self.acceptor.accept(frozen).await {
                let _ = self.connections.send(Ok(Incoming(Box::new(stream)))).await;
            }
        });
        far
    }

    async fn write(&self) -> Reply<wire::Object> {
        let written = self.read().await?;
        self.writes.fetch_add(1, Relaxed);
        Ok(written)
    }

    async fn read(&self) -> Reply<wire::Object> {
        let answer = self.answers.lock().unwrap().pop_front();
        match answer.unwrap_or(Answer::After(WRITE)) {
            Answer::After(pause) => tokio::time::sleep(pause).await,
            Answer::Refusal(refusal) => {
                let mut status = Status::unknown(refusal.message.clone());
                let json = tonic::metadata::MetadataValue::from_bytes(&refusal.to_json());
                status.metadata_mut().insert_bin(proto::STATUS_METADATA, json);
                return Err(status);
            }
        }
        let json = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"one"}}"#;
        Ok(Response::new(wire::Object { json: json.to_vec().into() }))
    }
}

/// Addresses are places in the list.
struct Memory(Vec<Arc<Replica>>);

#[tonic::async_trait]
impl Net for Memory {
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let at: usize = address.parse().map_err(io::Error::other)?;
        Ok(Box::new(self.0[at].clone().take()))
    }

    async fn listen(&self, _: &str) -> io::Result<Box<dyn Listener>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The process's end of a connection: a frozen process reads and writes nothing.
struct Freezable {
    stream: DuplexStream,
    replica: Arc<Replica>,
}

impl Freezable {
    fn is_frozen(&self, cx: &Context<'_>) -> bool {
        let mut frozen = self.replica.frozen.lock().unwrap();
        frozen.as_mut().map(|waiting| waiting.push(cx.waker().clone())).is_some()
    }
}

impl AsyncRead for Freezable {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_frozen(cx) { Poll::Pending } else { Pin::new(&mut self.stream).poll_read(cx, buffer) }
    }
}

impl AsyncWrite for Freezable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_frozen(cx) { Poll::Pending } else { Pin::new(&mut self.stream).poll_write(cx, bytes) }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

struct Incoming(Box<dyn Stream>);

impl Connected for Incoming {
    type ConnectInfo = Option<SocketAddr>;

    fn connect_info(&self) -> Option<SocketAddr> {
        None
    }
}

impl AsyncRead for Incoming {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Incoming {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

struct Door(Arc<Replica>);

type Reply<T> = Result<Response<T>, Status>;
type Nothing<T> = tokio_stream::Empty<Result<T, Status>>;

/// What no test here asks for.
fn not_here<T>() -> Reply<T> {
    Err(Status::unimplemented("not in this test"))
}

#[tonic::async_trait]
impl Api for Door {
    async fn create(&self, _: Request<wire::CreateRequest>) -> Reply<wire::Object> {
        self.0.write().await
    }

    async fn patch(&self, _: Request<wire::PatchRequest>) -> Reply<wire::Object> {
        self.0.write().await
    }

    async fn ping(&self, _: Request<wire::PingRequest>) -> Reply<wire::PingReply> {
        Ok(Response::new(wire::PingReply {}))
    }

    async fn get(&self, _: Request<wire::GetRequest>) -> Reply<wire::Object> {
        self.0.read().await
    }

    async fn list(&self, _: Request<wire::ListRequest>) -> Reply<wire::ListReply> {
        not_here()
    }

    async fn update(&self, _: Request<wire::UpdateRequest>) -> Reply<wire::Object> {
        not_here()
    }

    async fn delete(&self, _: Request<wire::DeleteRequest>) -> Reply<wire::Object> {
        not_here()
    }

    async fn history(&self, _: Request<wire::HistoryRequest>) -> Reply<wire::HistoryReply> {
        not_here()
    }

    async fn status(&self, _: Request<wire::StatusRequest>) -> Reply<wire::StatusReply> {
        not_here()
    }

    type WatchStream = Told;

    async fn watch(&self, request: Request<wire::WatchRequest>) -> Reply<Self::WatchStream> {
        Ok(Response::new(self.0.script.open(self.0.place, request.into_inner())))
    }

    type LogsStream = Nothing<wire::Chunk>;

    async fn logs(&self, _: Request<wire::LogsRequest>) -> Reply<Self::LogsStream> {
        not_here()
    }

    type ExecStream = Nothing<wire::ExecOutput>;

    async fn exec(&self, _: Request<Streaming<wire::ExecInput>>) -> Reply<Self::ExecStream> {
        not_here()
    }
}
