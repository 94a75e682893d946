//! The user, over the SDK: makes a Deployment, changes its image and its size every now and then, and deletes a Pod; with all others
//! who go to the cluster from his host. Acts.

use std::time::Duration;

use client::{Api, Client, DeleteOptions, Error, ListOptions};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use proto::seam::{Env, Random};
use serde_json::json;
use tokio::task::JoinSet;

use super::keeper::{self, Keeper};
use super::operator::Operator;
use super::seen::Shared;
use super::watchers::{Late, watch};
use super::{registers, relief, setting};
use crate::check::settled::Wish;

pub const DEPLOYMENTS: &str = "apps/deployments/default/";
pub const SETS: &str = "apps/replicasets/default/";
pub const PODS: &str = "core/pods/default/";
const DEPLOYMENT: &str = "web";
pub const NAMESPACE: &str = "default";
pub const IMAGES: u64 = 4;
const REPLICAS: (u64, u64) = (2, 6);
const PAUSE_MS: (u64, u64) = (500, 4_000);
const RETRY: Duration = Duration::from_millis(300);

pub fn image(number: u64) -> String {
    format!("web:{number}")
}

pub async fn main(env: Env, shared: Shared) {
    let random = Random::from_seed(env.random.u64());
    let client = Client::connect(setting::user(env.clone())).expect("the configuration is good");
    let mut tasks = JoinSet::new();
    tasks.spawn(watch::<Pod>(client.clone(), shared.clone(), PODS));
    tasks.spawn(watch::<ReplicaSet>(client.clone(), shared.clone(), SETS));
    tasks.spawn(watch::<Deployment>(client.clone(), shared.clone(), DEPLOYMENTS));
    for name in keeper::PODS {
        let (client, random) = (client.clone(), Random::from_seed(random.u64()));
        tasks.spawn(Keeper { client, shared: shared.clone(), random, name }.keep());
    }
    for client in registers::clients(&env, &shared.registers, &random) {
        tasks.spawn(client.run());
    }
    if shared.plan.history().is_some() {
        for replica in shared.plan.replicas() {
            let random = Random::from_seed(random.u64());
            tasks.spawn(Late::new(env.clone(), shared.clone(), random, replica).run());
        }
    }
    if shared.plan.newcomer().is_some() {
        tasks.spawn(Operator::new(client.clone(), env.clone(), shared.clone()).run());
        tasks.spawn(registers::at_newcomer(env.clone(), shared.clone(), Random::from_seed(random.u64())));
    }
    if shared.plan.relieved().is_some() {
        tasks.spawn(relief::relieve(client.clone(), shared.clone()));
    }
    tasks.spawn(User { client, shared: shared.clone(), random }.work());
    shared.stop.cancelled().await;
    tasks.shutdown().await;
}

struct User {
    client: Client,
    shared: Shared,
    random: Random,
}

impl User {
    async fn work(self) {
        let mut wish = Wish { replicas: 3, image: image(1) };
        self.make(&wish).await;
        loop {
            let pause = PAUSE_MS.0 + self.random.below(PAUSE_MS.1 - PAUSE_MS.0);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            if self.shared.is_quiet() {
                return;
            }
            match self.random.below(6) {
                0 => self.delete_pod().await,
                1 | 2 => wish.replicas = (REPLICAS.0 + self.random.below(REPLICAS.1 - REPLICAS.0)) as i32,
                _ => wish.image = image(1 + self.random.below(IMAGES)),
            }
            self.ask(&wish).await;
        }
    }

    async fn make(&self, wish: &Wish) {
        let rolling = match self.random.below(4) {
            0 => json!({"maxSurge": 1, "maxUnavailable": 0}),
            1 => json!({"maxSurge": 0, "maxUnavailable": 1}),
            2 => json!({"maxSurge": "50%", "maxUnavailable": "30%"}),
            _ => json!({}),
        };
        let deployment = serde_json::from_value(json!({
            "metadata": {"name": DEPLOYMENT},
            "spec": {
                "replicas": wish.replicas,
                "selector": {"matchLabels": {"app": DEPLOYMENT}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
                "template": {
                    "metadata": {"labels": {"app": DEPLOYMENT}},
                    "spec": {
                        "terminationGracePeriodSeconds": 2,
                        "containers": [{"name": "main", "image": wish.image}],
                    },
                },
            },
        }));
        let deployment: Deployment = deployment.expect("it is one");
        self.shared.lock().wish = Some((wish.clone(), false));
        let api = self.deployments();
        loop {
            match api.create(&deployment).await {
                Ok(_) => break,
                // An attempt of unknown outcome succeeded.
                Err(error) if error.is_conflict() => break,
                Err(error) => self.shared.note(format_args!("the Deployment cannot be made yet: {error}")),
            }
            tokio::time::sleep(RETRY).await;
        }
        self.acknowledged();
    }

    /// Asks until it is acknowledged. An attempt of unknown outcome that arrives late meets another revision.
    async fn ask(&self, wish: &Wish) {
        self.shared.note(format_args!("{wish:?}"));
        self.shared.lock().wish = Some((wish.clone(), false));
        while let Err(error) = self.try_to_ask(wish).await {
            self.shared.lock().unknown += u64::from(matches!(error, Error::Unknown(_)));
            match &error {
                Error::Api(status) if status.code < 500 && status.code != 409 && status.code != 429 => {
                    return self.shared.violated(format!("a good update was refused: {status:?}"));
                }
                _ => self.shared.note(format_args!("not yet: {error}")),
            }
            tokio::time::sleep(RETRY).await;
        }
        self.acknowledged();
    }

    async fn try_to_ask(&self, wish: &Wish) -> Result<(), Error> {
        let api = self.deployments();
        let mut deployment = api.get(DEPLOYMENT).await?;
        deployment.spec.replicas = Some(wish.replicas);
        let containers = deployment.spec.template.spec.as_mut().map(|spec| &mut spec.containers);
        containers.into_iter().flatten().for_each(|container| container.image = Some(wish.image.clone()));
        api.update(DEPLOYMENT, &deployment).await.map(drop)
    }

    /// One of the Deployment's, once, with whatever success.
    async fn delete_pod(&self) {
        let api: Api<Pod> = self.client.namespaced(NAMESPACE);
        let options = ListOptions { label_selector: format!("app={DEPLOYMENT}"), ..ListOptions::default() };
        let Ok(list) = api.list(&options).await else { return };
        if list.items.is_empty() {
            return;
        }
        let pod = &list.items[self.random.below(list.items.len() as u64) as usize];
        let name = pod.metadata.name.clone().unwrap_or_default();
        let deleted = api.delete(&name, &DeleteOptions::default()).await;
        self.shared.note(format_args!(
            "deleting {name}: {}",
            deleted.map_or_else(|error| error.to_string(), |_| "done".into())
        ));
        self.shared.lock().operations += 1;
    }

    fn deployments(&self) -> Api<Deployment> {
        self.client.namespaced(NAMESPACE)
    }

    fn acknowledged(&self) {
        let mut seen = self.shared.lock();
        seen.operations += 1;
        if let Some((_, acknowledged)) = &mut seen.wish {
            *acknowledged = true;
        }
    }
}
