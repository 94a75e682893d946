//! Sends every node its work: the full set when a session (or a term) begins, then the differences. Runs on the
//! leader only. Acts; what each node must have is [`super::work`]'s to say.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use api::object;
use bytes::Bytes;
use futures::FutureExt as _;
use proto::session::{Item, ReplicaMessage, replica_message};
use raft::{HistoryError, News, State, Store, Watcher};
use tokio_util::sync::CancellationToken;

use super::message::assignments;
use super::registry::{Connected, Sessions};
use super::work::{Index, Stored, Touched, item_key};

/// All items are of the core group.
const PREFIX: &[u8] = b"core/";
/// Batches of changes that are sent as one difference when they are there already.
const BATCHES_MAX: usize = 64;
/// Before it starts over. A leader that is fenced still leads for a moment, and all its watches end at once.
const PAUSE: Duration = Duration::from_millis(50);

/// Pushes until `cancel`. `term`: the term this replica leads in; agents refuse a lower one than they have seen.
pub async fn run_pusher(store: Store, sessions: Sessions, term: u64, cancel: CancellationToken) {
    let push = start_over(|| follow(&store, &sessions, term));
    tokio::select! {
        () = cancel.cancelled() => {}
        () = push => {}
    }
}

async fn start_over<F: Future<Output = Result<Infallible, HistoryError>>>(mut push: impl FnMut() -> F) {
    loop {
        let Err(error) = push().await;
        // The history was outrun, or cannot be told: everybody gets a full set again.
        tracing::warn!(%error, "pushing work starts over");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow(store: &Store, sessions: &Sessions, term: u64) -> Result<Infallible, HistoryError> {
    let (state, mut watcher) = store.state_and_watch(Bytes::from_static(PREFIX)).await;
    let mut pusher = begun(term, state).await;
    let mut changes = sessions.changes();
    changes.mark_changed();
    loop {
        tokio::select! {
            news = watcher.next() => {
                pusher.take_news(news?);
                take_waiting(&mut pusher, &mut watcher)?;
            }
            changed = changes.changed() => {
                changed.expect("the sessions outlive the wait for their changes");
                pusher.meet(sessions.connected());
            }
        }
        pusher.send();
    }
}

/// With all that there is. Reading it takes long where that is much.
async fn begun(term: u64, state: State) -> Pusher {
    let take_in_all = move || {
        let mut pusher = Pusher { term, index: Index::default(), feeds: BTreeMap::new(), touched: Touched::new() };
        for (key, found) in state.range(PREFIX, None) {
            pusher.take_in(key, Some(Stored { revision: found.revision, json: found.value.clone() }));
        }
        pusher
    };
    match proto::seam::apart(take_in_all).await {
        Ok(pusher) => pusher,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        // The process ends.
        Err(_) => std::future::pending().await,
    }
}

fn take_waiting(pusher: &mut Pusher, watcher: &mut Watcher) -> Result<(), HistoryError> {
    for _ in 0..BATCHES_MAX {
        match watcher.next().now_or_never() {
            Some(news) => pusher.take_news(news?),
            None => break,
        }
    }
    Ok(())
}

struct Pusher {
    term: u64,
    index: Index,
    feeds: BTreeMap<String, Feed>,
    touched: Touched,
}

/// How far one session was told.
struct Feed {
    session: Connected,
    /// The last sequence that was sent; 0 before the full set.
    sequence: u64,
}

impl Pusher {
    fn take_news(&mut self, news: News) {
        let News::Changes(changes) = news else { return };
        for change in changes {
            let stored = change.value.clone().map(|json| Stored { revision: change.revision, json });
            self.take_in(&change.key, stored);
        }
    }

    fn take_in(&mut self, key: &[u8], stored: Option<Stored>) {
        if let Some(item) = item_key(key) {
            self.index.take_in(item, stored, &mut self.touched);
        }
    }

    /// New sessions begin with nothing told; those that went are forgotten.
    fn meet(&mut self, connected: Vec<Connected>) {
        let mut before = std::mem::take(&mut self.feeds);
        for session in connected {
            let feed = before.remove(&session.node).filter(|feed| feed.session.number == session.number);
            self.feeds.insert(session.node.clone(), feed.unwrap_or(Feed { session, sequence: 0 }));
        }
    }

    /// Sends what is due. A session whose queue is full ends, and its successor is told everything.
    fn send(&mut self) {
        let touched = std::mem::take(&mut self.touched);
        let (term, index) = (self.term, &self.index);
        self.feeds.retain(|node, feed| {
            let messages = match (feed.sequence, touched.get(node)) {
                (0, _) => {
                    let items = index.full(node).into_iter().map(|(key, stored)| item(key, stored)).collect();
                    assignments(term, 1, true, items, Vec::new())
                }
                (_, None) => return true,
                (last, Some(keys)) => {
                    let (mut upserts, mut removed) = (Vec::new(), Vec::new());
                    for key in keys {
                        match index.wanted(node, key) {
                            Some(stored) => upserts.push(item(key, stored)),
                            None => removed.push(key.clone()),
                        }
                    }
                    assignments(term, last + 1, false, upserts, removed)
                }
            };
            feed.sequence = messages.last().map_or(feed.sequence, |last| last.sequence);
            let wrap = |one| ReplicaMessage { message: Some(replica_message::Message::Assignment(one)) };
            feed.session.push(messages.into_iter().map(wrap).collect())
        });
    }
}

fn item(key: &str, stored: &Stored) -> Item {
    Item { key: key.to_owned(), json: object::with_revision(&stored.json, stored.revision).into() }
}

#[cfg(test)]
mod tests {
    use raft::Gone;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_gone_at_once_is_not_begun_anew_all_the_time() {
        let mut begun = 0;
        let push = start_over(|| {
            begun += 1;
            assert!(begun < 1000, "it spins");
            async { Err(Gone { asked: 1, oldest: 2 }.into()) }
        });
        assert!(tokio::time::timeout(Duration::from_secs(1), push).await.is_err());
        assert!((15..=25).contains(&begun), "{begun}");
    }
}
