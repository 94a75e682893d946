//! Keeps one session with every replica there is, as replicas come and go, and remembers who they are. Acts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::members::Members;
use super::{Shared, dial, remembered};

/// Until the agent shuts down. `dir`: where to remember. Panics with a session that does.
pub async fn run(shared: Arc<Shared>, dir: Option<PathBuf>) {
    let mut sessions: BTreeMap<String, CancellationToken> = BTreeMap::new();
    let mut kept = JoinSet::new();
    let mut saved = shared.replicas.members();
    let mut changes = shared.replicas.changes();
    loop {
        changes.mark_unchanged();
        let wanted = shared.replicas.addresses();
        sessions.retain(|address, stop| {
            let stays = wanted.contains(address);
            if !stays {
                stop.cancel();
            }
            stays
        });
        for address in wanted {
            sessions.entry(address).or_insert_with_key(|address| {
                let stop = shared.shutdown.child_token();
                kept.spawn(dial::keep(shared.clone(), address.clone(), stop.clone()));
                stop
            });
        }
        let members = shared.replicas.members();
        if members != saved {
            tracing::info!(replicas = ?members.addresses, "the replicas of the cluster");
            if let Some(dir) = &dir {
                remember(dir.clone(), members.clone()).await;
            }
            saved = members;
        }
        tokio::select! {
            () = shared.shutdown.cancelled() => break,
            changed = changes.changed() => changed.expect("the replicas outlive their sessions"),
            Some(ended) = kept.join_next() => {
                ended.unwrap_or_else(|broken| std::panic::resume_unwind(broken.into_panic()));
            }
        }
    }
    while kept.join_next().await.is_some() {}
}

async fn remember(dir: PathBuf, members: Members) {
    // A full disk must not keep the agent from its sessions; only the memory of them is at risk.
    match proto::seam::apart(move || remembered::save(&dir, &members)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the replicas could not be remembered"),
        Err(error) => tracing::error!(%error, "the replicas could not be remembered"),
    }
}
