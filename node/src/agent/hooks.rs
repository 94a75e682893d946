//! Runs a container's hooks, each with a deadline. Acts.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::LifecycleHandler;

use super::execute::{Failed, Job};
use super::probing::definition;
use crate::probe::{self, Subject};
use crate::runtime::{ContainerId, Signal};
use crate::sync::Note;

/// The longest that a start hook may take: its container counts as not started until then.
const POST_START_MAX: Duration = Duration::from_secs(600);

impl Job {
    pub(super) async fn post_start(
        &self,
        container: &str,
        id: &ContainerId,
        hook: &LifecycleHandler,
    ) -> Result<(), Failed> {
        let result = tokio::select! {
            result = self.hook(container, id, hook, POST_START_MAX) => result,
            () = self.cancel.cancelled() => Ok(()),
        };
        if let Err(message) = result {
            self.say(Note::warning("FailedPostStartHook", format!("PostStartHook failed: {message}")).of(container))
                .await;
            let _ = self.hands.runtime.signal(id, Signal::Kill).await;
        }
        Ok(())
    }

    pub(super) async fn pre_stop(&self, container: &str, id: &ContainerId, hook: &LifecycleHandler, longest: Duration) {
        if let Err(message) = self.hook(container, id, hook, longest).await {
            self.say(Note::warning("FailedPreStopHook", format!("PreStopHook failed: {message}")).of(container)).await;
        }
    }

    pub(super) async fn hook(
        &self,
        container: &str,
        id: &ContainerId,
        hook: &LifecycleHandler,
        longest: Duration,
    ) -> Result<(), String> {
        let definition = Arc::new(definition(&self.pod, container));
        let subject = Subject { id: id.clone(), ip: self.ip, definition };
        match tokio::time::timeout(longest, probe::hook(&self.hands.runtime, &subject, hook)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no end within {} s", longest.as_secs())),
        }
    }
}
