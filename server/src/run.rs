//! The wiring of one replica: store, doors, sessions, the leader's life. Starts everything, and ends it in order. Acts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proto::seam::Env;
use proto::tls::{self, ClientCertificate, Identity};
use raft::{OpenError, Renewals, Store};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::leader::{self, Heartbeats, Leader, Role};
use crate::metrics::Metrics;
use crate::objects::Objects;
use crate::sessions::{self, Sessions};
use crate::streams::Streams;
use crate::{grpc, http, per_term};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the certificates in {dir} cannot be used")]
    Tls {
        dir: String,
        #[source]
        source: tls::Error,
    },
    #[error("the store cannot be opened")]
    Store(#[source] OpenError),
    #[error("this replica serves no longer: {0}. Its data directory is of no more use")]
    Removed(String),
    #[error("this replica ends, to be started again: {0}")]
    Broken(String),
    #[error("cannot listen on {address}")]
    Listen {
        address: String,
        #[source]
        source: std::io::Error,
    },
}

/// How long the store may take to hand the leadership over and to close.
const STORE_SHUTDOWN_MAX: Duration = Duration::from_secs(5);
/// The same where the process stays, and nobody else would take its place.
const STORE_RENEWAL_MAX: Duration = Duration::from_secs(60);

/// A read or a merge that hangs in a failing place of the disk may hold the database so long after that.
const GIVEN_BACK_MAX: Duration = Duration::from_secs(120);
const TAKEN_PAUSE: Duration = Duration::from_secs(1);

/// A store that has stopped says why within this time.
const TOLD_MAX: Duration = Duration::from_secs(1);

/// Why a run of a replica has ended.
enum End {
    /// It was told to.
    Told,
    /// It has found this damage in its data, and is to be run again at once.
    Damaged(String),
}

/// Runs one replica until `shutdown`, or until it cannot begin. A leader hands the leadership over before it ends. One
/// that finds damage in its data begins anew, as after a restart.
pub async fn run(config: Config, env: Env, shutdown: CancellationToken) -> Result<(), Error> {
    run_on(config, env, shutdown, Store::open).await
}

/// The same with the stores that `open` opens, one for each run: on another disk.
pub async fn run_on<F: Future<Output = Result<Store, OpenError>>>(
    config: Config,
    env: Env,
    shutdown: CancellationToken,
    open: impl Fn(raft::Config, Env) -> F,
) -> Result<(), Error> {
    let (mut renewals, mut ended) = (Renewals::default(), None);
    loop {
        let stop = shutdown.child_token();
        match once(config.clone(), renewals.clone(), env.clone(), stop, &open).await {
            Ok(End::Told) => return Ok(()),
            Ok(End::Damaged(_)) if shutdown.is_cancelled() => return Ok(()),
            Ok(End::Damaged(damage)) => {
                renewals.begin(damage);
                ended = Some(Instant::now());
            }
            Err(Error::Store(why)) if why.is_taken() && ended.is_some_and(|ended| ended.elapsed() < GIVEN_BACK_MAX) => {
                tracing::warn!(%why, "the run that has ended holds this still, for its disk is slow: trying again");
                if shutdown.run_until_cancelled(tokio::time::sleep(TAKEN_PAUSE)).await.is_none() {
                    return Ok(());
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// One run. `renewals`: what became of earlier ones.
async fn once<F: Future<Output = Result<Store, OpenError>>>(
    config: Config,
    renewals: Renewals,
    env: Env,
    shutdown: CancellationToken,
    open: &impl Fn(raft::Config, Env) -> F,
) -> Result<End, Error> {
    let identity = |name: &str, authority: &str| {
        let dir = config.pki.display().to_string();
        Identity::load(&config.pki, name, authority).map_err(|source| Error::Tls { dir, source })
    };
    let acceptor = tls::acceptor(&identity("api", "api-ca")?, ClientCertificate::Optional, &["h2", "http/1.1"])
        .map_err(|source| Error::Tls { dir: config.pki.display().to_string(), source })?;
    // The port first: when it is taken, nothing has been touched yet.
    let listener = env
        .net
        .listen(&config.listen)
        .await
        .map_err(|source| Error::Listen { address: config.listen.clone(), source })?;
    let store_config = store_config(&config, renewals, identity("peer", "peer-ca")?);
    // On a full disk it may wait for room for as long as that takes.
    let Some(opened) = shutdown.run_until_cancelled(open(store_config, env.clone())).await else {
        return Ok(End::Told);
    };
    let store = opened.map_err(Error::Store)?;
    tracing::info!(replica = config.id, listen = config.listen, "serving");

    let objects = Objects::new(store.clone(), env.clone());
    let sessions = Sessions::new(
        sessions::Config {
            cluster_id: raft::identity::name(&config.cluster_id).to_owned(),
            epoch: raft::identity::epoch(store.cluster_id()),
            roster: store.roster(),
            standing: store.standing(),
        },
        env.clone(),
    );
    let (role, roles) = watch::channel(Role::Follower);
    let leader = Leader {
        store: store.clone(),
        env: env.clone(),
        heartbeats: Arc::new(sessions.clone()) as Arc<dyn Heartbeats>,
        replicas: addresses(&config),
    };
    let doors = http::Doors {
        objects: objects.clone(),
        streams: Streams::new(store.clone(), sessions.clone(), shutdown.clone()),
        store: store.clone(),
        env,
        metrics: Metrics::default(),
        shutdown: shutdown.clone(),
    };
    let router = router(&config, doors, &sessions);

    let mut tasks = JoinSet::new();
    tasks.spawn(named("its life as a leader", leader::run(leader, role, shutdown.clone())));
    let beside = per_term::run(roles, store.clone(), objects, sessions, shutdown.clone());
    tasks.spawn(named("what it does as a leader", beside));
    tasks.spawn(named("its door", http::serve(listener, acceptor, router, shutdown.clone())));
    let outcome = tokio::select! {
        // In this order: what was told, or found out, ends tasks too.
        biased;
        () = shutdown.cancelled() => Ok(End::Told),
        why = removed(&store) => Err(Error::Removed(why)),
        damage = store.renewal() => {
            tracing::warn!(damage, "this replica begins anew, to be filled by the others");
            Ok(End::Damaged(damage))
        }
        why = broken(&mut tasks, &store) => Err(Error::Broken(why)),
    };
    shutdown.cancel();
    let within = if matches!(outcome, Ok(End::Damaged(_))) { STORE_RENEWAL_MAX } else { STORE_SHUTDOWN_MAX };
    // The leadership goes first, so that the cluster does not notice the rest.
    if tokio::time::timeout(within, store.shutdown()).await.is_err() {
        tracing::warn!("the store did not close in time");
    }
    while tasks.join_next().await.is_some() {}
    outcome
}

/// Waits until this replica is no member any more; then says why.
async fn removed(store: &Store) -> String {
    let mut removed = store.removed();
    let why = removed.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
    match why {
        Some(why) => why,
        // The store has stopped for another reason.
        None => std::future::pending().await,
    }
}

/// Waits until a task has ended that was to last, then says so. Not while the store takes no part and knows why: then
/// nothing leads here in any case, and the replica stays, to tell it and to be repaired.
async fn broken(tasks: &mut JoinSet<&'static str>, store: &Store) -> String {
    while let Some(ended) = tasks.join_next().await {
        let name = match ended {
            Ok(name) => name,
            Err(panicked) => return format!("one of its tasks broke, {panicked}"),
        };
        // What ended the task may not be known yet.
        tokio::time::sleep(TOLD_MAX).await;
        match store.health() {
            Ok(()) => return format!("{name} ended by itself"),
            Err(why) if store.has_broken_down() => return why.to_string(),
            Err(_) => {}
        }
    }
    std::future::pending().await
}

async fn named(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}

fn router(config: &Config, doors: http::Doors, sessions: &Sessions) -> axum::Router {
    let native = grpc::Door {
        objects: doors.objects.clone(),
        streams: doors.streams.clone(),
        store: doors.store.clone(),
        cluster_id: raft::identity::name(&config.cluster_id).into(),
        clock: doors.env.clock.clone(),
    };
    http::router(doors).merge(grpc::routes(native, sessions))
}

/// The members' client addresses that are plain IP addresses: the endpoints of the Service `kubernetes`.
fn addresses(config: &Config) -> Vec<SocketAddr> {
    config.members.iter().filter_map(|member| member.client_address.parse().ok()).collect()
}

fn store_config(config: &Config, renewals: Renewals, tls: Identity) -> raft::Config {
    let member = |member: &crate::config::Member| raft::Member {
        id: member.id,
        peer_address: member.peer_address.clone(),
        client_address: member.client_address.clone(),
    };
    raft::Config {
        id: config.id,
        dir: config.data.clone(),
        peer_listen: config.peer_listen.clone(),
        initial_members: config.members.iter().map(member).collect(),
        cluster_id: config.cluster_id.clone(),
        tls,
        timing: raft::Timing::default(),
        history: raft::HistoryWindow {
            age_max: Duration::from_secs(config.history_seconds),
            bytes_max: config.history_bytes,
        },
        renewals,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_replica_does_not_outlive_its_tasks() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = crate::fixtures::store(dir.path(), Env::real()).await;
        let soon = 10 * TOLD_MAX;

        let mut tasks = JoinSet::new();
        tasks.spawn(named("the rest", std::future::pending()));
        assert!(timeout(2 * TOLD_MAX, broken(&mut tasks, &store)).await.is_err(), "all is well");
        tasks.spawn(named("the door", async {}));
        let why = timeout(soon, broken(&mut tasks, &store)).await.expect("it is noticed");
        assert_eq!(why, "the door ended by itself");
        tasks.spawn(named("the door", async { panic!("this panic is part of the test") }));
        let why = timeout(soon, broken(&mut tasks, &store)).await.expect("it is noticed");
        assert!(why.contains("panicked"), "{why}");

        store.kill().await;
        tasks.spawn(named("the leader's life", async {}));
        assert!(timeout(2 * TOLD_MAX, broken(&mut tasks, &store)).await.is_err(), "the store says why");
    }
}
