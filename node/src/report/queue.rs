//! The queue of reports: coalesces, bounds, retries. Acts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Error, SharedApi, StatusReport};

/// Statuses under way at one time: a replica batches what arrives together.
const STATUSES_MAX: usize = 16;
/// Events under way at one time, while no status waits.
const EVENTS_MAX: usize = 4;
/// Events that wait. When there are more, the oldest are dropped: an event is a hint, not a fact.
const EVENTS_WAITING_MAX: usize = 1024;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// An event that could not be written so often is dropped.
const EVENT_TRIES_MAX: u32 = 5;

/// The way in. Cheap to clone; never waits.
#[derive(Clone, Default)]
pub struct Reporter(Arc<Inner>);

#[derive(Default)]
struct Inner {
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    /// By uid.
    statuses: BTreeMap<String, StatusReport>,
    events: VecDeque<(Event, u32)>,
    dropped: u64,
}

impl Reporter {
    /// Replaces a status of the same Pod that still waits.
    pub fn status(&self, report: StatusReport) {
        self.lock().statuses.insert(report.uid.clone(), report);
        self.0.news.notify_one();
    }

    /// The Pod is gone: nobody wants its status any more.
    pub fn forget(&self, uid: &str) {
        self.lock().statuses.remove(uid);
    }

    pub fn event(&self, event: Event) {
        self.push_event(event, 0);
        self.0.news.notify_one();
    }

    fn push_event(&self, event: Event, tries: u32) {
        let mut waiting = self.lock();
        let same = waiting.events.iter_mut().find(|(other, _)| other.metadata == event.metadata);
        if let Some((other, _)) = same {
            other.count = Some(other.count.unwrap_or(1) + event.count.unwrap_or(1));
            other.last_timestamp = event.last_timestamp;
            return;
        }
        if waiting.events.len() >= EVENTS_WAITING_MAX {
            waiting.events.pop_front();
            waiting.dropped += 1;
        }
        waiting.events.push_back((event, tries));
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().expect("no holder of the lock panics")
    }
}

/// How one write ended: what is to be tried again.
enum Done {
    Status { uid: String, again: Option<StatusReport> },
    Event { again: Option<(Box<Event>, u32)> },
}

/// Writes what is reported until `shutdown`. What then still waits is dropped: the next agent finds it out anew.
pub async fn run(reporter: Reporter, api: SharedApi, shutdown: CancellationToken) {
    let mut tasks: JoinSet<Done> = JoinSet::new();
    let mut writing: BTreeSet<String> = BTreeSet::new();
    let mut events = 0;
    let mut pause = Duration::ZERO;
    let mut held_until = Instant::now();
    loop {
        if Instant::now() >= held_until {
            let mut waiting = reporter.lock();
            let ready: Vec<String> = waiting.statuses.keys().filter(|uid| !writing.contains(*uid)).cloned().collect();
            for uid in ready.into_iter().take(STATUSES_MAX.saturating_sub(writing.len())) {
                let Some(report) = waiting.statuses.remove(&uid) else { continue };
                writing.insert(uid);
                let api = api.clone();
                tasks.spawn(async move { write_status(&api, report).await });
            }
            while waiting.statuses.is_empty() && events < EVENTS_MAX {
                let Some((event, tries)) = waiting.events.pop_front() else { break };
                events += 1;
                let api = api.clone();
                tasks.spawn(async move { write_event(&api, event, tries).await });
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = reporter.0.news.notified() => {}
            () = tokio::time::sleep_until(held_until), if Instant::now() < held_until => {}
            Some(done) = tasks.join_next() => {
                let failed = match done {
                    Ok(Done::Status { uid, again }) => {
                        writing.remove(&uid);
                        let failed = again.is_some();
                        if let Some(report) = again {
                            // A newer one wins.
                            reporter.lock().statuses.entry(uid).or_insert(report);
                        }
                        failed
                    }
                    Ok(Done::Event { again }) => {
                        events -= 1;
                        let failed = again.is_some();
                        if let Some((event, tries)) = again {
                            reporter.push_event(*event, tries);
                        }
                        failed
                    }
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                };
                if failed {
                    pause = (pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
                    held_until = Instant::now() + pause;
                } else {
                    pause = Duration::ZERO;
                }
            }
        }
    }
}

async fn write_status(api: &SharedApi, report: StatusReport) -> Done {
    let uid = report.uid.clone();
    let again = match api.patch_pod_status(&report.namespace, &report.name, report.patch()).await {
        Ok(()) | Err(Error::NotFound) => None,
        Err(Error::Unavailable(why)) => {
            tracing::debug!(pod = %report.name, namespace = %report.namespace, why, "a status is to be written again");
            Some(report)
        }
        Err(error) => {
            tracing::warn!(pod = %report.name, namespace = %report.namespace, %error, "the status of a Pod was refused");
            None
        }
    };
    Done::Status { uid, again }
}

async fn write_event(api: &SharedApi, event: Event, tries: u32) -> Done {
    let again = match put_event(api, &event).await {
        Err(Error::Unavailable(_)) if tries < EVENT_TRIES_MAX => Some((Box::new(event), tries + 1)),
        Err(error) => {
            tracing::debug!(%error, reason = event.reason.as_deref(), "an event was not written");
            None
        }
        Ok(()) => None,
    };
    Done::Event { again }
}

/// Creates it, or counts the one that stands there.
async fn put_event(api: &SharedApi, event: &Event) -> Result<(), Error> {
    match api.create_event(event).await {
        Err(Error::Conflict(_)) => {}
        other => return other,
    }
    let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
    let name = event.metadata.name.as_deref().unwrap_or_default();
    let Some(standing) = api.find_event(namespace, name).await? else { return Ok(()) };
    let count = standing.count.unwrap_or(1) + event.count.unwrap_or(1);
    let patch = serde_json::json!({"count": count, "lastTimestamp": event.last_timestamp});
    api.patch_event(namespace, name, patch).await
}
