//! The only wiring of an agent: used by `main` and by the simulation alike. Acts.

use std::path::PathBuf;
use std::pin::pin;
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
use crate::tasks::{broken, named};
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
    Session(#[source] session::Error),
    #[error("kubectl's proxy cannot listen on {address}")]
    Proxy {
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("this agent ends, to be started again: {0}")]
    Broken(String),
}

impl From<session::Error> for Error {
    fn from(error: session::Error) -> Error {
        match error {
            session::Error::Broken(why) => Error::Broken(format!("in its sessions, {why}")),
            error => Error::Session(error),
        }
    }
}

/// Runs an agent until `shutdown`. Containers run on: the next agent finds them. An engine that is not there ends the
/// agent at once, before it has touched anything; one that only hangs makes the node NotReady, as it does later on. An
/// agent that has lost a part of itself ends, too: what is left would go on calling the node well.
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
    let mut tasks = JoinSet::new();

    let (health, health_news) = watch::channel(Health { engine_ready: false, message: "not asked yet".into() });
    let pings = config.pace.ping_interval;
    let pinging = health::watch(runtime.clone(), config.network.clone(), pings, health, shutdown.clone());
    tasks.spawn(named("its look at the engine", pinging));

    if let Some(address) = &config.proxy_address {
        let proxy = session::proxy::Proxy::bind(env.net.clone(), address, replicas.clone()).await;
        let proxy = proxy.map_err(|source| Error::Proxy { address: address.clone(), source })?;
        tasks.spawn(named("kubectl's proxy", proxy.run(shutdown.clone())));
    }

    let reporter = Reporter::default();
    tasks.spawn(named("its reports", report::run(reporter.clone(), api.clone(), shutdown.clone())));

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
        let (stop, config, env) = (shutdown.child_token(), config.clone(), env.clone());
        async move {
            // Without the engine's answer there is no telling what the host has to give.
            let Some(info) = first_answer(&runtime, &stop).await else { return };
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
                stop.clone(),
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
            let looping = async {
                agent.run(work, stop.clone()).await;
                // If it has ended by itself, the rest ends with it.
                stop.cancel();
            };
            tokio::join!(registering, looping);
        }
    };
    tasks.spawn(named("its loop", living));

    let mut sessions = pin!(sessions);
    let (outcome, has_sessions) = tokio::select! {
        ended = &mut sessions => (ended.map_err(Error::from), false),
        why = broken(&mut tasks, &shutdown) => (Err(Error::Broken(why)), true),
    };
    shutdown.cancel();
    let ending = async {
        if has_sessions {
            let _ = sessions.await;
        }
        while tasks.join_next().await.is_some() {}
    };
    if tokio::time::timeout(SHUTDOWN_MAX, ending).await.is_err() {
        tracing::warn!("some of the agent's tasks did not end in time");
    }
    outcome
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;

    use async_trait::async_trait;
    use proto::pki::{Authority, Request};
    use proto::seam::{Listener, Net, Random, Stream};
    use proto::tls::Identity;

    use super::*;
    use crate::register::Facts;
    use crate::report::Rehearsal;
    use crate::runtime::fake::Fake;

    /// Nobody is there. Who finds that out has no random numbers any more.
    struct Breaks(Random);

    #[async_trait]
    impl Net for Breaks {
        async fn connect(&self, _address: &str) -> io::Result<Box<dyn Stream>> {
            let broken = catch_unwind(AssertUnwindSafe(|| self.0.below(0)));
            assert!(broken.is_err(), "there is no number below 0");
            Err(io::ErrorKind::ConnectionRefused.into())
        }

        async fn listen(&self, _address: &str) -> io::Result<Box<dyn Listener>> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// Runs for a minute at most. `facts`: what the loop asks for first.
    async fn run_for_a_minute(
        facts: fn(&Path) -> Facts,
        (env, replicas): (Env, Vec<String>),
        shutdown: CancellationToken,
    ) -> Option<Result<(), Error>> {
        proto::tls::install_provider();
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::make("api").unwrap();
        let request = Request { common_name: "system:node:n1", organizations: &["system:nodes"], hosts: &[] };
        let pair = authority.sign(&request).unwrap();
        let identity = Identity {
            certificate_pem: pair.certificate_pem,
            key_pem: pair.key_pem,
            authority_pem: authority.certificate_pem().to_owned(),
        };
        let mut config = Config::new("n1", Vec::new(), identity, dir.path().to_owned());
        config.facts = facts;
        let (engine, api) = (Arc::new(Fake::new(env.clock.clone())), Arc::new(Rehearsal::default()));
        let running = run_with(config, env, engine, api, Replicas::new(replicas), shutdown);
        tokio::time::timeout(Duration::from_secs(60), running).await.ok()
    }

    fn nobody() -> (Env, Vec<String>) {
        (Env::real(), Vec::new())
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_whose_loop_breaks_ends_with_an_error_to_be_started_again() {
        let shutdown = CancellationToken::new();
        let ended = run_for_a_minute(|_| panic!("this panic is part of the test"), nobody(), shutdown).await;
        assert!(matches!(ended, Some(Err(Error::Broken(_)))), "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_whose_sessions_break_ends_with_an_error_to_be_started_again() {
        let random = Random::from_seed(1);
        let env = Env { net: Arc::new(Breaks(random.clone())), random, ..Env::real() };
        let at = (env, vec!["replica:1".to_owned()]);
        let ended = run_for_a_minute(|_| Facts::default(), at, CancellationToken::new()).await;
        let Some(Err(Error::Broken(why))) = &ended else { panic!("{ended:?}") };
        assert!(why.contains("in its sessions"), "{why}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_is_told_to_end_ends_well_and_no_other_ends() {
        let shutdown = CancellationToken::new();
        assert!(run_for_a_minute(|_| Facts::default(), nobody(), shutdown.clone()).await.is_none(), "it lasts");
        let stopping = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            shutdown.cancel();
        };
        let (ended, ()) = tokio::join!(run_for_a_minute(|_| Facts::default(), nobody(), shutdown.clone()), stopping);
        assert!(matches!(ended, Some(Ok(()))), "{ended:?}");
    }
}
