//! The always-on comparison of the replicas' states, carried on the heartbeats: the leader asks for the digests at
//! an index, a majority's digest is right, and who has another is told to fence itself. The disks' levels travel
//! along. Acts; [`judge`], [`words`] and [`told`] decide.

pub mod guard;
pub mod judge;
mod told;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use proto::peer;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use self::guard::Guard;
use self::judge::judge;
use self::told::Told;
use self::words::{Doubt, Finding, Word, Words};
use crate::disk::space::{self, Level};
use crate::machine::published::Published;
use crate::metrics::Metrics;
use crate::types::Raft;

/// A question that not all have answered by then is replaced by a newer one.
const QUESTION_AGE_MAX: Duration = Duration::from_millis(400);
/// What a replica said of its disk holds for so long.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Who answered no longer ago than this, two heartbeats and a little more, is there.
const PRESENT_MAX: Duration = Duration::from_millis(500);

pub struct Accord {
    id: u64,
    published: Arc<Published>,
    guard: Arc<Guard>,
    level: watch::Receiver<Level>,
    abstains: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    inner: Mutex<Inner>,
    told: Mutex<Told>,
    /// All have answered the question.
    complete: Notify,
}

#[derive(Default)]
struct Inner {
    question: Option<Question>,
    peers: BTreeMap<u64, Peer>,
    words: Words,
}

struct Question {
    asked_at: Instant,
    voters: BTreeSet<u64>,
    /// By index, and then by replica.
    digests: BTreeMap<u64, BTreeMap<u64, u64>>,
}

impl Question {
    fn is_complete(&self) -> bool {
        self.digests.values().all(|digests| self.voters.iter().all(|id| digests.contains_key(id)))
    }
}

struct Peer {
    level: Level,
    abstains: bool,
    heard_at: Instant,
}

impl Accord {
    pub fn new(
        id: u64,
        published: Arc<Published>,
        guard: Arc<Guard>,
        (level, abstains): (watch::Receiver<Level>, Arc<AtomicBool>),
        metrics: Arc<Metrics>,
    ) -> Arc<Accord> {
        let (inner, told, complete) = Default::default();
        Arc::new(Accord { id, published, guard, level, abstains, metrics, inner, told, complete })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of the table panics")
    }

    /// The leader's side of a heartbeat to `target`.
    pub fn ask(&self, target: u64) -> peer::Ask {
        let inner = self.inner();
        let indexes = inner.question.iter().flat_map(|question| question.digests.keys().copied()).collect();
        let ask = peer::Ask { indexes, clear: inner.words.is_clear(target), ..peer::Ask::default() };
        match inner.words.of(target).cloned() {
            None => ask,
            Some(Word::Odd { why, index, right }) => {
                peer::Ask { odd: why, right: Some(peer::DigestAt { index, digest: right }), ..ask }
            }
            Some(Word::Doubt(why)) => peer::Ask { doubt: why, ..ask },
        }
    }

    /// The leader's side of the answer.
    pub fn answered(&self, target: u64, report: &peer::Report) {
        let mut inner = self.inner();
        let level = Level::numbered(report.level.into());
        let abstains = report.abstains;
        inner.peers.insert(target, Peer { level, abstains, heard_at: Instant::now() });
        let Some(question) = &mut inner.question else { return };
        for at in &report.digests {
            if let Some(digests) = question.digests.get_mut(&at.index) {
                digests.insert(target, at.digest);
            }
        }
        if question.is_complete() {
            self.complete.notify_one();
        }
    }

    /// The follower's side of a heartbeat of the present leader.
    pub fn obey(&self, ask: &peer::Ask) {
        match &ask.right {
            // A leader of an earlier version does not say what it is about.
            None if !ask.odd.is_empty() => self.guard.shut(&ask.odd),
            None if !ask.doubt.is_empty() => self.guard.doubt(Some(&ask.doubt)),
            None if ask.clear => self.guard.doubt(None),
            None => {}
            Some(right) if self.told().is_refuted(right.index, right.digest) => self.guard.shut(&ask.odd),
            Some(_) => {}
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("no holder of the digests panics")
    }

    /// A fenced replica's state says nothing, and its vote counts for nothing.
    pub fn report(&self, ask: &peer::Ask) -> peer::Report {
        let level = self.level.borrow().number() as u32;
        if self.guard.is_shut() {
            return peer::Report { digests: Vec::new(), level, abstains: true };
        }
        let trail = self.published.trail();
        let mut told = self.told();
        let known = ask.indexes.iter().filter_map(|index| {
            let digest = trail.at(*index)?;
            told.note(*index, digest);
            Some(peer::DigestAt { index: *index, digest })
        });
        let abstains = self.abstains.load(Relaxed);
        peer::Report { digests: known.collect(), level, abstains }
    }

    /// How short of room the cluster is that this replica leads.
    fn cluster_level(&self, inner: &Inner, voters: &BTreeSet<u64>) -> Level {
        let level = |id: &u64| {
            let peer = inner.peers.get(id)?;
            (peer.heard_at.elapsed() < SILENCE_MAX).then_some(peer.level)
        };
        let others: Vec<Option<Level>> = voters.iter().filter(|id| **id != self.id).map(level).collect();
        space::cluster(*self.level.borrow(), &others)
    }

    /// One look at the answers. Returns how short of room the cluster is.
    fn step(&self, voters: &BTreeSet<u64>) -> Level {
        let mut inner = self.inner();
        if let Some(question) = &mut inner.question {
            let finding = |(index, digests): (&u64, &BTreeMap<u64, u64>)| Finding {
                index: *index,
                verdict: judge(voters, digests),
                by: digests.keys().copied().collect(),
            };
            let findings: Vec<Finding> = question.digests.iter().map(finding).collect();
            let over = question.is_complete() || question.asked_at.elapsed() >= QUESTION_AGE_MAX;
            self.conclude(&mut inner, voters, &findings, over);
            if over {
                inner.question = None;
            }
        }
        if inner.question.is_none() {
            let own = self.published.trail().newest();
            let digests = own.into_iter().map(|(index, digest)| (index, BTreeMap::from([(self.id, digest)])));
            let (asked_at, voters) = (Instant::now(), voters.clone());
            inner.question = Some(Question { asked_at, voters, digests: digests.collect() });
        }
        self.cluster_level(&inner, voters)
    }

    fn conclude(&self, inner: &mut Inner, voters: &BTreeSet<u64>, findings: &[Finding], over: bool) {
        let conclusion = inner.words.conclude(self.id, voters, findings, over);
        Metrics::add(&self.metrics.comparisons, u64::from(over && conclusion.took_part > 1));
        for (replica, index) in conclusion.odd {
            Metrics::add(&self.metrics.divergences, 1);
            tracing::error!(replica, index, "a replica's state differs");
        }
        if let Some(why) = conclusion.own {
            self.guard.shut(&why);
        }
        match conclusion.doubt {
            Doubt::Begins(why) => self.guard.doubt(Some(&why)),
            Doubt::Ends => self.guard.doubt(None),
            Doubt::AsBefore => {}
        }
    }

    /// The other voters that could lead: they answered just now, they vote, and nobody doubts their state. With each: is there
    /// enough room on its disk?
    pub fn able(&self, voters: &BTreeSet<u64>) -> Vec<(u64, bool)> {
        let inner = self.inner();
        let able = |id: &u64| {
            let peer = inner.peers.get(id).filter(|peer| !peer.abstains && peer.heard_at.elapsed() < PRESENT_MAX)?;
            let fit = peer.level != Level::Out && inner.words.may_lead(*id);
            fit.then_some((*id, peer.level == Level::Ample))
        };
        voters.iter().filter(|id| **id != self.id).filter_map(able).collect()
    }

    /// Looks at the answers while this replica leads. `cluster` shows how short of room the cluster is. Ends with
    /// `stop`.
    pub async fn run(self: Arc<Self>, raft: Raft, cluster: watch::Sender<Level>, stop: CancellationToken) {
        let (mut metrics, mut level) = (raft.server_metrics(), self.level.clone());
        loop {
            let (leads, voters) = {
                let now = metrics.borrow_watched();
                let voters: BTreeSet<u64> = now.membership_config.voter_ids().collect();
                (now.current_leader == Some(self.id), voters)
            };
            if leads {
                cluster.send_replace(self.step(&voters));
            } else {
                *self.inner() = Inner::default();
            }
            let answers = async {
                match leads {
                    true => _ = timeout(QUESTION_AGE_MAX, self.complete.notified()).await,
                    false => std::future::pending().await,
                }
            };
            let goes_on = tokio::select! {
                () = stop.cancelled() => false,
                // An error: the raft node has ended.
                changed = metrics.changed() => changed.is_ok(),
                changed = level.changed() => changed.is_ok(),
                () = answers => true,
            };
            if !goes_on {
                return;
            }
        }
    }
}

#[cfg(test)]
#[path = "cost_tests.rs"]
mod tests;
