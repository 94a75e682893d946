//! What runs on each host: the replicas and agents of production, started anew by a supervisor when they end. Acts.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use node::runtime::fake::Fake;
use proto::seam::Env;
use raft::{Renewals, Store};

use super::seen::Shared;
use super::setting;
use crate::sim::disk::Platters;
use crate::sim::links::HostId;

/// How long the supervisor takes.
const RESTART: Duration = Duration::from_secs(1);

pub async fn replica(dir: PathBuf, host: HostId, platters: Platters, env: Env, shared: Shared) {
    let env = setting::marked(env, host);
    supervise(&dir, host, &shared, || async {
        // As in a crash, of what the run before has not synced only a beginning is there.
        platters.crash();
        let (disk, opened) = (platters.open(), shared.clone());
        let open = move |config, env| async move {
            let store = Store::open_on(disk, config, env).await?;
            opened.lock().stores.insert(host, store.clone());
            Ok(store)
        };
        let stop = shared.stop.child_token();
        let (config, anew) = (setting::replica(&dir, host), Renewals::default());
        let ended = server::run_with(config, anew, env.clone(), stop, open).await;
        let store = shared.lock().stores.remove(&host);
        // One that begins anew to be rid of damage has told nobody yet.
        store.iter().for_each(|store| shared.hear_diagnosis(store));
        drop(store);
        // The supervisor starts it anew, whatever it has ended for.
        ended.map(drop)
    })
    .await;
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
