//! The agent's loop. One task holds all state; everything slow runs beside it and sends news. Acts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use proto::mutants::{self, Mutant};
use proto::seam::Env;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::clock::Times;
use super::directory::Directory;
use super::entry::Entry;
use super::execute::{Hands, Job};
use super::news::News;
use super::probing;
use super::turns::Turns;
use super::watch::Watch;
use crate::config::Pace;
use crate::pod::{self, Host, Refs};
use crate::report::{Reporter, SharedApi, StatusReport};
use crate::runtime::{ContainerId, NetworkSpec, Runtime};
use crate::session::Work;
use crate::sync::{self, Input, Policy, Step};

/// News that wait for the loop: it never blocks, so they are few.
const NEWS_MAX: usize = 1024;
/// News taken before the Pods they touch are decided anew.
const NEWS_BATCH: usize = 256;
const PROBE_OFFSET_MS_MAX: u64 = 250;
/// A Pod that cannot be decided about is tried again after this, if nothing happens to it before.
const PANIC_PAUSE: SignedDuration = SignedDuration::from_secs(10);

/// What an agent works with.
pub struct Setting {
    pub env: Env,
    pub runtime: Arc<dyn Runtime>,
    pub host: Host,
    pub network: NetworkSpec,
    pub api: SharedApi,
    pub reporter: Reporter,
    pub directory: Arc<Directory>,
    pub back_off: Policy,
    pub pace: Pace,
    /// Containers made or removed at one time.
    pub steps_max: usize,
}

pub struct Agent {
    pub(super) env: Env,
    pub(super) hands: Hands,
    pub(super) reporter: Reporter,
    pub(super) directory: Arc<Directory>,
    pub(super) times: Times,
    back_off: Policy,
    pace: Pace,
    inbox: mpsc::Receiver<News>,
    tasks: TaskTracker,
    pub(super) work: Option<Arc<Work>>,
    /// By uid.
    pub(super) entries: BTreeMap<String, Entry>,
    /// Which Pod a container belongs to, by the container's id.
    pub(super) owners: BTreeMap<ContainerId, String>,
    pub(super) dirty: BTreeSet<String>,
    /// Containers have been listed at least once: until then nothing may be started.
    pub(super) listed: bool,
    /// Containers that were listed and could not be looked at, with the uids of their Pods.
    pub(super) unseen: BTreeMap<ContainerId, String>,
    /// Assigned Pods that cannot be read, by their keys.
    pub(super) unread: BTreeSet<String>,
    pub(super) niceties_said: BTreeSet<&'static str>,
}

impl Agent {
    pub fn new(setting: Setting) -> Agent {
        let (news, inbox) = mpsc::channel(NEWS_MAX);
        let hands = Hands {
            runtime: setting.runtime,
            host: Arc::new(setting.host),
            network: Arc::new(setting.network),
            api: setting.api,
            news,
            turns: Turns::new(setting.steps_max),
        };
        Agent {
            times: Times::new(setting.env.clock.clone()),
            env: setting.env,
            hands,
            reporter: setting.reporter,
            directory: setting.directory,
            back_off: setting.back_off,
            pace: setting.pace,
            inbox,
            tasks: TaskTracker::new(),
            work: None,
            entries: BTreeMap::new(),
            owners: BTreeMap::new(),
            dirty: BTreeSet::new(),
            listed: false,
            unseen: BTreeMap::new(),
            unread: BTreeSet::new(),
            niceties_said: BTreeSet::new(),
        }
    }

    /// Keeps the assigned Pods running until `shutdown`; then their containers are left as they are.
    pub async fn run(mut self, mut work: watch::Receiver<Option<Arc<Work>>>, shutdown: CancellationToken) {
        let watcher = Watch {
            runtime: self.hands.runtime.clone(),
            host: self.hands.host.clone(),
            directory: self.directory.clone(),
            news: self.hands.news.clone(),
            relist_interval: self.pace.relist_interval,
        };
        let mut watching = self.tasks.spawn(watcher.run(shutdown.clone()));
        work.mark_changed();
        loop {
            self.decide_dirty();
            let wake_at = self.next_recheck();
            tokio::select! {
                () = shutdown.cancelled() => break,
                // Before, it ends only if it breaks: without it the agent is blind.
                _ = &mut watching => break,
                changed = work.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let newest = work.borrow_and_update().clone();
                    self.assign(newest);
                }
                Some(news) = self.inbox.recv() => {
                    self.note(news);
                    for _ in 0..NEWS_BATCH {
                        match self.inbox.try_recv() {
                            Ok(news) => self.note(news),
                            Err(_) => break,
                        }
                    }
                }
                () = tokio::time::sleep(wake_at.unwrap_or(Duration::from_secs(3600))) => self.wake_due(),
            }
        }
        for entry in self.entries.values() {
            entry.probes.values().for_each(CancellationToken::cancel);
        }
    }

    fn note(&mut self, news: News) {
        let now = self.now();
        match news {
            News::Seen { at, id, container } => self.seen(at, id, container),
            News::Listed { at, ids, unseen } => self.listed(at, &ids, unseen),
            News::StepDone { uid, slot, outcome } => {
                if let Some(entry) = self.entries.get_mut(&uid) {
                    if let sync::Slot::Container(name) = &slot {
                        entry.starts.remove(name);
                    }
                    entry.memory.note(&slot, outcome, &self.back_off, now);
                    self.directory.set_starting(&uid, entry.memory.is_busy());
                    self.dirty.insert(uid);
                }
            }
            News::PreStopDone { uid, container, id } => {
                if let Some(entry) = self.entries.get_mut(&uid) {
                    entry.memory.note_pre_stop(&container, &id);
                    self.dirty.insert(uid);
                }
            }
            News::Signalled { uid, container, id, delivered } => {
                if let Some(entry) = self.entries.get_mut(&uid) {
                    entry.memory.note_signal(&container, &id, delivered, now);
                    self.dirty.insert(uid);
                }
            }
            News::Said { uid, note } => self.tell(&uid, &note),
            News::Probed { uid, container, id, kind, verdict } => self.probed(uid, container, id, kind, verdict),
        }
    }

    fn decide_dirty(&mut self) {
        let has_seen = self.listed || mutants::on(Mutant::AgentActsBlindly);
        if !has_seen || self.work.is_none() {
            return;
        }
        for uid in std::mem::take(&mut self.dirty) {
            self.decide(&uid);
        }
    }

    fn decide(&mut self, uid: &str) {
        let (Some(work), now, wall) = (self.work.clone(), self.now(), self.times.wall()) else { return };
        let Some(entry) = self.entries.get_mut(uid) else { return };
        // It may be the Pod that cannot be read: its containers are left alone until it can.
        if entry.is_orphan() && self.unread.contains(&entry.key()) {
            return;
        }
        let containers = entry.containers();
        let pod = entry.pod.clone();
        let input = Input {
            pod: &pod,
            containers: &containers,
            refs: Refs(&work),
            host: &self.hands.host,
            policy: &self.back_off,
            removed: entry.removed,
            unseen: self.unseen.values().any(|owner| owner == uid),
            unconfirmed: work.is_remembered && pod::name_comes_back(&pod),
            now,
            wall,
        };
        let Some(decision) = sync::try_decide(&input, &mut entry.memory) else {
            tracing::error!(pod = %pod::full_name(&pod), "deciding about a Pod panicked: it is tried again after a pause");
            entry.recheck_at = now.checked_add(PANIC_PAUSE).ok();
            return;
        };
        entry.recheck_at = decision.recheck_at;
        let place = entry.place(self.hands.host.ip);
        let ip = place.ip;
        // Another Pod may have its name once its object is gone.
        if !entry.removed {
            self.directory.put(pod::namespace(&pod), pod::name(&pod), place);
        }

        let random = self.env.random.clone();
        let offset = || Duration::from_millis(random.below(PROBE_OFFSET_MS_MAX));
        probing::adjust(entry, decision.probes, ip, &self.hands.runtime, &self.hands.news, offset);

        let mut starting = false;
        let mut niceties = false;
        for step in decision.steps {
            let mut cancel = CancellationToken::new();
            match &step {
                Step::CancelStart { container } => {
                    if let Some(start) = entry.starts.remove(container) {
                        start.cancel();
                    }
                    continue;
                }
                Step::Start { container, .. } => {
                    starting = true;
                    niceties = true;
                    cancel = entry.starts.entry(container.clone()).insert_entry(cancel).get().clone();
                }
                Step::MakeSandbox { .. } => starting = true,
                _ => {}
            }
            let job = Job { hands: self.hands.clone(), pod: pod.clone(), ip, cancel };
            self.tasks.spawn(job.perform(step));
        }
        if starting {
            self.directory.set_starting(uid, true);
        }
        if let Some(status) = decision.status
            && !entry.has_told(&status)
        {
            entry.told(status.clone(), now);
            self.reporter.status(StatusReport {
                namespace: pod::namespace(&pod).to_owned(),
                name: pod::name(&pod).to_owned(),
                uid: uid.to_owned(),
                status: Box::new(status),
            });
        }
        if decision.forget {
            entry.probes.values().for_each(CancellationToken::cancel);
            self.entries.remove(uid);
            self.owners.retain(|_, owner| owner != uid);
            self.directory.remove(pod::namespace(&pod), pod::name(&pod), uid);
            self.directory.set_starting(uid, false);
            self.reporter.forget(uid);
        }
        for note in &decision.notes {
            self.tell(uid, note);
        }
        if niceties {
            self.mind_niceties(&pod);
        }
    }
}
