//! The handle that the rest of a replica holds: propose, read, watch. Acts.

mod for_tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::seam::Env;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backup::Backup;
use crate::command::{Command, Outcome, Revision, Versioned};
use crate::disk::Disk;
use crate::ending;
use crate::handover::HandedOver;
use crate::mend;
use crate::metrics::Metrics;
use crate::open::{self, Running};
use crate::upkeep;

pub use crate::config::{Config, HistoryWindow, Timing};
pub use crate::members::change::ChangeError;
pub use crate::members::plan::MemberChange;
pub use crate::members::{Member, MemberStatus, Roster};
pub use crate::open::OpenError;
pub use crate::past::{Changes, Gone, HistoryError, Untold};
pub use crate::propose::ProposeError;
pub use crate::read::ReadError;
pub use crate::standing::{Role, Standing};
pub use crate::state::State;
pub use crate::trouble::Unwell;
pub use crate::watch::{News, Watcher};

/// Once the leadership is handed over, what is under way gets this long to end.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// What is applied waits while a disk is full, and a backup behind it.
const BACKUP_MAX: Duration = Duration::from_secs(10);

/// A store that is being opened. Should nothing come of it, all ends that was begun, and nothing keeps the directory.
struct Opening {
    disk: Arc<dyn Disk>,
    stop: CancellationToken,
    is_open: bool,
}

impl Drop for Opening {
    fn drop(&mut self) {
        if !self.is_open {
            self.stop.cancel();
            self.disk.close();
        }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Running>,
}

impl Store {
    /// Opens (or makes) the data directory, starts the raft node and the peer listener.
    pub async fn open(config: Config, env: Env) -> Result<Store, OpenError> {
        config.check().map_err(OpenError::Other)?;
        let disk = Arc::new(mend::database(&config)?);
        Store::open_on(disk, config, env).await
    }

    /// Like [`Store::open`], on any disk. It waits for room where there is none, for any time; dropped, it has given the
    /// directory back.
    pub async fn open_on(disk: Arc<dyn Disk>, config: Config, env: Env) -> Result<Store, OpenError> {
        config.check().map_err(OpenError::Other)?;
        let mut opening = Opening { disk: disk.clone(), stop: CancellationToken::new(), is_open: false };
        let running = open::start(disk, config, env, opening.stop.clone()).await?;
        opening.is_open = true;
        Ok(Store { inner: Arc::new(running) })
    }

    /// Proposes here or forwards to the leader. Retries only while it is certain that nothing was appended. Where another
    /// leads, the state here comes to what was written a little later: [`Store::caught_up`] waits for it.
    pub async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        self.inner.proposer.propose(command).await
    }

    /// Waits until the local state is at least as new as every write acknowledged before the call (read
    /// index). After it, [`Store::state`] is linearizable. Batched: one round for all that wait.
    pub async fn barrier(&self) -> Result<(), ReadError> {
        self.inner.reader.barrier().await
    }

    /// Waits until the local state holds every write that was acknowledged `stale_max` before the call, or earlier. Costs
    /// nothing when a [`Store::barrier`] on this replica began since then, and a barrier otherwise: a replica that no leader
    /// confirms does not pass.
    pub async fn barrier_within(&self, stale_max: Duration) -> Result<(), ReadError> {
        self.inner.reader.barrier_within(stale_max).await
    }

    /// The local state as it stands: consistent, cheap, immutable. O(1).
    pub fn state(&self) -> State {
        self.inner.published.state()
    }

    /// [`Store::state`], if this replica's state may be served.
    pub fn trusted(&self) -> Result<State, ReadError> {
        self.inner.guard.why().map_or_else(|| Ok(self.state()), |why| Err(ReadError::Fenced(why)))
    }

    /// Waits until the local state has reached `revision`.
    pub async fn caught_up(&self, revision: Revision, within: Duration) -> Result<State, ReadError> {
        let mut revisions = self.inner.published.revision();
        let reached = revisions.wait_for(|now| *now >= revision);
        match tokio::time::timeout(within, reached).await {
            Ok(Ok(_)) => self.trusted(),
            Ok(Err(_)) | Err(_) => Err(ReadError::NoLeader(within)),
        }
    }

    /// The state as of a revision within the history window: every key as it stood right after that revision.
    /// Takes time and memory in proportion to the changes since.
    pub async fn state_at(&self, revision: Revision) -> Result<State, HistoryError> {
        let found = self.inner.past.state(revision).await;
        self.tells()?;
        found
    }

    /// One key as of a revision within the history window. Takes time in proportion to the changes since, and little
    /// memory.
    pub async fn key_at(&self, key: &[u8], revision: Revision) -> Result<Option<Versioned>, HistoryError> {
        let found = self.inner.past.key(key, revision).await;
        self.tells()?;
        found
    }

    /// The newest changes to a key that the history window holds: up to `count_max` of them and about `bytes_max` of values.
    pub async fn changes(&self, key: &[u8], count_max: usize, bytes_max: usize) -> Result<Changes, Untold> {
        let found = self.inner.past.changes(key, count_max, bytes_max).await;
        self.tells()?;
        found
    }

    /// Asked at the end of a look back: that takes its time, the wait for its turn included.
    fn tells(&self) -> Result<(), Untold> {
        self.inner.guard.why().map_or(Ok(()), |why| Err(Untold(why)))
    }

    /// Every change after `after` to keys that begin with `prefix`, in order, once each.
    /// Revisions ahead of the local state are waited for.
    pub fn watch(&self, prefix: Bytes, after: Revision) -> Result<Watcher, Gone> {
        Watcher::new(self.inner.published.clone(), &self.inner.guard, prefix, after)
    }

    /// [`Store::state`], and every change after it as by [`Store::watch`]. A snapshot that is installed between the two has no
    /// history from before it: then both are taken again.
    pub async fn state_and_watch(&self, prefix: Bytes) -> (State, Watcher) {
        loop {
            let state = self.state();
            if let Ok(watcher) = self.watch(prefix.clone(), state.revision()) {
                return (state, watcher);
            }
            tokio::task::yield_now().await;
        }
    }

    /// The oldest revision that a watch may begin after, and that [`Store::state_at`] can show.
    pub fn oldest(&self) -> Revision {
        self.inner.published.history.floor()
    }

    /// Role and term, and every change of them. The applied index in it is current, but wakes nobody.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.inner.standing.clone()
    }

    /// The members, each asked for its state; a member that does not answer within the deadline is unreachable.
    pub async fn members(&self, deadline: Duration) -> Vec<MemberStatus> {
        self.inner.members.ask(deadline).await
    }

    /// Waits until [`Store::members`] tells of every change of them that was answered before the call.
    pub async fn members_barrier(&self) -> Result<(), ReadError> {
        self.barrier().await?;
        self.inner.members.caught_up().await;
        Ok(())
    }

    /// Who the members are, and every change of that; no later than some seconds after it is applied here.
    pub fn roster(&self) -> watch::Receiver<Roster> {
        self.inner.members.roster.subscribe()
    }

    /// Hands the leadership over (to `to`, or to the most advanced voter). Ok also when this replica does not lead.
    pub async fn transfer_leadership(&self, to: Option<u64>) -> Result<(), ReadError> {
        match self.inner.members.hand_over(to).await {
            HandedOver::Done => Ok(()),
            HandedOver::Nobody | HandedOver::Late => Err(ReadError::NoLeader(Duration::from_secs(1))),
        }
    }

    /// Changes the members: carried out by the leader, wherever this is called. Returns the id of the member that was
    /// changed, or that leads now. One change at a time; a refusal says why.
    pub async fn change_members(&self, change: MemberChange, within: Duration) -> Result<u64, ChangeError> {
        self.inner.members.change(change, within).await
    }

    /// Says why, once this replica has been told that it is no member any more, or has found that it can be none. It has stopped
    /// voting then, or waits in the middle of a write and stops after that.
    pub fn removed(&self) -> watch::Receiver<Option<String>> {
        self.inner.removed.clone()
    }

    /// Waits until damage was found on the disk, and this replica may begin anew to be rid of it; then says what it is.
    /// Whoever waits for this must do so then: [`Store::shutdown`], and [`Store::open`] with [`Config::renewals`].
    /// Until somebody waits, damage is left to the next start.
    pub async fn renewal(&self) -> String {
        self.inner.renewal.clone().due().await
    }

    /// The cluster that the replicas know each other by: its epoch stands behind its name.
    pub fn cluster_id(&self) -> &str {
        &self.inner.cluster_id
    }

    /// The state at one log position, as a snapshot file holds it. Cheap: it shares the state's parts.
    /// Not of a state that may be wrong.
    pub async fn backup(&self, now_ms: u64) -> Result<Backup, Unwell> {
        self.trusted().map_err(|error| Unwell(error.to_string()))?;
        let image = tokio::time::timeout(BACKUP_MAX, self.inner.raft.get_snapshot()).await;
        let image = image.map_err(|_| Unwell(format!("its disk has held it up for {BACKUP_MAX:?}")))?;
        let image = image.map_err(|error| Unwell(error.to_string()))?;
        let image = image.map(|snapshot| snapshot.snapshot).unwrap_or_default();
        Ok(Backup::new(self.inner.cluster_id.clone(), self.inner.id, now_ms, image))
    }

    /// Can this replica still take part? It cannot once its disk failed it, or its state was found to be wrong.
    /// What it has in memory can still be looked at, but should be served to nobody when its state is wrong.
    pub fn health(&self) -> Result<(), Unwell> {
        let removed = self.inner.removed.borrow().clone();
        removed.or_else(|| self.inner.trouble.unwell()).map_or(Ok(()), |why| Err(Unwell(why)))
    }

    /// Its raft node has ended unasked, as by a panic, and nothing is known to be wrong with its disk, its data or its state: opened
    /// again, it takes part again.
    pub fn has_broken_down(&self) -> bool {
        self.inner.trouble.has_broken_down()
    }

    /// Cancelled once the raft node has ended, whatever ended it: nothing is applied here any more.
    pub fn ended(&self) -> CancellationToken {
        self.inner.published.ended.clone()
    }

    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    pub fn id(&self) -> u64 {
        self.inner.id
    }

    /// A leader hands over first. Idempotent.
    pub async fn shutdown(&self) {
        if !self.inner.stop.is_cancelled() {
            self.inner.members.hand_over(None).await;
            // A restart need not apply again what is saved. Not if the disk makes it long.
            let _ = tokio::time::timeout(STOP_DEADLINE, upkeep::save(&self.inner.raft)).await;
        }
        self.stop().await;
    }

    async fn stop(&self) {
        let inner = &self.inner;
        let stopping = async {
            ending::end(&inner.raft).await;
            inner.stop.cancel();
            inner.tasks.wait().await;
        };
        if tokio::time::timeout(STOP_DEADLINE, stopping).await.is_err() {
            tracing::warn!("the store did not stop in time");
            inner.stop.cancel();
        }
        inner.disk.close();
    }

    pub fn peer_address(&self) -> SocketAddr {
        self.inner.peer_address
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
pub(crate) mod tests;
