//! A user who has a Deployment and changes its size all the time, so that controllers write through all the faults. Its Pods
//! fit no node: nothing of them runs, on hosts with engines neither. Acts.

use std::time::Duration;

use client::{Api, Error};
use k8s_openapi::api::apps::v1::Deployment;
use proto::seam::Random;
use serde_json::json;

use crate::store::seen::Shared;

const NAME: &str = "scaled";
const REPLICAS_MAX: u64 = 4;
/// Between two changes: at least, and so much more at most.
const PAUSE_MS: (u64, u64) = (300, 1_200);

pub struct Scaler {
    pub api: Api<Deployment>,
    pub shared: Shared,
    pub random: Random,
}

impl Scaler {
    /// Whatever becomes of one change, the next one goes by what there is.
    pub async fn run(self) {
        while !self.shared.is_quiet() {
            let replicas = self.random.below(REPLICAS_MAX + 1) as i32;
            let done = self.scale(replicas).await.map_or_else(|error| error.to_string(), |()| "done".into());
            self.shared.note(format_args!("a Deployment of {replicas}: {done}"));
            let pause = PAUSE_MS.0 + self.random.below(PAUSE_MS.1);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn scale(&self, replicas: i32) -> Result<(), Error> {
        match self.api.find(NAME).await? {
            None => self.api.create(&deployment(replicas)).await.map(drop),
            Some(mut found) => {
                found.spec.replicas = Some(replicas);
                self.api.update(NAME, &found).await.map(drop)
            }
        }
    }
}

fn deployment(replicas: i32) -> Deployment {
    let deployment = serde_json::from_value(json!({
        "metadata": {"name": NAME},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {"labels": {"app": NAME}},
                "spec": {
                    "nodeSelector": {"chaos": "nowhere"},
                    "containers": [{"name": "none", "image": "none:1"}],
                },
            },
        },
    }));
    deployment.expect("it is one")
}
