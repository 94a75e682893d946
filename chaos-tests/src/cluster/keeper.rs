//! Who keeps Pods with fixed names, as the controller of a StatefulSet would: deletes one every now and then, with its
//! grace, and makes it anew as soon as none has that name any more. Acts.

use std::time::Duration;

use client::{Api, Client, DeleteOptions, Error};
use k8s_openapi::api::core::v1::Pod;
use node::runtime::fake::{Fake, Script};
use proto::seam::Random;
use serde_json::json;

use super::seen::Shared;
use super::user::NAMESPACE;

/// What there is always to be one of, from the beginning to the end.
pub const PODS: [&str; 2] = ["db-0", "db-1"];
const OBEDIENT: &str = "db:1";
/// Runs until its grace is over.
const STUBBORN: &str = "db:2";
const GRACE_S: u64 = 2;
const LOOK: Duration = Duration::from_millis(100);
/// Some are deleted before they run.
const LIVES_MS: (u64, u64) = (50, 3_000);

pub fn add_images(engine: &Fake) {
    engine.add_image(OBEDIENT);
    engine.script(STUBBORN, Script { ignores_stop: true, ..Script::default() });
}

pub fn identity(name: &str) -> String {
    format!("{NAMESPACE}/{name}")
}

pub struct Keeper {
    pub client: Client,
    pub shared: Shared,
    pub random: Random,
    pub name: &'static str,
}

impl Keeper {
    /// Goes by what there is, whatever has become of the last attempt. To the end of the run, for a node that is lost
    /// takes a Pod along.
    pub async fn keep(self) {
        let api: Api<Pod> = self.client.namespaced(NAMESPACE);
        loop {
            let done = match api.find(self.name).await {
                Ok(None) => self.make(&api).await,
                Ok(Some(pod)) if pod.metadata.deletion_timestamp.is_none() && !self.shared.is_quiet() => {
                    self.delete(&api, pod).await
                }
                Ok(Some(_)) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                self.shared.note(format_args!("{}: {error}", self.name));
                self.shared.lock().unknown += u64::from(matches!(error, Error::Unknown(_)));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn make(&self, api: &Api<Pod>) -> Result<(), Error> {
        let image = if self.random.below(2) == 0 { OBEDIENT } else { STUBBORN };
        let pod = serde_json::from_value(json!({
            "metadata": {"name": self.name},
            "spec": {
                "terminationGracePeriodSeconds": GRACE_S,
                "containers": [{"name": "main", "image": image}],
            },
        }));
        let made = api.create(&pod.expect("it is one")).await?;
        self.note("made", &made);
        Ok(())
    }

    /// Once it has lived for a while.
    async fn delete(&self, api: &Api<Pod>, pod: Pod) -> Result<(), Error> {
        let lives = LIVES_MS.0 + self.random.below(LIVES_MS.1 - LIVES_MS.0);
        tokio::time::sleep(Duration::from_millis(lives)).await;
        if self.shared.is_quiet() {
            return Ok(());
        }
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        api.delete(self.name, &DeleteOptions { uid, ..DeleteOptions::default() }).await?;
        self.note("deleted", &pod);
        Ok(())
    }

    fn note(&self, what: &str, pod: &Pod) {
        self.shared.note(format_args!("{} {what}: {:?}", self.name, pod.metadata.uid));
        self.shared.lock().operations += 1;
    }
}
