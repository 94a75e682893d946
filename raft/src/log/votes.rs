//! The vote on the disk: in the tables, and in a copy beside them. Acts.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

use proto::mutants::{self, Mutant};

use crate::disk::flusher::{Flusher, SYNC_DEADLINE};
use crate::disk::room::Room;
use crate::disk::{Batch, Note, Table};
use crate::identity::Identity;
use crate::log::keepsake::Keepsake;
use crate::log::rows::{VOTE, kept_vote, read_meta};
use crate::metrics::Metrics;
use crate::record;
use crate::types::Vote;

pub struct Votes {
    room: Arc<Room>,
    flusher: Flusher,
    metrics: Arc<Metrics>,
    newest: Mutex<Option<Vote>>,
    owner: OnceLock<Identity>,
    others: AtomicBool,
    /// One at a time writes the copies.
    noting: tokio::sync::Mutex<()>,
}

impl Votes {
    pub fn open(room: Arc<Room>, flusher: Flusher, metrics: Arc<Metrics>) -> io::Result<Arc<Votes>> {
        let newest = Mutex::new(kept_vote(&*room.disk)?);
        let (owner, others, noting) = (OnceLock::new(), AtomicBool::new(true), tokio::sync::Mutex::default());
        Ok(Arc::new(Votes { room, flusher, metrics, newest, owner, others, noting }))
    }

    /// As it is saved.
    pub fn newest(&self) -> Option<Vote> {
        *self.newest.lock().expect("no holder of the vote panics")
    }

    fn set(&self, vote: Vote) {
        *self.newest.lock().expect("no holder of the vote panics") = Some(vote);
    }

    /// Whose vote it is, and whether there are other voters. To be said before there is a new vote.
    pub fn belongs_to(&self, owner: Identity, others: bool) {
        self.owner.get_or_init(|| owner);
        self.others.store(others, Relaxed);
    }

    fn keepsake(&self, vote: Vote) -> Keepsake {
        Keepsake { vote, owner: self.owner.get().cloned(), others: self.others.load(Relaxed) }
    }

    /// Are there other voters now?
    pub async fn note_others(&self, others: bool) -> io::Result<()> {
        let _alone = self.noting.lock().await;
        let Some(vote) = self.newest().filter(|_| self.others.swap(others, Relaxed) != others) else { return Ok(()) };
        let note = self.keepsake(vote).encode();
        self.room.persist_apart(move |disk| disk.save_note(Note::Vote, &note, true)).await
    }

    /// Makes the copies of the vote one again, where a crash or damage has left them different: each of them alone must be
    /// enough, also as soon as the other is lost. To be called before there is a new vote.
    pub async fn mend(&self) -> io::Result<()> {
        let Some(vote) = self.newest() else { return Ok(()) };
        let disk = &self.room.disk;
        let (stored, note) = (read_meta::<Vote>(&**disk, &VOTE), Keepsake::read(disk.note(Note::Vote)?));
        let wanted = self.keepsake(vote);
        if matches!((&stored, &note), (Ok(Some(stored)), Ok(Some(note))) if *stored == vote && *note == wanted) {
            return Ok(());
        }
        let damage = |error: &io::Error| error.kind() == io::ErrorKind::InvalidData;
        for error in [stored.err(), note.err()].into_iter().flatten().filter(damage) {
            tracing::error!(%error, "a copy of the vote is damaged: it is made good by the other");
            Metrics::add(&self.metrics.checksum_failures, 1);
        }
        let mut batch = Batch::default();
        batch.put(Table::Meta, VOTE, record::encode(&vote));
        self.room.write(&batch).await?;
        let note = wanted.encode();
        self.room.persist_apart(move |disk| disk.save_note(Note::Vote, &note, true)).await?;
        self.flusher.durable(SYNC_DEADLINE).await
    }

    /// Durable when it returns.
    pub async fn save(&self, vote: Vote) -> io::Result<()> {
        let _alone = self.noting.lock().await;
        let mut batch = Batch::default();
        batch.put(Table::Meta, VOTE, record::encode(&vote));
        self.room.write(&batch).await?;
        // That the one who has this vote leads promises nothing new: after a crash it is heard from him again.
        if self.newest().is_some_and(|before| vote.committed && before.leader_id == vote.leader_id) {
            self.set(vote);
            return Ok(());
        }
        // The mutant leaves the copy that would make good for what the sync did not save as it was.
        let noted = self.newest().filter(|_| mutants::on(Mutant::VoteBeforeSync)).unwrap_or(vote);
        let note = self.keepsake(noted).encode();
        let noted = self.room.persist_apart(move |disk| disk.save_note(Note::Vote, &note, true));
        let durable = async {
            match mutants::on(Mutant::VoteBeforeSync) {
                true => Ok(()),
                false => self.flusher.durable_at_last(None).await,
            }
        };
        let (durable, noted) = tokio::join!(durable, noted);
        durable.and(noted)?;
        self.set(vote);
        Ok(())
    }
}
