//! The runtime on a Docker engine: translates, and gives every call a deadline. Decides nothing.

mod calls;
mod events;
mod inspect;
mod ooms;
mod pods;
mod streams;
mod translate;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::{ClientVersion, errors};
use futures::stream::BoxStream;
use proto::seam::Stream;
use tokio::sync::OnceCell;

use crate::runtime::{
    AttachSpec, Chunk, Container, ContainerId, ContainerSpec, Credentials, Error, Event, ExecSpec, Image, Info, Listed,
    LogsSpec, NetworkSpec, Owner, Process, Runtime, Signal,
};

/// Calls that only read what the engine has in memory.
const READ_MAX: Duration = Duration::from_secs(10);
/// Calls that make the kernel work: on a busy host a start may wait long for its turn.
const WORK_MAX: Duration = Duration::from_secs(60);
const PING_MAX: Duration = Duration::from_secs(2);
/// An image of a few gigabytes over a slow line.
const PULL_MAX: Duration = Duration::from_secs(30 * 60);
/// bollard's own limit, above all of ours: it bounds only the wait for a response's head.
const TRANSPORT_MAX_S: u64 = PULL_MAX.as_secs();
/// The oldest API with all that is used here: that of engine 20.10.
const API_OLDEST: ClientVersion = ClientVersion { major_version: 1, minor_version: 41 };
const SOCKET: &str = "/var/run/docker.sock";

/// One Docker engine. Connects at the first call, so an engine that is down at start is no error.
pub struct Docker {
    socket: String,
    engine: OnceCell<bollard::Docker>,
    pods: pods::Pods,
    ooms: Arc<ooms::Ooms>,
}

impl Docker {
    /// `socket`: the path of the engine's socket, with or without `unix://`.
    pub fn new(socket: &str) -> Docker {
        Docker {
            socket: socket.trim_start_matches("unix://").to_owned(),
            engine: OnceCell::new(),
            pods: pods::Pods::default(),
            ooms: Arc::default(),
        }
    }

    /// The engine that `DOCKER_HOST` names, or the usual socket.
    pub fn from_host(docker_host: Option<&str>) -> Docker {
        Docker::new(docker_host.filter(|host| !host.is_empty()).unwrap_or(SOCKET))
    }

    /// The client, after agreeing on the API's version with the engine.
    async fn engine(&self) -> Result<&bollard::Docker, Error> {
        self.engine
            .get_or_try_init(|| async {
                let newest = bollard::API_DEFAULT_VERSION;
                let client =
                    bollard::Docker::connect_with_unix(&self.socket, TRANSPORT_MAX_S, newest).map_err(failure)?;
                let client = within("answer", READ_MAX, client.negotiate_version()).await?;
                let version = client.client_version();
                if (version.major_version, version.minor_version) < (API_OLDEST.major_version, API_OLDEST.minor_version)
                {
                    return Err(Error::Refused(format!(
                        "the engine's API {}.{} is older than 1.41 (Docker 20.10)",
                        version.major_version, version.minor_version
                    )));
                }
                Ok(client)
            })
            .await
    }
}

/// Awaits a call of bollard's for so long, and puts its errors in our words.
async fn within<T>(
    what: &'static str,
    deadline: Duration,
    call: impl Future<Output = Result<T, errors::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(deadline, call).await {
        Ok(result) => result.map_err(failure),
        Err(_) => Err(Error::Deadline { what, after_ms: deadline.as_millis() as u64 }),
    }
}

fn failure(error: errors::Error) -> Error {
    match error {
        errors::Error::DockerResponseServerError { status_code, message } => match status_code {
            404 if message.contains("No such image") => Error::NoSuchImage(message),
            404 => Error::NotFound(message),
            409 => Error::Conflict(message),
            _ => Error::Refused(message),
        },
        errors::Error::DockerStreamError { error } => Error::Refused(error),
        errors::Error::RequestTimeoutError => {
            Error::Deadline { what: "answer", after_ms: Duration::from_secs(TRANSPORT_MAX_S).as_millis() as u64 }
        }
        errors::Error::SocketNotFoundError(path) => Error::Unreachable(format!("there is no socket at {path}")),
        other => Error::Unreachable(chain(&other)),
    }
}

/// The whole chain of causes: bollard's own text stops at "client error (Connect)".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[async_trait]
impl Runtime for Docker {
    async fn info(&self) -> Result<Info, Error> {
        calls::info(self.engine().await?).await
    }

    async fn ping(&self) -> Result<(), Error> {
        let ping = async {
            let engine = self.engine().await?;
            within("answer a ping", PING_MAX, engine.ping()).await
        };
        match tokio::time::timeout(PING_MAX, ping).await {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(Error::Deadline { what: "answer a ping", after_ms: PING_MAX.as_millis() as u64 }),
        }
    }

    async fn ensure_network(&self, network: &NetworkSpec) -> Result<(), Error> {
        self.pods.ensure_network(self.engine().await?, &self.socket, network).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId, Error> {
        self.pods.create(self.engine().await?, &self.socket, spec).await
    }

    async fn start(&self, id: &ContainerId) -> Result<(), Error> {
        self.pods.start(self.engine().await?, &self.socket, id).await
    }

    async fn signal(&self, id: &ContainerId, signal: Signal) -> Result<(), Error> {
        calls::signal(self.engine().await?, id, signal).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), Error> {
        self.pods.remove(self.engine().await?, id).await
    }

    async fn inspect(&self, id: &ContainerId) -> Result<Option<Container>, Error> {
        inspect::inspect(self.engine().await?, &self.ooms, id).await
    }

    async fn list(&self, owner: &Owner) -> Result<Vec<Listed>, Error> {
        inspect::list(self.engine().await?, owner).await
    }

    async fn events(
        &self,
        owner: &Owner,
        since_ns: Option<i64>,
    ) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
        Ok(events::follow(self.engine().await?, self.ooms.clone(), owner, since_ns))
    }

    async fn has_image(&self, name: &str) -> Result<bool, Error> {
        calls::image(self.engine().await?, name).await.map(|found| found.is_some())
    }

    async fn image_user(&self, name: &str) -> Result<Option<String>, Error> {
        let image = calls::image(self.engine().await?, name).await?;
        Ok(image.and_then(|image| image.config?.user).filter(|user| !user.is_empty()))
    }

    async fn images(&self) -> Result<Vec<Image>, Error> {
        calls::images(self.engine().await?).await
    }

    async fn pull(&self, name: &str, credentials: Option<&Credentials>) -> Result<(), Error> {
        calls::pull(self.engine().await?, name, credentials).await
    }

    async fn remove_volume(&self, name: &str) -> Result<(), Error> {
        calls::remove_volume(self.engine().await?, name).await
    }

    async fn exec(&self, id: &ContainerId, spec: &ExecSpec) -> Result<Process, Error> {
        streams::exec(self.engine().await?, id, spec).await
    }

    async fn attach(&self, id: &ContainerId, spec: &AttachSpec) -> Result<Process, Error> {
        streams::attach(self.engine().await?, id, spec).await
    }

    async fn logs(&self, id: &ContainerId, spec: &LogsSpec) -> Result<BoxStream<'static, Result<Chunk, Error>>, Error> {
        Ok(streams::logs(self.engine().await?, id, spec))
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<Box<dyn Stream>> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}
