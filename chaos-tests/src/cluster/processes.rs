//! What runs on each host: the replicas and agents of production, started anew by a supervisor when they end. Acts.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use node::runtime::fake::Fake;
use proto::seam::Env;
use raft::{Renewals, Store};
use server::End;

use super::seen::Shared;
use super::setting;
use crate::sim::disk::{Platters, SCRUB};
use crate::sim::links::HostId;

/// How long the supervisor takes.
const RESTART: Duration = Duration::from_secs(1);

pub async fn replica(dir: PathBuf, host: HostId, platters: Platters, env: Env, shared: Shared) {
    let env = setting::marked(env, host);
    supervise(&dir, host, &shared, || async {
        let mut renewals = Renewals::default();
        // As `server::run` does it.
        loop {
            match run(&dir, host, renewals.clone(), &platters, &env, &shared).await? {
                End::Told => return Ok::<_, server::Error>(()),
                End::Damaged(damage) => {
                    shared.note(format_args!("host {host} begins anew: {damage}"));
                    shared.lock().renewals += 1;
                    renewals.begin(damage);
                }
            }
        }
    })
    .await;
}

async fn run(
    dir: &Path,
    host: HostId,
    renewals: Renewals,
    platters: &Platters,
    env: &Env,
    shared: &Shared,
) -> Result<End, server::Error> {
    // As in a crash, of what the run before has not synced only a beginning is there.
    platters.crash();
    let (disk, opened) = (platters.open(), shared.clone());
    let open = move |mut config: raft::Config, env| async move {
        if opened.rots {
            config.timing.scrub = SCRUB;
        }
        let store = Store::open_on(disk, config, env).await?;
        opened.lock().stores.insert(host, store.clone());
        Ok(store)
    };
    let (config, stop) = (setting::replica(dir, host), shared.stop.child_token());
    let ended = server::run_with(config, renewals, env.clone(), stop, open).await;
    let store = shared.lock().stores.remove(&host);
    // One that begins anew to be rid of damage has told nobody yet.
    store.iter().for_each(|store| shared.hear_diagnosis(store));
    ended
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
