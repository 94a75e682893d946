//! A calm stretch: nothing goes wrong, and one thing after another is done over and over at every replica, as fast as it goes.
//! What the processes hold meanwhile is looked at. Acts; [`super::growth`] decides.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use client::{Api, Client};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proto::api::api_client::ApiClient;
use proto::api::{GetRequest, Target, UpdateRequest, WatchRequest};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tonic::transport::Channel;

use super::growth::{Growth, Look, Suspects, Work};
use super::held::Held;
use super::hosts::Hosts;
use super::run::Run;
use super::{namespace, watchers};
use crate::store::seen::Shared;

/// At once. Each has an object of its own.
const WORKERS: usize = 12;
/// Large enough that write buffers and caches are filled again and again.
const VALUE_BYTES: usize = 4 << 10;
const LOOK_EVERY: Duration = Duration::from_millis(50);
const CALL_MAX: Duration = Duration::from_secs(4);
/// A call that failed is made again after so long.
const AGAIN: Duration = Duration::from_millis(50);
/// So often a replica may find an earlier fault's damage now, or be looked at too seldom.
const UNTOLD_MAX: u32 = 3;
/// One sort of work takes some three seconds; a machine may be busy with other things.
const STAGE_MAX: Duration = Duration::from_secs(120);

pub struct Calm {
    config: client::Config,
    addresses: Vec<String>,
    namespace: String,
}

/// One sort of work, shared by those who do it.
struct Stage {
    work: Work,
    all: u64,
    config: client::Config,
    addresses: Vec<String>,
    replicas: Vec<ApiClient<Channel>>,
    namespace: String,
    begun: AtomicU64,
    done: AtomicU64,
    last_failure: Mutex<String>,
}

impl Run {
    /// Nothing goes wrong, and all is done that should leave nothing behind in the processes.
    pub(super) async fn calm(&mut self, name: &str, shared: &Shared) -> Result<(), String> {
        namespace::make(&self.config(), name).await?;
        let (config, addresses) = (self.options.config.clone(), self.hosts.addresses());
        let calm = Calm::prepare(&self.clients[0], config, addresses, name).await?;
        for work in Work::ALL {
            let (mut suspects, mut untold) = (Suspects::default(), 0);
            loop {
                self.settle(shared).await?;
                match calm.stage(work, &self.hosts).await {
                    Ok(growths) => {
                        let again = suspects.take(&growths)?;
                        growths.into_iter().for_each(|(process, growth)| self.report.growth.take(&process, growth));
                        if !again {
                            break;
                        }
                    }
                    Err(why) if untold < UNTOLD_MAX => {
                        untold += 1;
                        shared.note(format_args!("once more: {why}"));
                    }
                    Err(why) => return Err(why),
                }
            }
        }
        namespace::delete(&self.clients[0], name).await
    }
}

impl Calm {
    /// `namespace` is there, and empty.
    pub async fn prepare(
        client: &Client,
        config: client::Config,
        addresses: Vec<String>,
        namespace: &str,
    ) -> Result<Calm, String> {
        let api: Api<ConfigMap> = client.namespaced(namespace);
        for worker in 0..WORKERS {
            match api.create(&object(worker, "small".into())).await {
                Err(error) if !error.is_conflict() => return Err(format!("before the calm: {error}")),
                _ => {}
            }
        }
        Ok(Calm { config, addresses, namespace: namespace.to_owned() })
    }

    /// By how much each process grew meanwhile. An error says why nothing can be told.
    pub async fn stage(&self, work: Work, hosts: &Hosts) -> Result<BTreeMap<String, Growth>, String> {
        let replicas = self.addresses.len() as u64;
        let all = work.times() * replicas;
        let stage = Arc::new(self.begin(work, all)?);
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            workers.spawn(stage.clone().run(worker));
        }
        let looks = stage.look(hosts).await?;
        let growth = |(name, looks): (String, Vec<Look>)| match Growth::of(work, &looks, all, replicas) {
            Ok(growth) => Ok((name, growth)),
            Err(why) => Err(format!("{name} in the calm: {why}")),
        };
        looks.into_iter().map(growth).collect()
    }

    fn begin(&self, work: Work, all: u64) -> Result<Stage, String> {
        let connect = |address: &String| watchers::connect(&self.config, address.clone());
        let replicas = self.addresses.iter().map(connect).collect::<Result<_, _>>();
        Ok(Stage {
            work,
            all,
            config: self.config.clone(),
            addresses: self.addresses.clone(),
            replicas: replicas.map_err(|error| error.to_string())?,
            namespace: self.namespace.clone(),
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
            last_failure: Mutex::default(),
        })
    }
}

impl Stage {
    /// Until all is done: what every process holds, and how much was done by then.
    async fn look(&self, hosts: &Hosts) -> Result<BTreeMap<String, Vec<Look>>, String> {
        let mut looks: BTreeMap<String, Vec<Look>> = BTreeMap::new();
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let deadline = Instant::now() + STAGE_MAX;
        loop {
            ticks.tick().await;
            let done = self.done.load(Relaxed);
            for (name, pid) in hosts.processes() {
                if let Ok(held) = Held::by(pid) {
                    looks.entry(name).or_default().push(Look { done, pid, held });
                }
            }
            if done >= self.all {
                return Ok(looks);
            }
            if Instant::now() > deadline {
                let (work, all, failure) = (self.work, self.all, self.failure().clone());
                return Err(format!(
                    "in the calm {done} of {all} ({work:?}) were done within {STAGE_MAX:?}: {failure}"
                ));
            }
        }
    }

    /// Takes one after another until all are taken. What fails is done again: each counts.
    async fn run(self: Arc<Stage>, worker: usize) {
        loop {
            let number = self.begun.fetch_add(1, Relaxed);
            if number >= self.all {
                return;
            }
            loop {
                let why = match timeout(CALL_MAX, self.once(number, worker)).await {
                    Ok(Ok(())) => break,
                    Ok(Err(why)) => why,
                    Err(_) => format!("no answer within {CALL_MAX:?}"),
                };
                *self.failure() = why;
                sleep(AGAIN).await;
            }
            self.done.fetch_add(1, Relaxed);
        }
    }

    /// By turns at each replica, so that all have done the same share at any time.
    async fn once(&self, number: u64, worker: usize) -> Result<(), String> {
        let place = (number % self.replicas.len() as u64) as usize;
        let all = watchers::target(&self.namespace);
        let target = Some(Target { name: name(worker), ..all.clone() });
        let mut replica = self.replicas[place].clone();
        let done = match self.work {
            Work::Connect => {
                let connected = watchers::connect(&self.config, self.addresses[place].clone());
                replica = connected.map_err(|error| error.to_string())?;
                replica.get(GetRequest { target, ..GetRequest::default() }).await.map(drop)
            }
            Work::Read => replica.get(GetRequest { target, ..GetRequest::default() }).await.map(drop),
            // One that changed nothing would not be written.
            Work::Write => {
                let value = format!("{number} {}", ".".repeat(VALUE_BYTES));
                let json = serde_json::to_vec(&object(worker, value)).map_err(|error| error.to_string())?;
                let request = UpdateRequest { target, json: Bytes::from(json), ..UpdateRequest::default() };
                replica.update(request).await.map(drop)
            }
            Work::Watch => first_event(&mut replica, all).await,
        };
        done.map_err(|status| status.to_string())
    }

    fn failure(&self) -> MutexGuard<'_, String> {
        self.last_failure.lock().expect("no holder of the last failure panics")
    }
}

/// Opens a watch, and closes it when it has said something.
async fn first_event(replica: &mut ApiClient<Channel>, target: Target) -> Result<(), tonic::Status> {
    let request = WatchRequest { target: Some(target), ..WatchRequest::default() };
    let mut stream = replica.watch(request).await?.into_inner();
    let event = stream.message().await?;
    event.map(drop).ok_or_else(|| tonic::Status::unavailable("the watch ended without a word"))
}

fn name(worker: usize) -> String {
    format!("calm-{worker}")
}

fn object(worker: usize, value: String) -> ConfigMap {
    let metadata = ObjectMeta { name: Some(name(worker)), ..ObjectMeta::default() };
    let data = Some(BTreeMap::from([("value".to_owned(), value)]));
    ConfigMap { metadata, data, ..ConfigMap::default() }
}
