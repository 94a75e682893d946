//! The seam to whatever runs containers: what the agent asks of it, and nothing else. Decides nothing.
//!
//! [`crate::docker::Docker`] stands behind it in production, [`fake::Fake`] in tests and in the simulation.

pub mod fake;
mod spec;
mod streams;

use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;
use proto::seam::Stream;

pub use spec::{ContainerSpec, HostPort, Ipc, Labels, Limits, Mount, MountSource, Network, Pid, Role, Security, label};
pub use streams::{AttachSpec, Chunk, ExecSpec, Input, LogsSpec, Process, Resize};

/// The engine's identifier of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(pub String);

impl std::fmt::Display for ContainerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose containers: every listing and every stream of events is bounded to these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub cluster: String,
    pub node: String,
}

#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// There is no such container, network or volume.
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    NoSuchImage(String),
    /// The name is taken, or the container is not in a state for this.
    #[error("{0}")]
    Conflict(String),
    /// The engine understood and refuses: asking again the same way will not help.
    #[error("{0}")]
    Refused(String),
    /// The engine could not be reached, or broke off.
    #[error("the container engine does not answer: {0}")]
    Unreachable(String),
    #[error("the container engine did not {what} within {after_ms} ms")]
    Deadline { what: &'static str, after_ms: u64 },
}

/// What the engine says of itself and its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Such as `docker://20.10.24`.
    pub version: String,
    pub os_image: String,
    pub kernel: String,
    /// In Go's words: amd64, arm64.
    pub architecture: String,
    pub cpus: u64,
    pub memory_bytes: u64,
    /// Where images and containers are stored, on the engine's host.
    pub root_dir: String,
}

/// The network that all Pods of an engine share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSpec {
    pub name: String,
    /// CIDR.
    pub subnet: String,
}

/// One container as the engine knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub id: ContainerId,
    pub labels: Labels,
    pub state: State,
    /// The digest or id of the image, with its algorithm.
    pub image_id: String,
    /// Its address in the Pod network.
    pub ip: Option<IpAddr>,
    pub tty: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// `error`: it was to be started, and could not.
    Created {
        at: Timestamp,
        error: Option<StartError>,
    },
    Running {
        started_at: Timestamp,
    },
    Exited(Exit),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    pub exit_code: i32,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub exit_code: i32,
    pub oom_killed: bool,
    /// Its last words, when it left some. The runtime leaves this empty; the agent reads them.
    pub message: Option<String>,
}

/// What a listing tells: enough to see what has to be inspected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: ContainerId,
    pub pod_uid: String,
    pub running: bool,
}

/// Something happened to a container: look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: ContainerId,
    pub pod_uid: String,
    pub change: Change,
    /// The engine's clock, for [`Runtime::events`]' `since`.
    pub at_ns: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Started,
    Died,
    /// The kernel killed for memory in it; whether it lives on is another matter.
    OutOfMemory,
    Removed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub names: Vec<String>,
    pub size_bytes: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The image's stop signal, TERM when it names none.
    Stop,
    Kill,
}

/// Name and password for a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub registry: String,
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({} at {})", self.username, self.registry)
    }
}

/// Every call has a deadline of its own and returns [`Error::Deadline`] when it passes. None is retried inside.
/// Calls may run at the same time; all are cancel safe in that dropping one leaves at most its effect behind.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    async fn info(&self) -> Result<Info, Error>;

    /// Answers quickly when the engine lives.
    async fn ping(&self) -> Result<(), Error>;

    /// The network exists afterwards, whoever made it.
    async fn ensure_network(&self, network: &NetworkSpec) -> Result<(), Error>;

    /// [`Error::Conflict`] when the name is taken, [`Error::NoSuchImage`] when the image is not on this host.
    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId, Error>;

    async fn start(&self, id: &ContainerId) -> Result<(), Error>;

    /// Does not wait for the end. A container that does not run is no error.
    async fn signal(&self, id: &ContainerId, signal: Signal) -> Result<(), Error>;

    /// Kills it when it runs, and forgets it. A container that is not there is no error.
    async fn remove(&self, id: &ContainerId) -> Result<(), Error>;

    async fn inspect(&self, id: &ContainerId) -> Result<Option<Container>, Error>;

    /// All containers that carry the owner's labels, running or not.
    async fn list(&self, owner: &Owner) -> Result<Vec<Listed>, Error>;

    /// Events of the owner's containers from `since_ns` on (the engine's clock; `None`: from now on). The stream ends
    /// with an error when the connection breaks.
    async fn events(
        &self,
        owner: &Owner,
        since_ns: Option<i64>,
    ) -> Result<BoxStream<'static, Result<Event, Error>>, Error>;

    async fn has_image(&self, name: &str) -> Result<bool, Error>;

    /// The user that the image names, if any.
    async fn image_user(&self, name: &str) -> Result<Option<String>, Error>;

    async fn images(&self) -> Result<Vec<Image>, Error>;

    /// Has a long deadline, since images may be large.
    async fn pull(&self, name: &str, credentials: Option<&Credentials>) -> Result<(), Error>;

    /// Forgets a volume. One that is not there is no error.
    async fn remove_volume(&self, name: &str) -> Result<(), Error>;

    async fn exec(&self, id: &ContainerId, spec: &ExecSpec) -> Result<Process, Error>;

    /// Joins the container's main process.
    async fn attach(&self, id: &ContainerId, spec: &AttachSpec) -> Result<Process, Error>;

    async fn logs(&self, id: &ContainerId, spec: &LogsSpec) -> Result<BoxStream<'static, Result<Chunk, Error>>, Error>;

    /// Connects to an address in the Pod network. The caller sets the deadline.
    async fn dial(&self, address: SocketAddr) -> io::Result<Box<dyn Stream>>;
}
