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
use super::listing::{Listing, list};
use super::news::News;
use super::observe::observe;
use crate::pod::Host;
use crate::runtime::{Change, ContainerId, Error, Event, Runtime};

const RETRY_AFTER: Duration = Duration::from_secs(1);
/// What could not be looked at is listed again after this: long enough for a look that waits in vain.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Containers looked at together.
pub(super) const LOOKS_MAX: usize = 8;

pub struct Watch {
    pub runtime: Arc<dyn Runtime>,
    pub host: Arc<Host>,
    pub directory: Arc<Directory>,
    pub news: mpsc::Sender<News>,
    pub relist_interval: Duration,
}

/// What listings have found out since the events are followed.
#[derive(Default)]
struct Known {
    /// Does it run, or has it ended? As looks saw it. What was only made is not in here: its start might be missed.
    running: BTreeMap<ContainerId, bool>,
    /// Something has happened to them since the listing under way began: what it tells of them may be older.
    outdated: BTreeSet<ContainerId>,
}

impl Known {
    fn forget(&mut self, id: &ContainerId) {
        self.running.remove(id);
        self.outdated.insert(id.clone());
    }

    fn learn(&mut self, listing: Listing) {
        self.running.retain(|id, _| listing.ids.contains(id));
        let fresh = listing.seen.into_iter().filter(|(id, _)| !self.outdated.contains(id));
        self.running.extend(fresh);
    }
}

impl Watch {
    /// Until `shutdown`. While the engine does not answer, it is asked again every second.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut since_ns = None;
        let following = async {
            loop {
                if let Err(error) = self.follow(&mut since_ns).await {
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

    /// Subscribes first and lists then, so that nothing falls between. Listings and looks run beside the events: one
    /// that hangs, or fails, holds nothing else up. Returns when the events break off.
    async fn follow(&self, since_ns: &mut Option<i64>) -> Result<(), Error> {
        let mut events = self.runtime.events(&self.host.owner, *since_ns).await?;
        let mut known = Known::default();
        let mut looks: JoinSet<()> = JoinSet::new();
        let mut listings: JoinSet<Result<Listing, Error>> = JoinSet::new();
        let permits = Arc::new(Semaphore::new(LOOKS_MAX));
        let mut relist = tokio::time::interval(self.relist_interval);
        relist.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = relist.tick(), if listings.is_empty() => {
                    known.outdated.clear();
                    let (runtime, host, news) = (self.runtime.clone(), self.host.clone(), self.news.clone());
                    listings.spawn(list(runtime, host, news, known.running.clone()));
                }
                Some(listed) = listings.join_next() => match listed {
                    Ok(Ok(listing)) => {
                        if !listing.is_whole {
                            relist.reset_after(LOOK_AGAIN_AFTER.min(self.relist_interval));
                        }
                        known.learn(listing);
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "the engine's containers could not be listed");
                        relist.reset_after(RETRY_AFTER);
                    }
                    // It panicked: without listings the agent is blind.
                    Err(broken) => std::panic::resume_unwind(broken.into_panic()),
                },
                event = events.next() => {
                    let event = event.ok_or_else(|| Error::Unreachable("the stream of events ended".into()))??;
                    *since_ns = (*since_ns).max(Some(event.at_ns));
                    self.heed(event, &mut known, &permits, &mut looks).await;
                }
                Some(_) = looks.join_next() => {}
            }
        }
    }

    async fn heed(&self, event: Event, known: &mut Known, permits: &Arc<Semaphore>, looks: &mut JoinSet<()>) {
        // Should the look at it fail, the next listing looks at it all the same.
        known.forget(&event.id);
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
}
