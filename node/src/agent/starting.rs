//! Starts a container: its mounts, its image, the container itself, its hook. Acts.

use std::path::Path;

use k8s_openapi::api::core::v1::LifecycleHandler;

use super::execute::{Failed, Job, whole};
use super::turns::Rank;
use crate::pod;
use crate::runtime::{ContainerSpec, Credentials, Error, MountSource};
use crate::sync::{Note, Pull};
use crate::volumes;

impl Job {
    pub(super) async fn start(
        &self,
        container: &str,
        pull: Pull,
        credentials: Option<Credentials>,
        check_user: bool,
        spec: &ContainerSpec,
        post_start: Option<Box<LifecycleHandler>>,
    ) -> Result<(), Failed> {
        let runtime = &self.hands.runtime;
        self.prepare_mounts(spec).await?;
        if pull == Pull::Always {
            self.pull(container, &spec.image, credentials.as_ref()).await?;
        }
        if check_user {
            self.check_user(&spec.image).await?;
        }
        let mut turn = self.hands.turns.wait(Rank::GoOn).await;
        self.check_wanted()?;
        let mut made = runtime.create(spec).await;
        if let Err(Error::NoSuchImage(_)) = &made {
            drop(turn);
            if pull == Pull::Never {
                let message = format!("Container image {:?} is not present with pull policy of Never", spec.image);
                self.say(Note::warning("ErrImageNeverPull", &message).of(container)).await;
                return Err(Failed::new("ErrImageNeverPull", message));
            }
            self.pull(container, &spec.image, credentials.as_ref()).await?;
            turn = self.hands.turns.wait(Rank::GoOn).await;
            self.check_wanted()?;
            made = runtime.create(spec).await;
        } else if pull != Pull::Always && made.is_ok() {
            let text = format!("Container image {:?} already present on machine", spec.image);
            self.say(Note::normal("Pulled", text).of(container)).await;
        }
        let id = match made {
            Ok(id) => id,
            Err(error) => {
                if let Error::Conflict(_) = &error {
                    self.look_for(&spec.name).await;
                }
                let reason = match &error {
                    Error::Refused(message) if message.contains("invalid reference format") => "InvalidImageName",
                    _ => "CreateContainerError",
                };
                self.say(Note::warning("Failed", format!("Error: {error}")).of(container)).await;
                return Err(Failed::new(reason, error));
            }
        };
        self.say(Note::normal("Created", format!("Created container: {container}")).of(container)).await;
        let started = runtime.start(&id).await;
        let seen = self.see(&id).await;
        drop(turn);
        match started {
            Ok(()) => {
                self.say(Note::normal("Started", format!("Started container {container}")).of(container)).await;
            }
            Err(error) => {
                let hint = match spec.security.privileged && error.to_string().contains("not permitted") {
                    true => " (the engine's host does not allow privileged containers)",
                    false => "",
                };
                self.say(Note::warning("Failed", format!("Error: {error}{hint}")).of(container)).await;
                // The engine's record tells of it: it counts as an attempt. An engine that was cut short left none.
                return match error {
                    Error::Refused(_) | Error::NotFound(_) | Error::Conflict(_) if seen.is_ok() => Ok(()),
                    error => Err(Failed::new("RunContainerError", error)),
                };
            }
        }
        // It runs, though it may not have been seen: no other start of this attempt would run its hook.
        if let Some(hook) = post_start {
            self.post_start(container, &id, &hook).await?;
        }
        seen.map_err(|error| Failed::new("RunContainerError", error))
    }

    /// A start is given up while it waits, but not in the middle of a call: what a call leaves behind must be known.
    pub(super) fn check_wanted(&self) -> Result<(), Failed> {
        if self.cancel.is_cancelled() { Err(Failed::new("Cancelled", "the Pod ends")) } else { Ok(()) }
    }

    pub(super) async fn pull(
        &self,
        container: &str,
        image: &str,
        credentials: Option<&Credentials>,
    ) -> Result<(), Failed> {
        self.say(Note::normal("Pulling", format!("Pulling image {image:?}")).of(container)).await;
        let pulled = tokio::select! {
            pulled = self.hands.runtime.pull(image, credentials) => pulled,
            () = self.cancel.cancelled() => return self.check_wanted(),
        };
        match pulled {
            Ok(()) => {
                self.say(Note::normal("Pulled", format!("Successfully pulled image {image:?}")).of(container)).await;
                Ok(())
            }
            Err(error) => {
                let text = format!("Failed to pull image {image:?}: {error}");
                self.say(Note::warning("Failed", text).of(container)).await;
                self.say(Note::warning("Failed", "Error: ErrImagePull").of(container)).await;
                let invalid = error.to_string().contains("invalid reference format");
                Err(Failed::new(if invalid { "InvalidImageName" } else { "ErrImagePull" }, error))
            }
        }
    }

    pub(super) async fn check_user(&self, image: &str) -> Result<(), Failed> {
        let user = self.hands.runtime.image_user(image).await;
        let user = user.map_err(|error| Failed::new("CreateContainerError", error))?.unwrap_or_default();
        let name = user.split(':').next().unwrap_or_default();
        let text = match name.parse::<u64>() {
            Ok(0) => "container has runAsNonRoot and image will run as root".to_owned(),
            Ok(_) => return Ok(()),
            Err(_) if name.is_empty() || name == "root" => {
                "container has runAsNonRoot and image will run as root".to_owned()
            }
            Err(_) => format!(
                "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
            ),
        };
        Err(Failed::new("CreateContainerConfigError", text))
    }

    /// Paths that the container will mount: parts of volumes may be missing, and the file for last words is.
    pub(super) async fn prepare_mounts(&self, spec: &ContainerSpec) -> Result<(), Failed> {
        let dir = self.hands.host.pod_dir(pod::uid(&self.pod));
        let labels = spec.labels.clone();
        let message = self.hands.host.message_path(&labels.pod_uid, &labels.container, labels.attempt);
        let paths = spec.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Path(path) => Some(path.clone()),
            MountSource::Memory { .. } => None,
        });
        let paths: Vec<String> = paths.collect();
        let prepare = move || -> Result<(), volumes::Error> {
            volumes::touch_message(&message)?;
            let root = dir.join("volumes");
            for path in &paths {
                let path = Path::new(path);
                let Ok(below) = path.strip_prefix(&root) else { continue };
                // The volume's own directory is the wall around its parts.
                let Some(volume) = below.components().next() else { continue };
                volumes::prepare_mount(&root.join(volume), path)?;
            }
            Ok(())
        };
        let result = proto::seam::apart(prepare).await;
        let result = result.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        result.map_err(|error| Failed::new("CreateContainerConfigError", whole(&error)))
    }
}
