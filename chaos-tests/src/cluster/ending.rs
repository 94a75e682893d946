//! The end of a run: the history is read, then every process is told to end. Acts.

use std::cmp::Reverse;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use node::runtime::fake::Fake;
use raft::{Change, News, Revision, Store};

use super::run::Run;
use super::seen::Shared;
use super::setting;
use crate::check::tasks;
use crate::sim::os;

/// Histories are in memory, or on a disk that is well by now; and scribes write down at once what they read.
const READ: Duration = Duration::from_millis(100);
/// Processes that are told to end have ended after this, and so have all their tasks: the store may take five seconds.
const STOP: Duration = Duration::from_secs(15);

impl Run {
    /// Reads the longest history that a member has, or what scribes have of it, and how often a snapshot was installed: whoever is
    /// filled by one has no history from before.
    pub fn collect(&mut self) {
        let seen = self.shared.lock();
        self.snapshots = seen.stores.values().map(|store| store.metrics().snapshots_installed.load(Relaxed)).sum();
        self.fetched = seen.stores.values().map(|store| store.metrics().history_fetched.load(Relaxed)).sum();
        let members = self.plan.settled();
        let stores = members.iter().filter_map(|host| Some((*host, seen.stores.get(host)?)));
        let longest = stores.min_by_key(|(_, store)| (store.oldest(), Reverse(store.state().revision())));
        let longest = longest.map(|(host, store)| (host, store.clone()));
        drop(seen);
        let Some((host, store)) = longest else { return };
        let newest = store.state().revision();
        if !self.plan.has_scribes() {
            self.world.spawn(host, read(store, newest, self.shared.clone()));
        }
        self.until(self.world.now() + READ);
        if self.plan.has_scribes() {
            self.gather(newest);
        }
    }

    /// What scribes have seen, if it is everything up to here at least.
    fn gather(&self, newest: Revision) {
        let mut seen = self.shared.lock();
        let history: Vec<Change> = seen.agreed.all().cloned().collect();
        let last = history.last().map_or(0, |change| change.revision);
        // Each has a revision of its own, from 1 on.
        if last < newest || history.len() as u64 != last {
            let count = history.len();
            return self.world.note(format_args!("scribes have {count} changes up to {last}, there are {newest}"));
        }
        history.iter().for_each(|change| note(&self.shared, change));
        seen.history = history;
    }

    /// Every process ends when it is told to and leaves no task behind; containers run on.
    pub fn stop(&mut self) {
        if !self.shared.lock().violations.is_empty() {
            return;
        }
        let running = |run: &Run| run.engines.values().map(|engine: &Fake| engine.running().len()).sum::<usize>();
        let before = running(self);
        self.world.note(format_args!("no process has had more than {} tasks", self.tasks.most()));
        self.shared.stop.cancel();
        let (hosts, deadline) = (0..self.plan.hosts(), self.world.now() + STOP);
        while hosts.clone().any(|host| self.world.tasks(host) > 0) && self.world.now() < deadline {
            self.until(self.world.now() + Duration::from_millis(100));
        }
        for host in hosts {
            self.shared.judge(tasks::ended(host, self.world.tasks(host), STOP));
        }
        if running(self) != before {
            self.shared.violated(format!("of {before} containers {} outlive their agents", running(self)));
        }
    }
}

/// A replica's whole history.
async fn read(store: Store, newest: Revision, shared: Shared) {
    let mut watcher = match store.watch(Default::default(), 0) {
        Ok(watcher) => watcher,
        Err(gone) => return shared.note(format_args!("no history reaches back: {gone}")),
    };
    let mut upto = 0;
    while upto < newest {
        match watcher.next().await {
            Ok(News::Changes(changes)) => {
                for change in changes.iter() {
                    upto = change.revision;
                    note(&shared, change);
                    shared.lock().history.push((**change).clone());
                }
            }
            Ok(News::Progress(to)) => upto = to,
            Err(gone) => return shared.violated(format!("the history ends: {gone}")),
        }
    }
}

fn note(shared: &Shared, change: &Change) {
    let (key, sum) = (String::from_utf8_lossy(&change.key), change.value.as_deref().map(crc32fast::hash));
    let (at, by) = (change.proposed_at_ms - os::EPOCH_S * 1000, setting::proposer(change.proposed_at_ms));
    let Change { revision, author, .. } = change;
    shared.note(format_args!("revision {revision} {key} {sum:08x?} by {author} at {at} on host {by}"));
}
