//! Follows the engine: events as they come, and a full listing now and then in case one was lost. Acts (reads only).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::directory::Directory;
use super::news::News;
use super::observe::observe;
use crate::pod::Host;
use crate::runtime::{Change, ContainerId, Error, Event, Runtime};

const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Containers looked at together.
const LOOKS_MAX: usize = 8;

pub struct Watch {
    pub runtime: Arc<dyn Runtime>,
    pub host: Arc<Host>,
    pub directory: Arc<Directory>,
    pub news: mpsc::Sender<News>,
    pub relist_interval: Duration,
}

impl Watch {
    /// Until `shutdown`. While the engine does not answer, it is asked again every second.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut known: BTreeMap<ContainerId, bool> = BTreeMap::new();
        let mut since_ns = None;
        let following = async {
            loop {
                if let Err(error) = self.follow(&mut known, &mut since_ns).await {
                    tracing::debug!(%error, "the engine's events broke off");
                }
                tokio::time::sleep(RETRY_AFTER).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = following => {}
        }
    }

    /// Subscribes first and lists then, so that nothing falls between. Returns when the events break off.
    async fn follow(&self, known: &mut BTreeMap<ContainerId, bool>, since_ns: &mut Option<i64>) -> Result<(), Error> {
        let mut events = self.runtime.events(&self.host.owner, *since_ns).await?;
        let mut looks: JoinSet<()> = JoinSet::new();
        let permits = Arc::new(Semaphore::new(LOOKS_MAX));
        let mut relist = tokio::time::interval(self.relist_interval);
        relist.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = relist.tick() => self.list(known).await?,
                event = events.next() => {
                    let event = event.ok_or_else(|| Error::Unreachable("the stream of events ended".into()))??;
                    *since_ns = (*since_ns).max(Some(event.at_ns));
                    self.heed(event, known, &permits, &mut looks).await;
                }
                Some(_) = looks.join_next() => {}
            }
        }
    }

    async fn heed(
        &self,
        event: Event,
        known: &mut BTreeMap<ContainerId, bool>,
        permits: &Arc<Semaphore>,
        looks: &mut JoinSet<()>,
    ) {
        if event.change == Change::OutOfMemory {
            // It may have ended before this was told, and been listed so: the next listing must look at it all the same.
            known.remove(&event.id);
        }
        match event.change {
            Change::Removed => {
                let _ = self.news.send(News::Seen { at: Instant::now(), id: event.id, container: None }).await;
            }
            // Who starts a container looks at it as well: a second look would be wasted.
            Change::Started if self.directory.is_starting(&event.pod_uid) => {}
            Change::Started | Change::Died | Change::OutOfMemory => {
                let (runtime, host, news) = (self.runtime.clone(), self.host.clone(), self.news.clone());
                let permits = permits.clone();
                looks.spawn(async move {
                    let _permit = permits.acquire_owned().await;
                    // What cannot be seen now, the next listing finds.
                    if let Ok(seen) = observe(&runtime, &host, &event.id).await {
                        let _ = news.send(seen).await;
                    }
                });
            }
        }
    }

    /// Looks at every container whose state is not known, then tells which ones there are.
    async fn list(&self, known: &mut BTreeMap<ContainerId, bool>) -> Result<(), Error> {
        let at = Instant::now();
        let listed = self.runtime.list(&self.host.owner).await?;
        let ids: BTreeSet<ContainerId> = listed.iter().map(|container| container.id.clone()).collect();
        known.retain(|id, _| ids.contains(id));
        let strange = listed.into_iter().filter(|container| known.get(&container.id) != Some(&container.running));
        let strange: Vec<_> = strange.collect();
        let mut looks = futures::stream::iter(strange)
            .map(|container| async move { (observe(&self.runtime, &self.host, &container.id).await, container) })
            .buffer_unordered(LOOKS_MAX);
        while let Some((seen, container)) = looks.next().await {
            let _ = self.news.send(seen?).await;
            known.insert(container.id, container.running);
        }
        drop(looks);
        let _ = self.news.send(News::Listed { at, ids }).await;
        Ok(())
    }
}
