//! The only wiring of an agent: used by `main` and by the simulation alike. Acts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proto::seam::Env;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, Directory, Setting};
use crate::config::Config;
use crate::health;
use crate::pod::Host;
use crate::register;
use crate::report::{self, Cluster, Reporter, SharedApi};
use crate::runtime::{self, Info, Owner, Runtime};
use crate::session::{self, Health, Replicas};
use crate::tunnels::Streams;

/// One call to the cluster, retries included.
const API_CALL_MAX: Duration = Duration::from_secs(10);
const ENGINE_RETRY: Duration = Duration::from_secs(1);
/// Tasks have this long to end once the agent is told to.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this node has no container engine (is Docker running? DOCKER_HOST can name another socket)")]
    Engine(#[source] runtime::Error),
    #[error("the agent's data directory {path} cannot be used")]
    DataDir {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the agent cannot be a client of the cluster")]
    Client(#[from] client::Error),
    #[error("the agent's sessions cannot begin")]
    Session(#[from] session::Error),
    #[error("kubectl's proxy cannot listen on {address}")]
    Proxy {
        address: String,
        #[source]
        source: std::io::Error,
    },
}

/// Runs an agent until `shutdown`. Containers run on: the next agent finds them. An engine that is not there ends the
/// agent at once, before it has touched anything; one that only hangs makes the node NotReady, as it does later on.
pub async fn run(
    config: Config,
    env: Env,
    runtime: Arc<dyn Runtime>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    if let Err(error @ runtime::Error::Unreachable(_)) = runtime.ping().await {
        return Err(Error::Engine(error));
    }
    let mut settings = client::Config::new(config.replicas.clone(), config.identity.clone());
    settings.env = env.clone();
    settings.timeout = API_CALL_MAX;
    let client = client::Client::connect(settings)?;
    let (replicas, api) = (Replicas::new(config.replicas.clone()), Arc::new(Cluster(client.clone())));
    let following = follow(replicas.clone(), client);
    tokio::select! {
        ended = run_with(config, env, runtime, api, replicas, shutdown) => ended,
        never = following => never,
    }
}

/// The client knows the replicas that the sessions learn of.
async fn follow<T>(replicas: Replicas, client: client::Client) -> T {
    let mut changes = replicas.changes();
    loop {
        client.set_addresses(&replicas.addresses());
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Like [`run`], with another way to write to the cluster.
pub async fn run_with(
    config: Config,
    env: Env,
    runtime: Arc<dyn Runtime>,
    api: SharedApi,
    replicas: Replicas,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    std::fs::create_dir_all(&config.data_dir)
        .map_err(|source| Error::DataDir { path: config.data_dir.clone(), source })?;
    let shutdown = shutdown.child_token();
    // Whatever way this ends, all tasks are told.
    let _end = shutdown.clone().drop_guard();
    let mut tasks: JoinSet<()> = JoinSet::new();

    let (health, health_news) = watch::channel(Health { engine_ready: false, message: "not asked yet".into() });
    let pings = config.pace.ping_interval;
    tasks.spawn(health::watch(runtime.clone(), config.network.clone(), pings, health, shutdown.clone()));

    if let Some(address) = &config.proxy_address {
        let proxy = session::proxy::Proxy::bind(env.net.clone(), address, replicas.clone()).await;
        let proxy = proxy.map_err(|source| Error::Proxy { address: address.clone(), source })?;
        tasks.spawn(proxy.run(shutdown.clone()));
    }

    let reporter = Reporter::default();
    tasks.spawn(report::run(reporter.clone(), api.clone(), shutdown.clone()));

    let directory = Arc::new(Directory::default());
    let tunnels =
        Arc::new(Streams { runtime: runtime.clone(), directory: directory.clone(), clock: env.clock.clone() });
    let (work_sender, work) = watch::channel(None);
    let sessions = session::run(
        session::Config {
            node: config.name.clone(),
            replicas,
            tls: config.identity.clone(),
            heartbeat_interval: config.heartbeat_interval,
            state_dir: Some(config.data_dir.clone()),
        },
        env.clone(),
        health_news,
        work_sender,
        tunnels,
        shutdown.clone(),
    );

    let living = {
        let (shutdown, config, env) = (shutdown.clone(), config.clone(), env.clone());
        async move {
            // Without the engine's answer there is no telling what the host has to give.
            let Some(info) = first_answer(&runtime, &shutdown).await else { return };
            let capacity = register::capacity(&info, &config.capacity, &(config.facts)(&config.data_dir));
            let steps_max = config.capacity.steps_max(info.cpus);
            let identity = register::Identity {
                name: config.name.clone(),
                hostname: config.hostname.clone(),
                ip: config.ip,
                labels: config.labels.clone(),
                capacity,
                info,
            };
            let registering = register::keep(
                api.clone(),
                identity,
                config.facts,
                config.data_dir.clone(),
                env.clock.clone(),
                shutdown.clone(),
            );
            let host = Host {
                owner: Owner { cluster: config.cluster.clone(), node: config.name.clone() },
                node_name: config.name.clone(),
                ip: config.ip,
                data_dir: config.data_dir.clone(),
                pause_image: config.pause_image.clone(),
                pod_network: config.network.name.clone(),
                dns_servers: config.dns_servers.iter().map(ToString::to_string).collect(),
                cluster_domain: config.cluster_domain.clone(),
                capacity,
            };
            let agent = Agent::new(Setting {
                env,
                runtime,
                host,
                network: config.network.clone(),
                api,
                reporter,
                directory,
                back_off: config.back_off,
                pace: config.pace,
                steps_max,
            });
            tokio::join!(registering, agent.run(work, shutdown));
        }
    };
    tasks.spawn(living);

    let result = sessions.await;
    shutdown.cancel();
    let ending = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN_MAX, ending).await.is_err() {
        tracing::warn!("some of the agent's tasks did not end in time");
    }
    Ok(result?)
}

async fn first_answer(runtime: &Arc<dyn Runtime>, shutdown: &CancellationToken) -> Option<Info> {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return None,
            answer = runtime.info() => if let Ok(info) = answer { return Some(info) },
        }
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep(ENGINE_RETRY) => {}
        }
    }
}
