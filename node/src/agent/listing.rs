//! Lists the engine's containers once, and looks at those whose state is not known. Acts (reads only).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::news::News;
use super::observe::observe;
use super::watch::LOOKS_MAX;
use crate::pod::Host;
use crate::runtime::{ContainerId, Error, Listed, Runtime, State};

/// What a listing has found out.
pub struct Listing {
    pub ids: BTreeSet<ContainerId>,
    /// Does it run, or has it ended? As the looks at them saw it.
    pub seen: Vec<(ContainerId, bool)>,
    /// All that had to be looked at could be.
    pub is_whole: bool,
}

/// Looks at every container that is not as `known` (does it run?) says, then tells which ones there are. A look that
/// fails concerns that container alone.
pub async fn list(
    runtime: Arc<dyn Runtime>,
    host: Arc<Host>,
    news: mpsc::Sender<News>,
    known: BTreeMap<ContainerId, bool>,
) -> Result<Listing, Error> {
    let at = Instant::now();
    let listed = runtime.list(&host.owner).await?;
    let ids: BTreeSet<ContainerId> = listed.iter().map(|container| container.id.clone()).collect();
    let strange: Vec<Listed> =
        listed.into_iter().filter(|container| known.get(&container.id) != Some(&container.running)).collect();
    let mut looks = futures::stream::iter(strange)
        .map(|container| {
            let (runtime, host) = (runtime.clone(), host.clone());
            async move { (observe(&runtime, &host, &container.id).await, container) }
        })
        .buffer_unordered(LOOKS_MAX);
    let (mut seen, mut unseen) = (Vec::new(), BTreeMap::new());
    while let Some((look, container)) = looks.next().await {
        match look {
            Ok(look) => {
                seen.extend(running(&look).map(|running| (container.id, running)));
                let _ = news.send(look).await;
            }
            Err(error) => {
                tracing::warn!(%error, container = %container.id, "a container could not be looked at");
                unseen.insert(container.id, container.pod_uid);
            }
        }
    }
    drop(looks);
    let is_whole = unseen.is_empty();
    let _ = news.send(News::Listed { at, ids: ids.clone(), unseen }).await;
    Ok(Listing { ids, seen, is_whole })
}

/// `None` for one that has neither begun nor ended.
fn running(look: &News) -> Option<bool> {
    let News::Seen { container: Some(container), .. } = look else { return None };
    match &container.state {
        State::Running { .. } => Some(true),
        State::Exited(_) => Some(false),
        State::Created { .. } => None,
    }
}
