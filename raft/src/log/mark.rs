//! How far this replica's log was durable, kept beside the tables. A log that has lost its end looks like one that was never
//! longer, and RocksDB takes it for one whose last record was torn by a crash: only what was written down elsewhere tells the
//! two apart. Acts.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use proto::mutants::{self, Mutant};
use tokio::time::Instant;

use crate::disk::Note;
use crate::disk::room::Room;
use crate::metrics::Metrics;
use crate::record;
use crate::types::{LogId, log_id, term_of};

/// A raised mark reaches the platter no later than this, plus one sync, while more is written. Until then it outlives the
/// process, but not a loss of power: at most so much less of the log is vouched for then.
const SYNC_EVERY: Duration = Duration::from_secs(1);

pub struct Mark {
    room: Arc<Room>,
    kept: Mutex<Kept>,
    /// One at a time writes it, and sees under this what to write: else an older mark could take the place of a newer one.
    writing: tokio::sync::Mutex<()>,
}

struct Kept {
    at: Option<LogId>,
    /// `None`: what is kept is durable. Otherwise the first that is not was kept then.
    raised: Option<Instant>,
}

/// Term and index, all bytes of them: one mark takes the place of another.
type Raw = ([u8; 8], [u8; 8]);

impl Mark {
    /// One that cannot be read vouches for nothing.
    pub fn open(room: Arc<Room>, metrics: &Metrics) -> Mark {
        let at = read(&room).unwrap_or_else(|error| {
            Metrics::add(&metrics.checksum_failures, 1);
            tracing::error!(%error, "how far the log was durable is not known");
            None
        });
        Mark { room, kept: Mutex::new(Kept { at, raised: None }), writing: Default::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no holder of the mark panics")
    }

    pub fn at(&self) -> Option<LogId> {
        self.kept().at
    }

    /// `last`: where the log ends that was found, or the state, if that is further.
    pub fn hold_against(&self, last: Option<LogId>) -> io::Result<()> {
        let Some(mark) = self.at().filter(|mark| last < Some(*mark) && !mutants::on(Mutant::MarkIgnored)) else {
            return Ok(());
        };
        let found = last.map_or("is empty".into(), |last| format!("ends with {}", words(&last)));
        let message = format!("the log {found}, but was durable up to {}: its end is lost", words(&mark));
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }

    /// The log is durable up to here, and nobody was told so yet.
    pub async fn raise(&self, to: LogId) -> io::Result<()> {
        let _alone = self.writing.lock().await;
        if self.at() >= Some(to) {
            return Ok(());
        }
        self.room.note(Note::Mark, bytes(Some(to))).await?;
        let mut kept = self.kept();
        kept.at = Some(to);
        kept.raised.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Makes a raised mark durable when it is time.
    pub async fn settle(&self) -> io::Result<()> {
        let _alone = self.writing.lock().await;
        let at = {
            let kept = self.kept();
            match kept.raised {
                Some(since) if since.elapsed() >= SYNC_EVERY => kept.at,
                _ => return Ok(()),
            }
        };
        self.keep(at).await
    }

    /// The log is to end here, now or soon, and what comes behind it is gone for good: it was overruled, or set aside.
    /// Durable on return. No sync of the log may be under way, which would raise the mark again.
    pub async fn lower(&self, to: Option<LogId>) -> io::Result<()> {
        let _alone = self.writing.lock().await;
        match self.at() > to {
            true => self.keep(to).await,
            false => Ok(()),
        }
    }

    /// The caller holds `writing`.
    async fn keep(&self, at: Option<LogId>) -> io::Result<()> {
        let bytes = bytes(at);
        self.room.persist_apart(move |disk| disk.save_note(Note::Mark, &bytes, true)).await?;
        *self.kept() = Kept { at, raised: None };
        Ok(())
    }
}

fn words(at: &LogId) -> String {
    format!("entry {} of term {}", at.index, term_of(at))
}

fn bytes(at: Option<LogId>) -> Vec<u8> {
    // No entry is of term 0 but the first, which a log may well have lost: it is known to every member.
    let (term, index) = at.map_or((0, 0), |at| (term_of(&at), at.index));
    record::encode::<Raw>(&(term.to_be_bytes(), index.to_be_bytes()))
}

fn read(room: &Room) -> io::Result<Option<LogId>> {
    room.disk.note(Note::Mark)?.map_or(Ok(None), |note| decode(&note))
}

fn decode(note: &[u8]) -> io::Result<Option<LogId>> {
    let (term, index): Raw = record::decode(note, &|| "the mark of the log's end".to_string())?;
    let (term, index) = (u64::from_be_bytes(term), u64::from_be_bytes(index));
    Ok((term > 0).then(|| log_id(term, index)))
}

/// Does this note say that nothing was ever durable in the tables beside it? One that cannot be read says nothing.
pub fn is_blank(note: &[u8]) -> bool {
    decode(note).is_ok_and(|at| at.is_none())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::oneshot;
    use tokio::time::timeout;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::disk::faulty::Faulty;
    use crate::disk::rocks::Rocks;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_mark_that_is_lowered_while_the_higher_one_is_being_made_durable_stays_low() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
        let metrics = Arc::new(Metrics::default());
        let room = Room::new(disk.clone(), metrics.clone(), CancellationToken::new());
        let mark = Arc::new(Mark::open(room.clone(), &metrics));
        mark.raise(log_id(1, 9)).await.unwrap();
        mark.kept().raised = Some(Instant::now() - SYNC_EVERY);
        let ((begin, begun), (end, ending)) = (oneshot::channel(), mpsc::channel());
        *disk.hold_note.lock().unwrap() = Some((begin, ending));
        let (settles, lowers) = (mark.clone(), mark.clone());
        let settling = tokio::spawn(async move { settles.settle().await });
        timeout(PATIENCE, begun).await.expect("it is time").unwrap();
        let mut lowering = tokio::spawn(async move { lowers.lower(Some(log_id(1, 4))).await });
        // It is not held itself: if nothing else keeps it, it overtakes the other.
        let early = timeout(Duration::from_millis(200), &mut lowering).await;
        end.send(()).unwrap();
        timeout(PATIENCE, settling).await.unwrap().unwrap().unwrap();
        let lowered = match early {
            Ok(lowered) => lowered,
            Err(_) => timeout(PATIENCE, lowering).await.unwrap(),
        };
        lowered.unwrap().unwrap();
        assert_eq!((mark.at(), read(&room).unwrap()), (Some(log_id(1, 4)), Some(log_id(1, 4))));
    }

    #[test]
    fn only_a_mark_that_was_read_says_that_nothing_was_durable() {
        assert!(is_blank(&bytes(None)));
        assert!(!is_blank(&bytes(Some(log_id(1, 0)))));
        assert!(!is_blank(&bytes(Some(log_id(2, 7)))));
        let mut damaged = bytes(None);
        damaged[0] ^= 4;
        assert!(!is_blank(&damaged) && !is_blank(b""));
    }
}
