//! Watch: what is there, then every change once and in order, as a stream of events with bounded buffers. Acts (reads only).

use std::collections::VecDeque;
use std::future::pending;
use std::ops::Bound;
use std::pin::Pin;
use std::time::Duration;

use api::Key;
use api::kinds::Kind;
use api::status::Status;
use bytes::Bytes;
use raft::{Change, Gone, HistoryError, News, Previous, State, Store, Watcher};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::answer::{Event, Object};
use super::offer::Offer;
use super::request::{Freshness, Selection, Watch, WatchStart};
use super::{Objects, failure};

/// Objects that are there at first are told in steps of so many.
const INITIAL_STRIDE: usize = 128;
/// Bookmarks come this often at most, while nothing else happens.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(30);
/// A leader confirmed this replica so lately, or is asked to: for all watches together, and where nobody reads besides. The
/// asking has its own deadline.
const CONFIRMED_MAX: Duration = Duration::from_secs(5);
/// No watch lasts longer: a client that asks for more comes again. The clock cannot tell every end that may be asked for.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl Objects {
    pub async fn watch(&self, request: Watch) -> Result<Events, Status> {
        let Watch { target, selection, start, bookmarks, initial_end, timeout, user } = request;
        self.authorize("watch", &target, &user, Some(&selection.fields))?;
        // One that never hears of anything again would look like one to which nothing happens.
        self.store.health().map_err(|unwell| Status::service_unavailable(unwell.to_string(), 1))?;
        let prefix = Bytes::from(Key::prefix(target.kind.group, target.kind.plural, &target.namespace));
        let mut queue = VecDeque::new();
        if let WatchStart::After(_) | WatchStart::Present(Freshness::NotOlderThan(_) | Freshness::Exactly(_)) = start {
            // A replica that is cut off has all up to there, and would tell nothing more.
            self.state(Freshness::Any).await?;
        }
        let (initial, after, watcher) = match start {
            WatchStart::Present(freshness) => {
                self.state(freshness).await?;
                let (state, watcher) = self.store.state_and_watch(prefix.clone()).await;
                let revision = state.revision();
                let initial = Initial { state: Offer::new(state), after: Bound::Unbounded, initial_end };
                (Some(initial), revision, Some(watcher))
            }
            WatchStart::Now => {
                self.newest().await?;
                let (state, watcher) = self.store.state_and_watch(prefix.clone()).await;
                (None, state.revision(), Some(watcher))
            }
            WatchStart::After(revision) => {
                self.not_older_than(revision).await?;
                let watcher = self.store.watch(prefix.clone(), revision);
                let watcher = watcher.map_err(|gone| queue.push_back(too_old(&gone))).ok();
                (None, revision, watcher)
            }
        };
        let now = Instant::now();
        Ok(Events {
            kind: target.kind,
            selection,
            prefix,
            initial,
            watcher,
            queue,
            at: after,
            told: after,
            bookmarks,
            bookmark_due: now + BOOKMARK_INTERVAL,
            end: timeout.map(|timeout| now + timeout.min(TIMEOUT_MAX)),
            ended: self.store.ended(),
            cut_off: Box::pin(cut_off(self.store.clone())),
        })
    }
}

/// The state that a watch begins with, and how far it was told.
struct Initial {
    state: Offer<State>,
    after: Bound<Bytes>,
    initial_end: bool,
}

/// An open watch. Dropping it ends it.
pub struct Events {
    kind: &'static Kind,
    selection: Selection,
    prefix: Bytes,
    initial: Option<Initial>,
    /// `None`: the watch has ended, apart from what is queued.
    watcher: Option<Watcher>,
    queue: VecDeque<Event>,
    /// Everything up to this revision was looked at.
    at: u64,
    /// The newest revision that the client knows, by an event or a bookmark.
    told: u64,
    bookmarks: bool,
    bookmark_due: Instant,
    end: Option<Instant>,
    /// This replica applies nothing any more: the client goes on at another one, from where it is.
    ended: CancellationToken,
    /// Nor does it hear of anything: the same.
    cut_off: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Events {
    /// The next event; `None` at the end. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.take() {
                return Some(event);
            }
            if self.initial.is_some() {
                // Others come in between the steps, however little of them is selected.
                yield_now().await;
                continue;
            }
            let due = (self.bookmarks && self.at > self.told).then_some(self.bookmark_due);
            let end = self.end;
            let watcher = self.watcher.as_mut()?;
            tokio::select! {
                biased;
                () = at(end) => self.finish(),
                () = self.ended.cancelled() => self.finish(),
                () = &mut self.cut_off => self.finish(),
                () = at(due) => self.bookmark(),
                news = watcher.next() => match news {
                    Ok(News::Changes(changes)) => changes.iter().for_each(|change| self.changed(change)),
                    Ok(News::Progress(revision)) => self.at = self.at.max(revision),
                    Err(HistoryError::Gone(gone)) => {
                        self.watcher = None;
                        self.queue.push_back(too_old(&gone));
                    }
                    // The client goes on from where it is, as at the end of its time.
                    Err(HistoryError::Untold(why)) => {
                        tracing::warn!(error = %why, "a watch ends");
                        self.finish();
                    }
                },
            }
        }
    }

    /// What can be told without waiting, and with one step at most of what was there at first: lets a sender put several
    /// events into one write.
    pub fn take(&mut self) -> Option<Event> {
        if self.queue.is_empty() {
            self.tell_initial();
        }
        if let Some(initial) = &self.initial {
            initial.state.taken();
        }
        self.queue.pop_front()
    }

    /// Looks at the next step of what was there at first, and queues what is selected of it.
    fn tell_initial(&mut self) {
        let Some(initial) = self.initial.take() else { return };
        let Some(state) = initial.state.get() else {
            self.watcher = None;
            self.queue.push_back(Event::Error(Box::new(failure::took_nothing())));
            return;
        };
        let after = match &initial.after {
            Bound::Excluded(key) => Some(key.clone()),
            _ => None,
        };
        let mut last = None;
        for (key, versioned) in state.range(&self.prefix, after.as_deref()).take(INITIAL_STRIDE) {
            if self.selection.matches(self.kind, key, &versioned.value) {
                self.queue.push_back(Event::Added(Object::new(versioned.value.clone(), versioned.revision)));
            }
            last = Some(key.clone());
        }
        match last {
            Some(key) => self.initial = Some(Initial { after: Bound::Excluded(key), ..initial }),
            None if initial.initial_end => {
                self.queue.push_back(Event::Bookmark { revision: self.at, initial_end: true });
            }
            None => {}
        }
    }

    fn changed(&mut self, change: &Change) {
        self.at = change.revision;
        if let Some(event) = translate(self.kind, &self.selection, change) {
            self.told = self.at;
            self.queue.push_back(event);
        }
    }

    fn finish(&mut self) {
        self.watcher = None;
        self.bookmark();
    }

    /// Tells the client how far it is, where it does not know.
    fn bookmark(&mut self) {
        if self.bookmarks && self.at > self.told {
            self.told = self.at;
            self.bookmark_due = Instant::now() + BOOKMARK_INTERVAL;
            self.queue.push_back(Event::Bookmark { revision: self.at, initial_end: false });
        }
    }
}

fn too_old(gone: &Gone) -> Event {
    Event::Error(Box::new(failure::too_old(gone)))
}

/// Returns when no leader confirms this replica any more. That it follows one tells nothing: it goes on following whom it does
/// not hear, and a leader that nobody answers goes on leading.
async fn cut_off(store: Store) {
    loop {
        sleep(CONFIRMED_MAX).await;
        if let Err(why) = store.barrier_within(CONFIRMED_MAX).await {
            tracing::debug!(%why, "a watch ends");
            return;
        }
    }
}

async fn at(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => pending().await,
    }
}

/// How a change looks to a watcher that sees only its selection: an object that comes into it is added, one that
/// leaves it is deleted. Where the history forgot what was before, it counts as having been selected.
fn translate(kind: &Kind, selection: &Selection, change: &Change) -> Option<Event> {
    let selected = |value: &Bytes| selection.matches(kind, &change.key, value);
    let object = |value: &Bytes| Object::new(value.clone(), change.revision);
    let (was, before) = match &change.previous {
        Previous::Absent => (false, None),
        Previous::Was(versioned) => (selected(&versioned.value), Some(&versioned.value)),
        Previous::Forgotten => (true, None),
    };
    match (&change.value, was) {
        (Some(value), was) if selected(value) => {
            Some(if was { Event::Modified(object(value)) } else { Event::Added(object(value)) })
        }
        (Some(value), true) => Some(Event::Deleted(object(before.unwrap_or(value)))),
        (None, true) => before.map(|before| Event::Deleted(object(before))),
        (_, false) => None,
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
