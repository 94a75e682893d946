//! What can be decided: steps, events to tell, probes to run. Types only.

use k8s_openapi::api::core::v1::{LifecycleHandler, Probe};

use crate::runtime::{ContainerId, ContainerSpec, Credentials, Signal};
use crate::volumes;

#[derive(Clone, Debug)]
pub enum Step {
    /// Set the volumes up, then make and start the pause container.
    MakeSandbox {
        volumes: Vec<volumes::Plan>,
        spec: Box<ContainerSpec>,
    },
    /// Bring the files of volumes up to date.
    RefreshVolumes {
        volumes: Vec<volumes::Plan>,
        fingerprint: [u8; 32],
    },
    /// Get the image as `pull` says, make and start the container, then run its hook.
    Start {
        container: String,
        pull: Pull,
        credentials: Option<Credentials>,
        /// The image must not run as root, and the spec names no user.
        check_user: bool,
        spec: Box<ContainerSpec>,
        post_start: Option<Box<LifecycleHandler>>,
    },
    /// Give a start up: its Pod shall end.
    CancelStart {
        container: String,
    },
    PreStop {
        container: String,
        id: ContainerId,
        hook: Box<LifecycleHandler>,
        seconds_max: u64,
    },
    Signal {
        container: String,
        id: ContainerId,
        signal: Signal,
    },
    /// Forget these containers.
    Sweep {
        ids: Vec<ContainerId>,
    },
    /// Forget these containers, the Pod's volumes and all that was kept for it.
    Clean {
        ids: Vec<ContainerId>,
        memory_volumes: Vec<String>,
    },
    /// Nothing of the Pod is left here: remove its object.
    DeleteObject,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    Always,
    IfNotPresent,
    Never,
}

impl Pull {
    /// Unset: Always for the tag `latest`, else IfNotPresent.
    pub fn of(policy: Option<&str>, image: &str) -> Pull {
        match policy {
            Some("Always") => Pull::Always,
            Some("Never") => Pull::Never,
            Some("IfNotPresent") => Pull::IfNotPresent,
            _ => {
                let last = image.rsplit('/').next().unwrap_or(image);
                let is_latest = !image.contains('@') && (!last.contains(':') || last.ends_with(":latest"));
                if is_latest { Pull::Always } else { Pull::IfNotPresent }
            }
        }
    }
}

/// An event about the Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
    /// The container it is about.
    pub container: Option<String>,
}

impl Note {
    pub fn normal(reason: &'static str, message: impl Into<String>) -> Note {
        Note { warning: false, reason, message: message.into(), container: None }
    }

    pub fn warning(reason: &'static str, message: impl Into<String>) -> Note {
        Note { warning: true, ..Note::normal(reason, message) }
    }

    pub fn of(self, container: &str) -> Note {
        Note { container: Some(container.to_owned()), ..self }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

impl ProbeKind {
    pub fn word(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
        }
    }
}

/// A probe that should be running.
#[derive(Clone, Debug)]
pub struct ProbeWant {
    pub container: String,
    pub id: ContainerId,
    pub kind: ProbeKind,
    pub probe: Probe,
}
