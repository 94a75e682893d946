//! The end of a run: all histories are read, then every process is told to end. Acts.

use std::time::Duration;

use raft::{Change, HistoryError, News, Revision, Store};

use super::historian;
use super::plan::Host;
use super::run::Run;
use super::seen::Shared;
use crate::check::changes::Told;
use crate::check::tasks;

/// Histories are in memory or on a disk that is well by now.
const READ: Duration = Duration::from_secs(2);
/// Processes that are told to end have ended after this, and so have all their tasks: to hand over takes a second at
/// most, to save and to stop five each.
const STOP: Duration = Duration::from_secs(12);

impl Run {
    /// Reads every replica's history as far back as it goes, and keeps what else the verdict needs of the stores.
    pub fn collect(&mut self) {
        for host in self.plan.settled() {
            let (Some(id), shared) = (self.id_at(host), self.shared.clone()) else { continue };
            self.with_store(host, move |store| read_all(id, store, shared));
        }
        let (ids, deadline) = (self.settled_ids(), self.world.now() + READ);
        let unread = |run: &Run| -> Vec<u64> {
            let seen = run.shared.lock();
            ids.iter().filter(|id| !seen.finals.contains_key(id)).copied().collect()
        };
        while !unread(self).is_empty() && self.world.now() < deadline {
            self.world.step();
        }
        let unread = unread(self);
        if !unread.is_empty() && self.shared.lock().violations.is_empty() {
            self.shared.violated(format!("the histories of {unread:?} could not be read within {READ:?}"));
        }
        for host in 0..self.plan.hosts() {
            if let Some(store) = self.store_at(host) {
                self.count_filled(host, &store);
                self.shared.judge(self.keeps_its_history(host, &store));
            }
        }
        let mut seen = self.shared.lock();
        // Whoever was removed holds what it had until then.
        let removed = seen.stores.iter().filter(|(id, _)| !ids.contains(id)).map(|(id, store)| (*id, store.state()));
        let removed: Vec<_> = removed.collect();
        seen.finals.extend(removed);
    }

    /// Who was never filled has forgotten nothing, where the history is as long as in production.
    fn keeps_its_history(&self, host: Host, store: &Store) -> Result<(), String> {
        let oldest = store.oldest();
        let may_lack = !self.plan.windows.is_empty() || self.filled.contains(&host) || self.plan.rots_at(host);
        let why =
            || format!("replica {}'s history begins after revision {oldest}, and it was never filled", store.id());
        if may_lack || oldest == 0 { Ok(()) } else { Err(why()) }
    }

    /// Every process ends when it is told to, and leaves no task behind. Nobody supervises them any more.
    pub fn stop(&mut self) {
        if !self.shared.lock().violations.is_empty() {
            return;
        }
        self.world.note(format_args!("no process has had more than {} tasks", self.tasks.most()));
        self.shared.stop.cancel();
        let (hosts, deadline) = (0..self.plan.hosts(), self.world.now() + STOP);
        while hosts.clone().any(|host| self.world.tasks(host) > 0) && self.world.now() < deadline {
            self.world.step();
        }
        for host in hosts {
            self.shared.judge(tasks::ended(host, self.world.tasks(host), STOP));
        }
    }
}

/// A replica's history as far back as it goes, which may be cut off meanwhile.
async fn read_all(id: u64, store: Store, shared: Shared) {
    let state = store.state();
    let newest = state.revision();
    loop {
        let oldest = store.oldest();
        let mut told = Told { id: 0, prefix: String::new(), after: oldest, upto: oldest, revisions: Vec::new() };
        let error = match read(&store, &shared, &mut told, newest).await {
            Ok(()) => {
                let mut seen = shared.lock();
                seen.histories.insert(id, (oldest, newest));
                seen.finals.insert(id, state);
                return;
            }
            Err(error) => error,
        };
        historian::judge(&store, &shared, told.upto, &error);
        if store.oldest() == oldest {
            return shared.violated(format!("replica {id}'s history ends: {error}"));
        }
    }
}

async fn read(store: &Store, shared: &Shared, told: &mut Told, upto: Revision) -> Result<(), HistoryError> {
    let mut watcher = store.watch(Default::default(), told.after)?;
    while told.upto < upto {
        if let News::Changes(changes) = watcher.next().await? {
            let changes: Vec<Change> = changes.iter().map(|change| (**change).clone()).collect();
            let taken = shared.lock().agreed.take(told, &changes);
            if let Err(why) = taken {
                shared.violated(format!("replica {}'s history: {why}", store.id()));
                return Ok(());
            }
        }
    }
    Ok(())
}
