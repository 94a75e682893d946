//! Sends every node its work: the full set when a session (or a term) begins, then the differences. Runs on the
//! leader only. Acts; what each node must have is [`super::work`]'s to say.
//!
//! To an agent that has just begun the full set is the word that its Pods are still its own
//! ([ADR 27](../../../docs/adr/0027-who-may-bear-a-name.md)). So a majority must have confirmed, after the session began, that the
//! set is as of a state that holds all that was acknowledged: a leader that was replaced, and does not know it, would hand out
//! what was. And none of them may be about to be given up without the agent's word.
//!
//! All this is done beside the heartbeats, on a small host on the same thread: it takes the thread for a moment at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use api::{Key, object};
use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use proto::session::{Assignment, Item, ReplicaMessage, replica_message};
use raft::{HistoryError, News, ReadError, State, Store, Watcher};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::message::assignments;
use super::registry::{Connected, Sessions};
use super::work::{Index, Stored, Touched, item_key, node_name};

/// All items are of the core group.
const PREFIX: &[u8] = b"core/";
/// Batches of changes that are sent as one difference when they are there already.
const BATCHES_MAX: usize = 64;
/// Before it starts over. A leader that is fenced still leads for a moment, and all its watches end at once.
const PAUSE: Duration = Duration::from_millis(50);
/// As the controllers' planning, pushing has the thread for no longer at a time.
const TURN_MAX: Duration = Duration::from_millis(10);

/// Pushes until `cancel`. `term`: the term this replica leads in; agents refuse a lower one than they have seen.
pub async fn run_pusher(store: Store, sessions: Sessions, term: u64, cancel: CancellationToken) {
    let (store, sessions) = (&store, &sessions);
    let push = start_over(move || follow(store, sessions, term, move || store.barrier()));
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

/// `confirm`: waits until the state here holds all that was acknowledged before the call.
async fn follow<F: Future<Output = Result<(), ReadError>>>(
    store: &Store,
    sessions: &Sessions,
    term: u64,
    confirm: impl Fn() -> F,
) -> Result<Infallible, HistoryError> {
    let (state, mut watcher) = store.state_and_watch(Bytes::from_static(PREFIX)).await;
    let mut pusher = begun(term, state).await;
    let mut changes = sessions.changes();
    changes.mark_changed();
    // At most one.
    let mut confirming = FuturesUnordered::new();
    loop {
        if confirming.is_empty()
            && let Some(newest) = pusher.newest()
        {
            confirming.push(confirmed(&confirm, newest));
        }
        tokio::select! {
            news = watcher.next() => {
                pusher.take_news(news?, &mut Turn::begin()).await;
                take_waiting(&mut pusher, &mut watcher).await?;
            }
            changed = changes.changed() => {
                changed.expect("the sessions outlive the wait for their changes");
                pusher.meet(sessions.connected());
            }
            Some(newest) = confirming.next() => {
                pusher.confirm(newest, &store.state());
                take_waiting(&mut pusher, &mut watcher).await?;
            }
        }
        pusher.send().await;
    }
}

/// Until that is so. Gives `newest` back, the number of a session that had begun before.
async fn confirmed<F: Future<Output = Result<(), ReadError>>>(confirm: impl Fn() -> F, newest: u64) -> u64 {
    let mut said = false;
    while let Err(error) = confirm().await {
        if !std::mem::replace(&mut said, true) {
            tracing::debug!(%error, "whether this replica still leads is not known: new sessions are told nothing");
        }
        tokio::time::sleep(PAUSE).await;
    }
    newest
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

async fn take_waiting(pusher: &mut Pusher, watcher: &mut Watcher) -> Result<(), HistoryError> {
    let mut turn = Turn::begin();
    for _ in 0..BATCHES_MAX {
        match watcher.next().now_or_never() {
            Some(news) => pusher.take_news(news?, &mut turn).await,
            None => break,
        }
    }
    Ok(())
}

/// Since when this task has the thread.
struct Turn(Instant);

impl Turn {
    fn begin() -> Turn {
        Turn(Instant::now())
    }

    /// Between two pieces of what may take long: lets others have the thread where it was long enough.
    async fn pass(&mut self) {
        if self.0.elapsed() >= TURN_MAX {
            tokio::task::yield_now().await;
            *self = Turn::begin();
        }
    }
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
    stage: Stage,
}

enum Stage {
    /// It began after the state here was last confirmed.
    New,
    /// It was confirmed since: the full set is due, as of this state or a later one, as soon as the watch has told as much.
    Due(State),
    /// The full set has a Pod in it that may be given up, or whose Node does not exist. It waits until the Node is back or the
    /// Pod is told to end, and is due as of a state that is confirmed after that: no other is kept until then.
    Withheld,
    /// The last sequence that was sent.
    Told(u64),
}

impl Pusher {
    async fn take_news(&mut self, news: News, turn: &mut Turn) {
        let News::Changes(changes) = news else { return };
        for change in changes {
            let stored = change.value.clone().map(|json| Stored { revision: change.revision, json });
            self.take_in(&change.key, stored);
            turn.pass().await;
        }
    }

    fn take_in(&mut self, key: &[u8], stored: Option<Stored>) {
        if let Some(node) = node_name(key) {
            self.index.take_in_node(node, stored.map(|stored| stored.revision));
        } else if let Some(item) = item_key(key) {
            self.index.take_in(item, stored, &mut self.touched);
        }
    }

    /// New sessions begin with nothing told; those that went are forgotten.
    fn meet(&mut self, connected: Vec<Connected>) {
        let mut before = std::mem::take(&mut self.feeds);
        for session in connected {
            let feed = before.remove(&session.node).filter(|feed| feed.session.number == session.number);
            self.feeds.insert(session.node.clone(), feed.unwrap_or(Feed { session, stage: Stage::New }));
        }
    }

    /// The number of the newest session that waits for the state here to be confirmed.
    fn newest(&self) -> Option<u64> {
        let new = self.feeds.values().filter(|feed| matches!(feed.stage, Stage::New));
        new.map(|feed| feed.session.number).max()
    }

    /// This state was confirmed after the sessions up to this number had begun.
    fn confirm(&mut self, newest: u64, state: &State) {
        for feed in self.feeds.values_mut() {
            if matches!(feed.stage, Stage::New) && feed.session.number <= newest {
                feed.stage = Stage::Due(state.clone());
            }
        }
    }

    /// Sends what is due. A session whose queue is full ends, and its successor is told everything.
    async fn send(&mut self) {
        let touched = std::mem::take(&mut self.touched);
        let mut turn = Turn::begin();
        let mut ended = Vec::new();
        for (node, feed) in &mut self.feeds {
            let messages = feed.due(self.term, &self.index, touched.get(node));
            let Some(last) = messages.last() else { continue };
            feed.stage = Stage::Told(last.sequence);
            let wrap = |one| ReplicaMessage { message: Some(replica_message::Message::Assignment(one)) };
            if !feed.session.push(messages.into_iter().map(wrap).collect()) {
                ended.push(node.clone());
            }
            turn.pass().await;
        }
        for node in ended {
            self.feeds.remove(&node);
        }
    }
}

impl Feed {
    /// What its session is to be sent now, of which these items have changed since the last time.
    fn due(&mut self, term: u64, index: &Index, touched: Option<&BTreeSet<String>>) -> Vec<Assignment> {
        let node = &self.session.node;
        match (&self.stage, touched) {
            (Stage::New, _) | (Stage::Told(_), None) => Vec::new(),
            (Stage::Due(state), _) => {
                let set = index.full(node);
                if is_older(&set, state) || is_unregistered(node, index, state) {
                    return Vec::new();
                }
                if let Some(why) = index.why_withheld(node) {
                    tracing::info!(%node, why, "a new session is not told its work yet");
                    self.stage = Stage::Withheld;
                    return Vec::new();
                }
                let items = set.into_iter().map(|(key, stored)| item(key, stored)).collect();
                assignments(term, 1, true, items, Vec::new())
            }
            (Stage::Withheld, _) => {
                if index.why_withheld(node).is_none() {
                    self.stage = Stage::New;
                }
                Vec::new()
            }
            (Stage::Told(last), Some(keys)) => {
                let (mut upserts, mut removed) = (Vec::new(), Vec::new());
                for key in keys {
                    match index.wanted(node, key) {
                        Some(stored) => upserts.push(item(key, stored)),
                        None => removed.push(key.clone()),
                    }
                }
                assignments(term, last + 1, false, upserts, removed)
            }
        }
    }
}

/// Is something in the set not as it was in this state? Then the watch lags behind it, and will tell.
fn is_older(set: &BTreeMap<&str, &Stored>, state: &State) -> bool {
    set.iter().any(|(key, stored)| {
        let stands = state.get(&[PREFIX, key.as_bytes()].concat()).map(|found| found.revision);
        stored.revision <= state.revision() && stands != Some(stored.revision)
    })
}

/// Does the Node not exist in this state any more, of which the watch has yet to tell?
fn is_unregistered(node: &str, index: &Index, state: &State) -> bool {
    let exists = || state.get(&Key::new("", "nodes", "", node).encode()).is_some();
    index.node(node).is_some_and(|revision| revision <= state.revision() && !exists())
}

fn item(key: &str, stored: &Stored) -> Item {
    Item { key: key.to_owned(), json: object::with_revision(&stored.json, stored.revision).into() }
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;
