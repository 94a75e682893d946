//! What runs on each host: the replicas and agents of production, started anew by a supervisor when they end. Acts.

use std::fmt::Debug;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use node::runtime::fake::Fake;
use proto::seam::Env;
use raft::{OpenError, Store};

use super::seen::Shared;
use super::{scribe, setting};
use crate::sim::disk::{Platters, SCRUB};
use crate::sim::links::HostId;

/// How long the supervisor takes.
const RESTART: Duration = Duration::from_secs(1);

pub async fn replica(config: server::Config, dir: PathBuf, host: HostId, platters: Platters, env: Env, shared: Shared) {
    let env = setting::marked(env, host);
    supervise(&dir, host, &shared, || async {
        let held = AtomicU64::new(0);
        let open = |config: raft::Config, env| {
            let is_held = config.renewals.count > held.swap(config.renewals.count, Relaxed);
            open(host, platters.clone(), is_held, config, env, shared.clone())
        };
        let ended = server::run_on(config.clone(), env.clone(), shared.stop.child_token(), open).await;
        take_leave(host, &shared);
        match ended {
            // Its supervisor knows no better than to start it again.
            Err(server::Error::Removed(why)) => {
                shared.hear_removed(host, config.id, &why);
                Ok(())
            }
            Err(server::Error::Store(why)) if why.is_taken() => {
                shared.violated(format!(
                    "host {host} left it to its supervisor to wait until the run before was gone: {why}"
                ));
                Err(server::Error::Store(why))
            }
            ended => ended,
        }
    })
    .await;
}

/// The store of one run, after that of the one before where the replica begins anew. `is_held`: that one, whose disk is slow, holds
/// what is needed still.
async fn open(
    host: HostId,
    platters: Platters,
    is_held: bool,
    mut config: raft::Config,
    env: Env,
    shared: Shared,
) -> Result<Store, OpenError> {
    take_leave(host, &shared);
    if is_held {
        shared.note(format_args!("host {host} is to begin anew, and cannot yet"));
        return Err(OpenError::Listen { address: config.peer_listen, source: ErrorKind::AddrInUse.into() });
    }
    if config.renewals.count > 0 {
        shared.note(format_args!("host {host} begins anew"));
        shared.lock().renewals += 1;
    }
    if shared.rots {
        config.timing.scrub = SCRUB;
    }
    // As in a crash, of what the run before has not synced only a beginning is there.
    platters.crash();
    let store = Store::open_on(platters.open(), config, env).await?;
    shared.log_bytes.into_iter().for_each(|bytes| store.bound_log(bytes));
    shared.lock().stores.insert(host, store.clone());
    if shared.plan.has_scribes() {
        tokio::spawn(scribe::follow(store.clone(), shared.clone()));
    }
    Ok(store)
}

/// One that begins anew to be rid of damage has told nobody yet.
fn take_leave(host: HostId, shared: &Shared) {
    let store = shared.lock().stores.remove(&host);
    store.iter().for_each(|store| shared.hear_diagnosis(store));
}

pub async fn agent(dir: PathBuf, host: HostId, engine: Fake, env: Env, shared: Shared) {
    supervise(&dir, host, &shared, || {
        let (runtime, stop) = (Arc::new(engine.clone()), shared.stop.child_token());
        node::run(setting::node(&dir, host), env.clone(), runtime, stop)
    })
    .await;
}

async fn supervise<E: Debug, F: Future<Output = Result<(), E>>>(
    dir: &Path,
    host: HostId,
    shared: &Shared,
    run: impl Fn() -> F,
) {
    // Its name is each run's own.
    let dir = dir.display().to_string();
    loop {
        shared.note(format_args!("host {host} starts"));
        let ended = run().await.map_err(|why| format!("{why:?}").replace(&dir, ""));
        shared.note(format_args!("host {host} ended: {ended:?}"));
        if shared.stop.is_cancelled() {
            return shared.judge(ended.map_err(|why| format!("host {host} did not end well: {why}")));
        }
        tokio::time::sleep(RESTART).await;
    }
}
