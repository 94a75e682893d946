//! The state on the disk: what is saved of it, and when. Acts; when it is due decides [`super::unsaved`].

use std::io;

use bytes::Bytes;
use proto::mutants::{self, Mutant};
use serde::{Deserialize, Serialize};

use super::unsaved::Unsaved;
use super::{Machine, objects};
use crate::disk::{Batch, Disk, Table};
use crate::log::rows::{MEMBERS, read_meta};
use crate::record;
use crate::state::State;
use crate::types::{StoredMembership, term_of};

const SAVED: Bytes = Bytes::from_static(b"state");

/// Written in the same batch as the objects, so that the two never disagree.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Saved {
    /// Which generation of objects is the state's.
    pub generation: u32,
    pub last_applied: Option<(u64, u64)>,
    pub membership: StoredMembership,
    pub revision: u64,
    /// All that ever came into the history.
    pub history_bytes: u64,
    /// Of the state, as it was in memory: what is read back must have the same.
    pub digest: u64,
}

impl Saved {
    pub fn read(disk: &dyn Disk) -> io::Result<Option<Saved>> {
        let mut saved: Option<Saved> = read_meta(disk, &SAVED)?;
        if mutants::on(Mutant::UncommittedMembersKept)
            && let (Some(saved), Some(kept)) = (&mut saved, read_meta::<StoredMembership>(disk, &MEMBERS)?)
            && kept.log_id() > saved.membership.log_id()
        {
            saved.membership = kept;
        }
        Ok(saved)
    }
}

impl Machine {
    /// Brings the objects on the disk up to the state in memory. One that fails, or is cancelled, leaves all of it to the
    /// next: the digest is that of the whole state, and the log is cleared up to it.
    pub async fn save(&mut self) -> io::Result<()> {
        let apart = mutants::on(Mutant::AppliedBeforeData) || mutants::on(Mutant::AppliedAfterData);
        let mut batch = self.unsaved.rows().clone();
        let mut applied = Batch::default();
        self.published.look(|state| {
            for key in self.unsaved.keys() {
                let at = objects::key(self.generation, key);
                match state.get(key) {
                    Some(object) => {
                        batch.put(Table::Objects, at, record::encode_sized(object, 32 + object.value.len()))
                    }
                    None => batch.delete(Table::Objects, at),
                }
            }
            let history_bytes = self.published.history.bytes_added();
            self.put_saved(if apart { &mut applied } else { &mut batch }, state, history_bytes);
        });
        if apart {
            let order = if mutants::on(Mutant::AppliedBeforeData) { [applied, batch] } else { [batch, applied] };
            for batch in &order {
                self.room.write(batch).await?;
            }
        } else {
            self.room.write_apart(batch).await?;
        }
        self.saved_all();
        Ok(())
    }

    pub(super) fn saved_all(&mut self) {
        self.unsaved = Unsaved::default();
        let revision = self.published.look(State::revision);
        self.published.history.wrote(revision);
        self.reach.set(self.last_applied, revision);
    }

    pub(super) async fn write_rows(&mut self) -> io::Result<()> {
        self.room.write(self.unsaved.rows()).await?;
        self.unsaved.rows_written();
        self.published.history.wrote(self.published.look(State::revision));
        Ok(())
    }

    /// What the state is saved with, into the batch that brings its objects.
    pub(super) fn put_saved(&self, batch: &mut Batch, state: &State, history_bytes: u64) {
        let saved = Saved {
            generation: self.generation,
            last_applied: self.last_applied.as_ref().map(|at| (term_of(at), at.index)),
            membership: self.membership.clone(),
            revision: state.revision() - u64::from(state.revision() > 0 && mutants::on(Mutant::RevisionSavedLow)),
            history_bytes,
            digest: state.digest(),
        };
        batch.put(Table::Meta, SAVED, record::encode(&saved));
    }
}
