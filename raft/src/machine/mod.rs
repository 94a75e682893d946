//! The replicated state machine as openraft drives it: applies entries in order, makes and installs snapshots.
//! Acts; what a command does is decided in [`apply`], [`save`] brings it to the disk.

pub mod apply;
pub mod history;
pub mod image;
pub mod objects;
pub mod published;
pub mod reach;
mod ring;
mod row;
mod rows;
mod save;
pub mod trail;
mod trim;
mod unsaved;

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use proto::mutants::{self, Mutant};
use tokio_util::sync::DropGuard;

use self::history::History;
use self::image::Image;
use self::objects::Generations;
use self::published::Published;
use self::reach::Reach;
use self::save::Saved;
use self::unsaved::Unsaved;
use crate::command::{Command, Outcome};
use crate::disk::flusher::Flusher;
use crate::disk::room::Room;
use crate::disk::{Batch, Table};
use crate::metrics::Metrics;
use crate::state::State;
use crate::store::HistoryWindow;
use crate::types::{LogId, Snapshot, SnapshotMeta, StoredMembership, Types, log_id, term_of};

pub struct Machine {
    room: Arc<Room>,
    flusher: Flusher,
    generations: Arc<Generations>,
    generation: u32,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    /// The state is in there.
    published: Arc<Published>,
    reach: Arc<Reach>,
    unsaved: Unsaved,
    /// The raft node drops its machine as it ends.
    _end: DropGuard,
}

impl Machine {
    /// `reach`: told of every step of the objects on the disk.
    pub fn open(
        room: Arc<Room>,
        flusher: Flusher,
        metrics: Arc<Metrics>,
        window: HistoryWindow,
        reach: Arc<Reach>,
    ) -> io::Result<Machine> {
        let disk = room.disk.clone();
        let saved = Saved::read(&*disk)?;
        let expected = saved.as_ref().map(|saved| saved.digest);
        let Saved { generation, last_applied, membership, revision, history_bytes, .. } = saved.unwrap_or_default();
        let mut state = objects::load(&*disk, generation)?;
        state.set_revision(revision);
        if expected.is_some_and(|expected| expected != state.digest()) {
            let message = "the objects are corrupt: together they do not match the digest of the state";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let generations = Generations::open(room.clone(), generation)?;
        let history = History::open(disk, metrics.clone(), window, reach.clone(), (history_bytes, revision))?;
        let last_applied = last_applied.map(|(term, index)| log_id(term, index));
        reach.set(last_applied, state.revision());
        let published = Published::new(state, last_applied, history, metrics, reach.ended.clone());
        let end = published.ended.clone().drop_guard();
        Ok(Machine {
            room,
            flusher,
            generations,
            generation,
            last_applied,
            membership,
            published,
            reach,
            unsaved: Unsaved::default(),
            _end: end,
        })
    }

    pub fn published(&self) -> Arc<Published> {
        self.published.clone()
    }

    pub fn last_applied(&self) -> Option<LogId> {
        self.last_applied
    }

    pub fn reach(&self) -> Arc<Reach> {
        self.reach.clone()
    }

    pub fn generations(&self) -> Arc<Generations> {
        self.generations.clone()
    }

    fn image(&self) -> Image {
        Image {
            state: self.published.state(),
            last_applied: self.last_applied,
            membership: self.membership.clone(),
            staged: None,
        }
    }

    /// The effect of one entry on memory; what it means for the disk is collected.
    fn take(
        &mut self,
        round: &mut Round,
        log_id: LogId,
        payload: EntryPayload<crate::types::Proposal, u64, crate::types::Place>,
    ) -> io::Result<Outcome> {
        let nothing = || Outcome::Applied { revisions: Vec::new() };
        let (outcome, digest) = match payload {
            EntryPayload::Blank => (nothing(), self.published.look(State::digest)),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(log_id), membership);
                (nothing(), self.published.look(State::digest))
            }
            EntryPayload::Normal(proposal) => {
                let command = Command::decode(&proposal.0)?;
                let (published, unsaved, bytes) = (&self.published, &mut self.unsaved, proposal.0.len());
                published.change(|state| {
                    let (outcome, changes) = apply::apply(state, term_of(&log_id), command);
                    let stray = published.stray(state, &changes);
                    changes.iter().chain(&stray).for_each(|change| unsaved.change(change));
                    published.history.add(unsaved.entry(bytes), &log_id, changes, bytes as u64);
                    (outcome, state.digest())
                })
            }
        };
        self.last_applied = Some(log_id);
        round.digests.push((log_id.index, digest));
        round.entries += 1;
        Ok(outcome)
    }

    /// Shows how far the state has come, and answers. What the disk is to have of it comes behind that, and not with every
    /// round: a crash before it loses nothing, for the log has what makes it again.
    async fn finish(&mut self, round: Round) -> io::Result<()> {
        if round.entries == 0 {
            return Ok(());
        }
        let Round { entries, digests, answers } = round;
        self.unsaved.applied(entries);
        self.reach.falls_behind();
        Metrics::add(&self.published.metrics.entries_applied, entries);
        self.published.record(&digests);
        self.published.show(self.last_applied);
        for (responder, outcome) in answers {
            responder.send(outcome);
        }
        match () {
            () if self.unsaved.is_due() => self.save().await,
            () if self.unsaved.rows_are_due() => self.write_rows().await,
            () => Ok(()),
        }
    }
}

/// What some entries in a row amount to.
#[derive(Default)]
struct Round {
    entries: u64,
    digests: Vec<(u64, u64)>,
    answers: Vec<(ApplyResponder<Types>, Outcome)>,
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Image;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut round = Round::default();
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let outcome = self.take(&mut round, entry.log_id, entry.payload)?;
            round.answers.extend(responder.map(|responder| (responder, outcome)));
            if self.unsaved.rows_are_due() {
                self.finish(std::mem::take(&mut round)).await?;
            }
        }
        self.finish(round).await
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder(self.image())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, image: Image) -> Result<(), io::Error> {
        let staged = match &image.staged {
            Some(staged) => staged.clone(),
            None => self.generations.write(&image).await?,
        };
        let old = std::mem::replace(&mut self.generation, staged.generation);
        let mut state = image.state;
        if mutants::on(Mutant::SnapshotKeepsDeleted) {
            for (key, object) in self.published.state().objects() {
                if state.get(key).is_none() {
                    state.insert(key.clone(), object.clone());
                }
            }
        }
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        let mut batch = Batch::default();
        let present = self.generation;
        if mutants::on(Mutant::SnapshotGenerationForgotten) {
            self.generation = old;
        }
        self.put_saved(&mut batch, &state, self.published.history.position_anew());
        self.generation = present;
        batch.delete_range(Table::Objects, objects::key(old, b""), objects::key(old + 1, b""));
        // Once written, the state refers to the generation, durable or not.
        staged.adopt();
        let (history, revision, entry) = (&self.published.history, state.revision(), self.last_applied);
        self.room.persist(|| history.replace(&batch, revision, entry)).await?;
        // Before the sync, which may take its time or fail: the state never stands without its history.
        let digest = state.digest();
        drop(self.published.change(|present| std::mem::replace(present, state)));
        if let Some(at) = self.last_applied {
            self.published.record(&[(at.index, digest)]);
        }
        self.published.show(self.last_applied);
        Metrics::add(&self.published.metrics.snapshots_installed, 1);
        self.flusher.durable_at_last(meta.last_log_id).await?;
        self.saved_all();
        if mutants::on(Mutant::EndsOnceFilled) {
            return Err(io::Error::other("it is filled"));
        }
        Ok(())
    }

    /// The state is on the disk, or the log that makes it, so the current snapshot is simply the present state.
    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.last_applied.map(|_| snapshot(self.image())))
    }
}

/// Holds the image; there is nothing left to build.
pub struct Builder(Image);

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Image;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        Ok(snapshot(self.0.clone()))
    }
}

fn snapshot(mut image: Image) -> Snapshot {
    if mutants::on(Mutant::SnapshotMetaBeforeData) {
        image.last_applied = image.last_applied.map(|at| log_id(term_of(&at), at.index.saturating_sub(3)));
    }
    Snapshot { meta: image.meta(), snapshot: image }
}

#[cfg(test)]
#[path = "save_tests.rs"]
mod tests;
