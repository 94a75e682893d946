//! Rounds until the time is up, and the episodes of each: things go wrong, and everything is made well. Acts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::Client;
use tokio::time::Instant;

use super::actions::Action;
use super::ending;
use super::growth::Largest;
use super::hosts::Hosts;
use super::leaks::Leaks;
use super::noticed::{self, Noticed};
use super::onlookers::Onlooker;
use super::plan::{Episode, World};
use super::testimony::{Tally, Testimony};
use super::{plan, pods, round};
use crate::sim::trace::Trace;
use crate::store::seen::Shared;
use crate::store::verdict;
use crate::users::gaps::Gaps;

pub(super) const CALL_MAX: Duration = Duration::from_secs(4);
/// After an episode all must be well again within this: elections, restarts, a replica that is filled anew.
const SETTLE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A supervisor starts a process that ended after so long. Nobody does more: whatever goes wrong, a replica gets over it by itself.
const RESTART_DEAD: Duration = Duration::from_secs(1);
const RESTARTS_MAX: u32 = 6;
/// Nothing goes wrong for so long between two episodes.
const CALM: Duration = Duration::from_millis(700);
/// In so many episodes there is something of everything that replicas tell to be judged.
pub(super) const TELLING_EPISODES: u64 = 10;

pub struct Options {
    pub seed: u64,
    /// No episode begins later than this.
    pub within: Duration,
    /// So many Pods must run whenever all is well; 0: there are no engines.
    pub pods: u32,
    /// Only these, and each once.
    pub only: Option<Vec<u64>>,
    pub config: client::Config,
    /// Where the history of a round that fails is written.
    pub keep: PathBuf,
}

#[derive(Default)]
pub struct Report {
    pub episodes: u64,
    pub faults: BTreeMap<String, u64>,
    pub operations: u64,
    pub unknown: u64,
    pub events: u64,
    /// Bits that were turned over, and those of them that the replica noticed and named.
    pub flipped: u64,
    pub noticed: u64,
    /// Replicas whose process ended by itself, for want of room, and was started anew by the supervisor.
    pub restarts: u64,
    /// The longest without an acknowledged write, and what went wrong then.
    pub gap: (Duration, String),
    pub settled: Duration,
    pub state: String,
    /// The uids of all Pods that ever were part of the whole.
    pub pods: BTreeSet<String>,
    pub leaks: Leaks,
    /// In the calm at the end of each round.
    pub growth: Largest,
    /// What was judged of what replicas tell, of themselves and in bookmarks.
    pub told: Tally,
    pub failures: Vec<String>,
}

pub struct Run {
    pub hosts: Hosts,
    pub options: Options,
    /// One of each replica alone.
    pub(super) clients: Vec<Client>,
    pub report: Report,
    /// How many episodes there were.
    pub(super) next: u64,
    /// Of each replica; who looks on at present is not among them.
    pub(super) onlookers: Vec<Onlooker>,
    testimony: Arc<Mutex<Testimony>>,
}

impl Run {
    pub fn new(hosts: Hosts, options: Options) -> Result<Run, String> {
        let clients = (1..=hosts.count).map(|host| {
            let mut config = options.config.clone();
            (config.addresses, config.timeout) = (vec![hosts.address(host)], CALL_MAX);
            Client::connect(config).map_err(|error| error.to_string())
        });
        let clients: Vec<Client> = clients.collect::<Result<_, _>>()?;
        let testimony = Arc::<Mutex<Testimony>>::default();
        let onlooker = |(host, client): (plan::Host, &Client)| {
            Onlooker::new(host, client.clone(), hosts.log(host), testimony.clone())
        };
        let onlookers = (1..).zip(&clients).map(onlooker).collect();
        Ok(Run { hosts, options, clients, report: Report::default(), next: 0, onlookers, testimony })
    }

    /// Until the time is up, or something is not as it must be.
    pub async fn play(&mut self) {
        let (until, lasts) = (Instant::now() + self.options.within, round::lasts(self.options.within));
        // However long the first one's calm takes.
        let rounds_min = if self.options.within >= 2 * lasts { 2 } else { 1 };
        let mut round = 0;
        while self.report.failures.is_empty() && (round == 0 || self.peek().is_some()) {
            if round >= rounds_min && Instant::now() >= until {
                break;
            }
            let round_ends = until.min(Instant::now() + lasts);
            let trace = Arc::new(Mutex::new(Trace::default()));
            let shared = Shared::new(trace.clone(), Instant::now(), true);
            let ended = self.round(&format!("chaos-{round}"), &shared, round_ends).await;
            let seen = shared.lock();
            // Of a round that went wrong the watchers may not have been told the last changes.
            let judged = verdict::judge(&seen, ended.is_ok());
            self.report.failures.extend(ended.err());
            self.report.failures.extend(seen.violations.iter().cloned());
            self.report.failures.extend(judged.err());
            self.report.operations += seen.operations;
            self.report.unknown += seen.unknown;
            self.report.events += seen.agreed.all().count() as u64;
            self.report.told.bookmarks += seen.bookmarks;
            drop(seen);
            if !self.report.failures.is_empty() {
                let text = trace.lock().expect("no holder of the trace panics").text();
                let _ = std::fs::write(self.options.keep.join("history.txt"), text);
            }
            round += 1;
        }
        let heard = self.hear();
        self.report.failures.extend(heard.err());
        let told = self.testimony.lock().expect("no holder of the testimony panics").tally();
        self.report.told = Tally { bookmarks: self.report.told.bookmarks, ..told };
        if self.report.episodes >= TELLING_EPISODES {
            self.report.failures.extend(self.report.told.untold());
        }
        let logs: Vec<PathBuf> = (1..=self.hosts.count).map(|host| self.hosts.log(host)).collect();
        self.report.failures.extend(ending::panics(&logs));
    }

    /// What the logs have had since they were heard last, and what is to be said of all of them together.
    pub(super) fn hear(&mut self) -> Result<(), String> {
        self.onlookers.iter_mut().try_for_each(Onlooker::listen)?;
        self.testimony.lock().expect("no holder of the testimony panics").judge()
    }

    /// Of somebody who calls any replica.
    pub(super) fn config(&self) -> client::Config {
        client::Config { addresses: self.hosts.addresses(), ..self.options.config.clone() }
    }

    /// Which episode comes next.
    pub(super) fn peek(&self) -> Option<u64> {
        match &self.options.only {
            Some(only) => only.get(self.next as usize).copied(),
            None => Some(self.next),
        }
    }

    pub(super) async fn episode(&mut self, number: u64, shared: &Shared, gaps: &Gaps) -> Result<(), String> {
        let leader = self.settle(shared).await?;
        tokio::time::sleep(CALM).await;
        gaps.take();
        let world = World {
            hosts: self.hosts.count,
            small_disk: self.hosts.small_disk,
            leader,
            engines: self.options.pods > 0,
            links: self.hosts.has_links(),
        };
        let episode = Episode::draw(self.options.seed, number, &world);
        let faults: Vec<String> = episode.faults.iter().map(ToString::to_string).collect();
        let faults = faults.join("; ");
        shared.note(format_args!("EPISODE {number}, leader {leader}: {faults}"));
        for fault in &episode.faults {
            *self.report.faults.entry(fault.name()).or_default() += 1;
        }
        let logs: Vec<usize> = (1..=self.hosts.count).map(|host| self.hosts.log_length(host)).collect();
        let began = Instant::now();
        for (at_ms, action) in episode.actions(self.hosts.count) {
            tokio::time::sleep_until(began + Duration::from_millis(at_ms)).await;
            shared.note(format_args!("{action:?}"));
            if let Action::Transfer(to) = action {
                self.transfer(leader, to);
            }
            if let Some(done) = self.hosts.act(&action).await? {
                shared.note(format_args!("{done}"));
            }
        }
        let ended = Instant::now();
        self.hosts.end_faults().await?;
        let mut settled = self.settle(shared).await.map(drop);
        if settled.is_ok() {
            settled = self.whole().await;
        }
        settled = settled.and_then(|()| self.notice(&episode, &logs));
        let settled = settled.map_err(|why| format!("episode {number} ({faults}): {why}"));
        let (gap, settling) = (gaps.take(), ended.elapsed());
        println!(
            "episode {number:>3}: well again after {:>5.1} s, longest gap in writes {:>5.2} s: {faults}",
            settling.as_secs_f64(),
            gap.as_secs_f64()
        );
        self.report.episodes += 1;
        self.report.settled = self.report.settled.max(settling);
        if gap > self.report.gap.0 {
            self.report.gap = (gap, faults);
        }
        settled
    }

    /// Did the replicas notice what was done to their data? `logs`: how long theirs were before.
    fn notice(&mut self, episode: &Episode, logs: &[usize]) -> Result<(), String> {
        for fault in &episode.faults {
            let Some(host) = noticed::victim(fault) else { continue };
            self.report.flipped += 1;
            match noticed::of(fault, &self.hosts.said_since(host, logs[host as usize - 1])) {
                Noticed::Yes => self.report.noticed += 1,
                Noticed::Not => {}
                Noticed::Never(why) | Noticed::Nameless(why) => return Err(why),
            }
        }
        Ok(())
    }

    /// Where engines run: are all Pods there, and their containers where they should be?
    pub(super) async fn whole(&mut self) -> Result<(), String> {
        if self.options.pods == 0 {
            return Ok(());
        }
        let pods = pods::whole(&self.clients[0], &self.hosts, self.options.pods).await?;
        self.report.pods.extend(pods);
        Ok(())
    }

    fn transfer(&self, from: plan::Host, to: plan::Host) {
        let client = self.clients[from as usize - 1].clone();
        // Whatever comes of it, it is one more thing that happens.
        tokio::spawn(async move { client.transfer_leadership(Some(to)).await.ok() });
    }

    /// Waits until all is well, and does what a supervisor would do for that. Returns who leads.
    pub(super) async fn settle(&mut self, shared: &Shared) -> Result<plan::Host, String> {
        let began = Instant::now();
        let (mut restarts, mut due) = (0, BTreeMap::new());
        loop {
            let why = match ending::look(&self.clients).await {
                Ok(leader) => return Ok(leader),
                Err(why) => why,
            };
            if began.elapsed() > SETTLE || restarts > RESTARTS_MAX {
                let (after, words) = (began.elapsed().as_secs_f64(), self.hosts.last_words());
                return Err(format!("not well {after:.0} s after the faults ended: {why:?}{words}"));
            }
            let ended = self.hosts.ended();
            if let Some(id) = ended.iter().find(|id| Some(**id) != self.hosts.small_disk) {
                return Err(format!("the process of replica {id} ended by itself{}", self.hosts.last_words()));
            }
            due.retain(|id, _| ended.contains(id));
            for id in ended {
                let at = *due.entry(id).or_insert(Instant::now() + RESTART_DEAD);
                if Instant::now() >= at {
                    shared.note(format_args!("replica {id} is started anew: {why:?}"));
                    self.hosts.act(&Action::Start(id)).await?;
                    due.remove(&id);
                    restarts += 1;
                    self.report.restarts += 1;
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
