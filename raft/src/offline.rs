//! What is done to a data directory while its replica does not run: a snapshot file becomes a new cluster's beginning, a
//! survivor of a lost majority becomes a cluster of one. Acts.

mod answer;
mod beyond;
mod recover;
pub(crate) mod unfinished;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openraft::storage::{RaftLogStorage as _, RaftStateMachine as _};
use openraft::vote::RaftLeaderId as _;
use tokio_util::sync::CancellationToken;

use crate::accord::guard;
use crate::backup::{self, Header};
use crate::bootstrap::Bootstrap;
use crate::command::Revision;
use crate::config::founding_fault;
use crate::disk::flusher::Flusher;
use crate::disk::room::Room;
use crate::disk::{Disk, rocks};
use crate::identity::{self, Identity};
use crate::log::LogStore;
use crate::machine::Machine;
use crate::machine::image::Image;
use crate::machine::reach::Reach;
use crate::members::{Member, used};
use crate::mend::{self, Whose};
use crate::metrics::Metrics;
use crate::state::State;
use crate::store::HistoryWindow;
use crate::types::{LogId, Membership, SnapshotMeta, StoredMembership, Types, Vote, log_id, term_of};

pub use answer::{Answer, ask};
pub use beyond::REVISION_JUMP;
pub use recover::recover;

const SYNC_DEADLINE: Duration = Duration::from_secs(60);
/// Entries that are applied at once while a log is brought to its end.
const APPLIED_AT_ONCE: u64 = 1_000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Disk(#[from] rocks::Error),
    #[error("the data in {dir} cannot be used: {source}")]
    Data {
        dir: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0} is not empty: a snapshot is restored into a new directory only")]
    NotEmpty(PathBuf),
    #[error("a snapshot was being restored into {0}, and that was not finished: restore it again")]
    Unfinished(PathBuf),
    #[error("a snapshot is being restored into {0} by somebody else")]
    Underway(PathBuf),
    #[error(transparent)]
    File(#[from] backup::Error),
    #[error("the snapshot is of cluster {0:?}, and so is the configuration: a restored cluster needs an id of its own")]
    SameCluster(String),
    #[error("{0} holds no data of a replica: no replica ever ran on it")]
    Empty(PathBuf),
    #[error("the data in {dir} belongs to replica {found} of cluster {cluster:?}")]
    Other { dir: PathBuf, found: u64, cluster: String },
    #[error("{0}")]
    Members(String),
}

/// Whose beginning a snapshot becomes.
pub struct NewReplica {
    pub id: u64,
    pub cluster_id: String,
    pub dir: PathBuf,
    /// All members of the new cluster. Each of them is restored from the same file.
    pub members: Vec<Member>,
}

/// Reads the file to its end before anything is kept: a damaged one leaves no data behind. Interrupted later, it can be done again, and
/// nothing starts on what is there until then. The new cluster begins `revision_jump`
/// above the file's revision, and higher where its id says when it was made ([`identity::made_at_ms`]). Returns what the file
/// is, and where the cluster begins.
pub async fn restore(file: &Path, new: &NewReplica, revision_jump: u64) -> Result<(Header, Revision), Error> {
    may_begin(&new.dir)?;
    if let Some(why) = founding_fault(new.members.iter().map(|member| &member.id)) {
        return Err(Error::Members(why));
    }
    let mut state = State::default();
    let header = backup::read_file(file, |key, object| {
        state.insert(key, object);
        Ok(())
    })?;
    if identity::name(&header.cluster_id) == identity::name(&new.cluster_id) {
        return Err(Error::SameCluster(header.cluster_id));
    }
    // The ids of the past bind the old cluster's members, not the new one's.
    used::forget(&mut state);
    let begins = beyond::all_known(header.revision, revision_jump, identity::made_at_ms(&new.cluster_id));
    state.set_revision(begins);
    let at = log_id(header.applied_term.max(1), header.applied_index.max(1));
    let unusable = |source| Error::Data { dir: new.dir.clone(), source };
    let places: BTreeMap<u64, _> = new.members.iter().map(|member| (member.id, member.place())).collect();
    let untouchable = |source| rocks::Error::Directory { path: new.dir.clone(), source };
    let alone = unfinished::alone(&new.dir).map_err(untouchable)?;
    let Some(_alone) = alone else { return Err(Error::Underway(new.dir.clone())) };
    // Somebody else may have finished meanwhile.
    may_begin(&new.dir)?;
    unfinished::begin(&new.dir).map_err(untouchable)?;
    let disk: Arc<dyn Disk> = Arc::new(rocks::Rocks::open(&new.dir)?);
    let written = async {
        let mut data = Data::open(disk.clone())?;
        let owner = Identity { cluster_id: new.cluster_id.clone(), replica: new.id };
        data.log.votes.belongs_to(owner.clone(), new.members.len() > 1);
        let voters = places.keys().copied().collect();
        data.begin(at, state, voters, places, new.id).await?;
        owner.write(&*disk)?;
        data.flusher.durable(SYNC_DEADLINE).await
    };
    let written = written.await.map_err(unusable);
    disk.close();
    written?;
    unfinished::end(&new.dir).map_err(unusable)?;
    Ok((header, begins))
}

/// What a stopped replica has.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Before its recovery, where that was begun and not finished.
    pub cluster_id: String,
    /// Its recovery was begun and not finished: it does not start until that is done again.
    pub unfinished: bool,
    pub replica: u64,
    pub last_term: u64,
    pub last_index: u64,
    /// How far its log was durable once. Behind the last entry: it has lost its end.
    pub durable_index: u64,
    /// Known to be on a majority; what is behind it may be or not.
    pub committed_index: u64,
    pub revision: u64,
    pub voters: BTreeSet<u64>,
    pub members: Vec<Member>,
    /// It is new, was emptied, or lost data, and was not filled since: it never counts.
    pub abstains: bool,
    /// While it abstains: it is known that it lost data. It was not new.
    pub lost_data: bool,
    /// Why its state may be wrong: with this data it never again votes or serves.
    pub fenced: Option<String>,
}

pub async fn inspect(dir: &Path) -> Result<Inspection, Error> {
    // Opening would make a database where there is none.
    if !dir.join("CURRENT").exists() {
        return Err(Error::Empty(dir.into()));
    }
    if unfinished::is(dir) {
        return Err(Error::Unfinished(dir.into()));
    }
    let disk: Arc<dyn Disk> = Arc::new(rocks::Rocks::open(dir)?);
    let found = async {
        let mut data = Data::open(disk.clone())?;
        let (Whose::Of(identity) | Whose::Damaged(identity)) = mend::whose(&*disk)? else { return Ok(None) };
        Ok(Some(data.describe(identity, &*disk).await?))
    };
    let found = found.await.map_err(|source| Error::Data { dir: dir.into(), source });
    disk.close();
    found?.ok_or_else(|| Error::Empty(dir.into()))
}

fn may_begin(dir: &Path) -> Result<(), Error> {
    match is_empty(dir) || unfinished::is(dir) {
        true => Ok(()),
        false => Err(Error::NotEmpty(dir.into())),
    }
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none())
}

/// The parts of a store that does not run.
struct Data {
    flusher: Flusher,
    log: LogStore,
    machine: Machine,
}

impl Data {
    fn open(disk: Arc<dyn Disk>) -> io::Result<Data> {
        let (metrics, hurried) = (Arc::new(Metrics::default()), CancellationToken::new());
        // Somebody waits in front of it: where there is no room it says so, and does not wait for some.
        hurried.cancel();
        let room = Room::new(disk, metrics.clone(), hurried);
        let flusher = Flusher::start(room.clone(), metrics.clone());
        let reach = Arc::new(Reach::default());
        let log = LogStore::open(room.clone(), flusher.clone(), metrics.clone(), reach.clone())?;
        let machine = Machine::open(room, flusher.clone(), metrics, HistoryWindow::default(), reach)?;
        Ok(Data { flusher, log, machine })
    }

    /// The state stands at `at`, nothing of a log is left, and these are the members.
    async fn begin(
        &mut self,
        at: LogId,
        state: State,
        voters: BTreeSet<u64>,
        places: BTreeMap<u64, crate::types::Place>,
        own: u64,
    ) -> io::Result<()> {
        let membership = Membership::new(vec![voters], places).map_err(io::Error::other)?;
        let last_membership = StoredMembership::new(Some(at), membership);
        let meta = SnapshotMeta { last_log_id: Some(at), last_membership: last_membership.clone() };
        // What lay behind it is given up.
        self.flusher.mark().lower(Some(at)).await?;
        let image = Image { state, last_applied: Some(at), membership: last_membership, staged: None };
        self.machine.install_snapshot(&meta, image).await?;
        self.log.purge(at).await?;
        let leader_id = openraft::type_config::alias::LeaderIdOf::<Types>::new(self.term().max(term_of(&at)), own);
        self.log.save_vote(&Vote { leader_id, committed: false }).await
    }

    fn term(&mut self) -> u64 {
        self.log.vote().map_or(0, |vote| vote.leader_id.term)
    }

    /// Brings the state to the end of the log. Returns where that is.
    async fn apply_all(&mut self) -> io::Result<LogId> {
        let end = self.log.last();
        let at = self.apply_upto(end).await?.max(end);
        at.ok_or_else(|| io::Error::other("nothing was ever written here"))
    }

    /// Returns where the state stands then, which may be further.
    async fn apply_upto(&mut self, end: Option<LogId>) -> io::Result<Option<LogId>> {
        use openraft::storage::RaftLogReader as _;
        let behind = end.map_or(0, |end| end.index + 1);
        loop {
            let (applied, _) = self.machine.applied_state().await?;
            let next = applied.map_or(0, |at| at.index + 1);
            let entries = self.log.try_get_log_entries(next..behind.min(next.saturating_add(APPLIED_AT_ONCE))).await?;
            if entries.is_empty() {
                return Ok(applied);
            }
            self.machine.apply(futures::stream::iter(entries.into_iter().map(|entry| Ok((entry, None))))).await?;
        }
    }

    async fn describe(&mut self, identity: Identity, disk: &dyn Disk) -> io::Result<Inspection> {
        let committed = self.log.read_committed().await?;
        self.apply_upto(committed).await?;
        let (applied, mut membership) = self.machine.applied_state().await?;
        let mut next = applied.map_or(0, |at| at.index + 1);
        // The newest membership may still lie in the log.
        loop {
            use openraft::storage::RaftLogReader as _;
            let entries = self.log.try_get_log_entries(next..next.saturating_add(APPLIED_AT_ONCE)).await?;
            let Some(last) = entries.last() else { break };
            next = last.log_id.index + 1;
            for entry in entries {
                if let openraft::EntryPayload::Membership(found) = entry.payload {
                    membership = StoredMembership::new(Some(entry.log_id), found);
                }
            }
        }
        let last = self.log.last().max(applied);
        let begun = identity::recovering(&identity.cluster_id);
        Ok(Inspection {
            unfinished: begun.is_some(),
            cluster_id: begun.unwrap_or(identity.cluster_id),
            replica: identity.replica,
            last_term: last.as_ref().map_or(0, term_of),
            last_index: last.map_or(0, |at| at.index),
            durable_index: self.flusher.mark().at().max(last).map_or(0, |at| at.index),
            committed_index: committed.max(applied).map_or(0, |at| at.index),
            revision: self.machine.published().state().revision(),
            voters: membership.voter_ids().collect(),
            members: membership.nodes().map(|(id, place)| Member::new(*id, place)).collect(),
            abstains: Bootstrap::abstained(disk)?,
            lost_data: Bootstrap::lost_data(disk)?,
            fenced: guard::fenced(disk)?,
        })
    }
}
