//! The always-on comparison of the replicas' states, carried on the heartbeats: the leader asks for the digests at
//! an index, a majority's digest is right, and who has another is told to fence itself. The disks' levels travel
//! along. Acts; [`judge`], [`question`], [`words`] and [`told`] decide.

pub mod guard;
pub mod judge;
mod question;
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
use self::judge::Verdict;
use self::question::Question;
use self::told::Told;
use self::words::{Doubt, Finding, Word, Words};
use crate::disk::space::{self, Level};
use crate::machine::published::Published;
use crate::metrics::Metrics;
use crate::types::Raft;

/// A question that not all voters have answered by then is replaced by a newer one, as one is that they have.
const QUESTION_AGE_MAX: Duration = Duration::from_millis(400);
/// Who has not answered it by then is asked it on, beside the newer ones, for so long: where much is written, who lags, or is always
/// later than the others, has no answer to the newest one in time.
const OVERDUE_MAX: Duration = Duration::from_secs(10);
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
    /// All voters have answered the question, or somebody has the one that was overdue.
    news: Notify,
}

#[derive(Default)]
struct Inner {
    question: Option<Question>,
    /// An earlier one, which somebody who is there has still to answer.
    overdue: Option<Question>,
    peers: BTreeMap<u64, Peer>,
    words: Words,
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
        let (inner, told, news) = Default::default();
        Arc::new(Accord { id, published, guard, level, abstains, metrics, inner, told, news })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of the table panics")
    }

    /// The leader's side of a heartbeat to `target`.
    pub fn ask(&self, target: u64) -> peer::Ask {
        let inner = self.inner();
        let overdue = inner.overdue.iter().filter(|question| !question.has_heard(target));
        let questions = inner.question.iter().chain(overdue);
        let indexes: BTreeSet<u64> = questions.flat_map(|question| question.indexes()).collect();
        let indexes = indexes.into_iter().collect();
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
        let Inner { question, overdue, .. } = &mut *inner;
        let is_complete = question.as_mut().is_some_and(|question| {
            question.take(target, report);
            question.is_complete()
        });
        let was_overdue = overdue.as_mut().is_some_and(|overdue| overdue.take(target, report));
        if is_complete || was_overdue {
            self.news.notify_one();
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

    /// One look at the answers. The `voters` are among the `replicas`. Returns how short of room the cluster is.
    fn step(&self, voters: &BTreeSet<u64>, replicas: &BTreeSet<u64>) -> Level {
        let mut inner = self.inner();
        self.hear_overdue(&mut inner, voters);
        if let Some(question) = inner.question.take() {
            let findings = question.findings(voters);
            let over = question.is_complete() || question.asked_at.elapsed() >= QUESTION_AGE_MAX;
            let took_part = self.conclude(&mut inner, voters, &findings, over);
            Metrics::add(&self.metrics.comparisons, u64::from(over && took_part > 1));
            match over {
                false => inner.question = Some(question),
                true if inner.overdue.is_none() && !finds_odd(&findings) => inner.overdue = Some(question),
                true => {}
            }
        }
        let is_awaited = inner.overdue.as_ref().is_some_and(|overdue| self.awaits(&inner, overdue, replicas));
        if !is_awaited {
            inner.overdue = None;
        }
        if inner.question.is_none() {
            let own = self.published.trail().newest();
            inner.question = Some(Question::new(Instant::now(), self.id, voters.clone(), own));
        }
        self.cluster_level(&inner, voters)
    }

    /// One look at the answers that come later than others. It goes before the newer ones, which have the last word.
    fn hear_overdue(&self, inner: &mut Inner, voters: &BTreeSet<u64>) {
        let Some(overdue) = inner.overdue.take() else { return };
        let mut findings = overdue.findings(voters);
        findings.retain(|finding| !inner.words.is_settled(finding));
        let over = inner.words.may_end_doubt(&findings);
        self.conclude(inner, voters, &findings, over);
        // Who was found to be odd is told of it once: he may have another state by now.
        if !findings.is_empty() && !finds_odd(&findings) {
            inner.overdue = Some(overdue);
        }
    }

    /// Is somebody there who has still to answer, and whose answer counts for anything? (Nobody is who asks for nothing.)
    fn awaits(&self, inner: &Inner, question: &Question, replicas: &BTreeSet<u64>) -> bool {
        let is_there = |peer: &Peer| !peer.abstains && peer.heard_at.elapsed() < SILENCE_MAX;
        let owes = |id: &u64| !question.has_heard(*id) && inner.peers.get(id).is_some_and(is_there);
        let asks = question.indexes().next().is_some();
        asks && question.asked_at.elapsed() < OVERDUE_MAX && replicas.iter().any(owes)
    }

    /// Returns how many took part.
    fn conclude(&self, inner: &mut Inner, voters: &BTreeSet<u64>, findings: &[Finding], over: bool) -> usize {
        let conclusion = inner.words.conclude(self.id, voters, findings, over);
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
        conclusion.took_part
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
            let (leads, voters, replicas) = {
                let now = metrics.borrow_watched();
                let voters: BTreeSet<u64> = now.membership_config.voter_ids().collect();
                let replicas: BTreeSet<u64> = now.membership_config.nodes().map(|(id, _)| *id).collect();
                (now.current_leader == Some(self.id), voters, replicas)
            };
            if leads {
                cluster.send_replace(self.step(&voters, &replicas));
            } else {
                *self.inner() = Inner::default();
            }
            let answers = async {
                match leads {
                    true => _ = timeout(QUESTION_AGE_MAX, self.news.notified()).await,
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

fn finds_odd(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| matches!(finding.verdict, Verdict::Odd { .. }))
}

#[cfg(test)]
#[path = "cost_tests.rs"]
mod tests;

#[cfg(test)]
mod late_tests;
