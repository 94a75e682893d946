//! This host's Node object: `object` decides what stands in it, `pressure` what the host is short of; `keep` writes what
//! has changed.

mod host;
mod object;

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use tokio_util::sync::CancellationToken;

pub use host::{Facts, capacity, facts};
pub use object::{Change, Identity, change, node};

use crate::report::{Error, SharedApi};

/// How often the host is looked at again. Nothing is written while nothing changes.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Registers the node and keeps its object true until `shutdown`. `look` tells what the host is like now.
pub async fn keep(
    api: SharedApi,
    identity: Identity,
    look: fn(&Path) -> Facts,
    data_dir: PathBuf,
    clock: std::sync::Arc<dyn proto::seam::Clock>,
    shutdown: CancellationToken,
) {
    let keeping = async {
        let mut wait = RETRY_MIN;
        loop {
            let dir = data_dir.clone();
            let facts = proto::seam::apart(move || look(&dir)).await.unwrap_or_default();
            let now = jiff::Timestamp::from_millisecond(clock.now_ms() as i64).unwrap_or_default();
            let wanted = node(&identity, &facts, now);
            match bring_about(&api, &identity.name, &wanted).await {
                Ok(()) => {
                    wait = RETRY_MIN;
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "the Node object could not be written");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = keeping => {}
    }
}

async fn bring_about(api: &SharedApi, name: &str, wanted: &Node) -> Result<(), Error> {
    let Some(standing) = api.find_node(name).await? else {
        match api.create_node(wanted).await {
            Ok(()) => tracing::info!(node = name, "the node is registered"),
            // Created by an earlier try whose answer was lost: the next look compares.
            Err(Error::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
        // A status may be dropped on creation, as the API does for other kinds: see to it.
        let standing = api.find_node(name).await?.unwrap_or_default();
        return write(api, name, change(&standing, wanted)).await;
    };
    write(api, name, change(&standing, wanted)).await
}

async fn write(api: &SharedApi, name: &str, change: Change) -> Result<(), Error> {
    if let Some(patch) = change.meta {
        api.patch_node(name, patch, false).await?;
    }
    if let Some(patch) = change.status {
        api.patch_node(name, patch, true).await?;
    }
    Ok(())
}
