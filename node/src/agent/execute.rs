//! Performs one step with the engine, the disk or the cluster, and tells how it ended. Acts.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::news::News;
use super::observe::observe;
use super::turns::{Rank, Turns};
use crate::pod::{self, Host};
use crate::report::{self, SharedApi};
use crate::runtime::{ContainerId, ContainerSpec, Error, NetworkSpec, Runtime, Signal};
use crate::sync::{Note, Outcome, Slot, Step};
use crate::volumes;

/// What all steps share.
#[derive(Clone)]
pub struct Hands {
    pub runtime: Arc<dyn Runtime>,
    pub host: Arc<Host>,
    pub network: Arc<NetworkSpec>,
    pub api: SharedApi,
    pub news: mpsc::Sender<News>,
    pub turns: Turns,
}

/// One step's surroundings.
pub struct Job {
    pub hands: Hands,
    pub pod: Arc<Pod>,
    pub ip: Option<std::net::IpAddr>,
    pub cancel: CancellationToken,
}

/// How a step failed, as a waiting container shows it.
pub(super) struct Failed {
    pub reason: &'static str,
    pub message: String,
}

impl Failed {
    pub fn new(reason: &'static str, message: impl ToString) -> Failed {
        Failed { reason, message: message.to_string() }
    }
}

impl Job {
    pub async fn perform(self, step: Step) {
        match step {
            Step::MakeSandbox { volumes, spec } => {
                let fingerprint = volumes::fingerprint(&volumes);
                let result = self.make_sandbox(volumes, &spec).await;
                if let Err(failed) = &result {
                    self.say(Note::warning(failed.reason, &failed.message)).await;
                }
                let outcome = result.map(|()| Outcome::Published { fingerprint });
                self.done(Slot::Sandbox, outcome).await;
            }
            Step::RefreshVolumes { volumes, fingerprint } => {
                let result = self.set_up(volumes).await;
                let outcome = result.map(|()| Outcome::Published { fingerprint: Some(fingerprint) });
                self.done(Slot::Volumes, outcome).await;
            }
            Step::Start { container, pull, credentials, check_user, spec, post_start } => {
                let result = self.start(&container, pull, credentials, check_user, &spec, post_start).await;
                self.done(Slot::Container(container), result.map(|()| Outcome::Done)).await;
            }
            Step::CancelStart { .. } => {}
            Step::PreStop { container, id, hook, seconds_max } => {
                self.pre_stop(&container, &id, &hook, Duration::from_secs(seconds_max)).await;
                self.send(News::PreStopDone { uid: self.uid(), container, id }).await;
            }
            Step::Signal { container, id, signal } => {
                let delivered = self.signal(&id, signal).await;
                self.send(News::Signalled { uid: self.uid(), container, id: id.clone(), delivered }).await;
                // The event of its end may get lost.
                if delivered && signal == Signal::Kill {
                    let _ = self.see(&id).await;
                }
            }
            Step::Sweep { ids } => {
                let result = self.remove(&ids).await;
                self.done(Slot::Sweep, result.map(|()| Outcome::Done)).await;
            }
            Step::Clean { ids, memory_volumes } => {
                let result = self.clean(&ids, &memory_volumes).await;
                self.done(Slot::Sandbox, result.map(|()| Outcome::Done)).await;
            }
            Step::DeleteObject => {
                let (namespace, name) = (pod::namespace(&self.pod), pod::name(&self.pod));
                let result = match self.hands.api.delete_pod(namespace, name, pod::uid(&self.pod)).await {
                    // A conflict: another Pod has the name by now.
                    Ok(()) | Err(report::Error::NotFound | report::Error::Conflict(_)) => Ok(Outcome::Done),
                    Err(error) => Err(Failed::new("DeletionFailed", error)),
                };
                self.done(Slot::Object, result).await;
            }
        }
    }

    fn uid(&self) -> String {
        pod::uid(&self.pod).to_owned()
    }

    async fn send(&self, news: News) {
        let _ = self.hands.news.send(news).await;
    }

    pub(super) async fn say(&self, note: Note) {
        self.send(News::Said { uid: self.uid(), note }).await;
    }

    async fn done(&self, slot: Slot, result: Result<Outcome, Failed>) {
        let outcome =
            result.unwrap_or_else(|failed| Outcome::Failed { reason: failed.reason, message: failed.message });
        self.send(News::StepDone { uid: self.uid(), slot, outcome }).await;
    }

    pub(super) async fn see(&self, id: &ContainerId) -> Result<(), Error> {
        let seen = observe(&self.hands.runtime, &self.hands.host, id).await?;
        self.send(seen).await;
        Ok(())
    }

    async fn set_up(&self, plans: Vec<volumes::Plan>) -> Result<(), Failed> {
        if plans.is_empty() {
            return Ok(());
        }
        let dir = self.hands.host.pod_dir(pod::uid(&self.pod)).join("volumes");
        let result = proto::seam::apart(move || volumes::set_up(&dir, &plans)).await;
        let result = result.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        result.map_err(|error| Failed::new("FailedMount", whole(&error)))
    }

    async fn make_sandbox(&self, plans: Vec<volumes::Plan>, spec: &ContainerSpec) -> Result<(), Failed> {
        self.set_up(plans).await?;
        let _turn = self.hands.turns.wait(Rank::Begin).await;
        let failed =
            |error: Error| Failed::new("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {error}"));
        let runtime = &self.hands.runtime;
        let id = match runtime.create(spec).await {
            Ok(id) => id,
            Err(Error::Conflict(message)) => {
                self.look_for(&spec.name).await;
                return Err(failed(Error::Conflict(message)));
            }
            Err(error) => return Err(failed(error)),
        };
        if let Err(error) = runtime.start(&id).await {
            // It is of no use, and its name is wanted again.
            let _ = runtime.remove(&id).await;
            if error.to_string().contains("network") {
                let _ = runtime.ensure_network(&self.hands.network).await;
            }
            return Err(failed(error));
        }
        self.see(&id).await.map_err(failed)
    }

    async fn signal(&self, id: &ContainerId, signal: Signal) -> bool {
        match self.hands.runtime.signal(id, signal).await {
            Ok(()) => true,
            Err(Error::NotFound(_)) => {
                let _ = self.see(id).await;
                true
            }
            Err(error) => {
                tracing::warn!(%error, container = %id, "a container could not be signalled");
                false
            }
        }
    }

    async fn remove(&self, ids: &[ContainerId]) -> Result<(), Failed> {
        let _turn = self.hands.turns.wait(Rank::GoOn).await;
        for id in ids {
            let runtime = &self.hands.runtime;
            runtime.remove(id).await.map_err(|error| Failed::new("FailedKillPod", error))?;
            self.see(id).await.map_err(|error| Failed::new("FailedKillPod", error))?;
        }
        Ok(())
    }

    async fn clean(&self, ids: &[ContainerId], memory_volumes: &[String]) -> Result<(), Failed> {
        self.remove(ids).await?;
        for name in memory_volumes {
            let removed = self.hands.runtime.remove_volume(name).await;
            removed.map_err(|error| Failed::new("FailedKillPod", error))?;
        }
        let dir = self.hands.host.pod_dir(pod::uid(&self.pod));
        let result = proto::seam::apart(move || volumes::remove_pod(&dir)).await;
        let result = result.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        result.map_err(|error| Failed::new("FailedKillPod", whole(&error)))
    }

    /// A container of this name is there already, from an attempt that was cut short: let the loop see it.
    pub(super) async fn look_for(&self, name: &str) {
        let id = ContainerId(name.to_owned());
        if let Ok(Some(container)) = self.hands.runtime.inspect(&id).await {
            let _ = self.see(&container.id).await;
        }
    }
}

/// An error with its causes.
pub(super) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
