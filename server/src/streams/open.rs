//! From a Pod to a tunnel, for REST and gRPC alike. Acts; the caller was authorized before.

use api::{Key, Status, status::Resource};
use k8s_openapi::api::core::v1::Pod;
use proto::session::open_tunnel::Request;
use proto::session::{Exec, Logs, PortForward};
use raft::Store;
use tokio_util::sync::CancellationToken;

use super::container;
use super::options::{ExecOptions, LogOptions};
use crate::sessions::{Sessions, Tunnel};

/// What streams are opened from. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    store: Store,
    sessions: Sessions,
    /// Cancelled at the end of the run that the store and the sessions are of.
    pub(super) run: CancellationToken,
}

const PODS: Resource = Resource { group: "", plural: "pods" };

impl Streams {
    pub fn new(store: Store, sessions: Sessions, run: CancellationToken) -> Streams {
        Streams { store, sessions, run }
    }

    /// `None`: the Pod has no node yet, so its log is empty.
    pub async fn open_logs(&self, namespace: &str, name: &str, options: &LogOptions) -> Result<Option<Tunnel>, Status> {
        options.check(name)?;
        let pod = self.pod(namespace, name).await?;
        let container = container::choose(&pod, name, &options.container)?;
        let Some(node) = node(&pod) else { return Ok(None) };
        container::check_log(&pod, name, &container, options.previous)?;
        let request = Request::Logs(Logs {
            namespace: namespace.to_owned(),
            pod: name.to_owned(),
            pod_uid: uid(&pod),
            container,
            follow: options.follow,
            previous: options.previous,
            timestamps: options.timestamps,
            tail_lines: options.tail_lines,
            since_seconds: options.since_seconds,
            limit_bytes: options.limit_bytes,
            since_time: options.since_time.clone(),
        });
        Ok(Some(self.sessions.open(node, request).await?))
    }

    /// Exec, or attach where the options say so.
    pub async fn open_exec(&self, namespace: &str, name: &str, options: &ExecOptions) -> Result<Tunnel, Status> {
        let options = options.clone().checked()?;
        let pod = self.pod(namespace, name).await?;
        let container = container::choose(&pod, name, &options.container)?;
        let node = assigned(&pod, name)?;
        let request = Request::Exec(Exec {
            namespace: namespace.to_owned(),
            pod: name.to_owned(),
            pod_uid: uid(&pod),
            container,
            command: options.command,
            stdin: options.stdin,
            stdout: options.stdout,
            stderr: options.stderr,
            tty: options.tty,
            attach: options.attach,
        });
        Ok(self.sessions.open(node, request).await?)
    }

    /// The Pod must be there and have a node.
    pub(super) async fn check_forward(&self, namespace: &str, name: &str) -> Result<(), Status> {
        assigned(&self.pod(namespace, name).await?, name).map(drop)
    }

    /// One connection to a port of the Pod.
    pub(super) async fn open_port(&self, namespace: &str, name: &str, port: u16) -> Result<Tunnel, Status> {
        let pod = self.pod(namespace, name).await?;
        let (namespace, pod_uid) = (namespace.to_owned(), uid(&pod));
        let forward = PortForward { namespace, pod: name.to_owned(), pod_uid, port: u32::from(port) };
        Ok(self.sessions.open(assigned(&pod, name)?, Request::PortForward(forward)).await?)
    }

    async fn pod(&self, namespace: &str, name: &str) -> Result<Pod, Status> {
        // Without a leader the local state must do: it may be old, but the Pod's containers are where it says.
        if let Err(error) = self.store.barrier().await {
            tracing::debug!(%error, "a stream is opened from the local state");
        }
        let state = self.store.state();
        let found = state.get(&Key::new("", "pods", namespace, name).encode());
        let found = found.ok_or_else(|| Status::not_found(PODS, name))?;
        serde_json::from_slice(&found.value).map_err(|error| Status::internal(format!("the stored Pod: {error}")))
    }
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

fn assigned<'a>(pod: &'a Pod, name: &str) -> Result<&'a str, Status> {
    node(pod).ok_or_else(|| Status::bad_request(format!("pod {name} does not have a host assigned")))
}

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}
