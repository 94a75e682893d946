//! What a replica tells another one that was filled by a snapshot of the time before. Acts (reads only).

use std::io;
use std::sync::Arc;

use super::super::published::Published;
use super::super::row::Found;
use super::super::rows::{self, Missing};
use super::{History, from_disk};
use crate::command::{Change, Revision};
use crate::store::{Gone, HistoryError};

/// One of the changes that came before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub change: Change,
    /// How many bytes came into the teller's history from this change on, up to where it was asked for.
    pub behind: u64,
    pub ends_command: bool,
}

/// The first of the changes that were asked for.
#[derive(Debug)]
pub struct Before {
    /// So far back the teller's history reaches.
    pub floor: Revision,
    /// And it does not wait for more itself.
    pub whole: bool,
    /// In the middle of a command, too, they end behind about [`rows::READ_BYTES`]. None: none was asked for.
    pub changes: Vec<Told>,
}

/// Of the changes after `after` up to `upto`. Fails where they are not on its disk yet.
pub async fn tell(published: &Arc<Published>, after: Revision, upto: Revision) -> Result<Before, HistoryError> {
    from_disk(published, after, upto, move |history| history.tell(after, upto)).await
}

impl History {
    pub(super) fn tell(&self, after: Revision, upto: Revision) -> io::Result<Result<Before, Gone>> {
        let (trimmed, written, end, whole) = {
            let inner = self.inner();
            let end = match upto >= inner.newest {
                true => Some(inner.bytes_added),
                false => inner.ring.position(upto + 1),
            };
            (inner.trimmed, inner.written, end, inner.filled.is_none())
        };
        if upto > written {
            return Ok(Err(Gone { asked: upto, oldest: trimmed.floor }));
        }
        let nothing = Before { floor: trimmed.floor, whole, changes: Vec::new() };
        if after >= upto {
            return Ok(Ok(nothing));
        }
        // What the window has just left behind is told all the same while it is there: who fetches is no quicker than that.
        if after < trimmed.cleared {
            return Ok(Err(Gone { asked: after, oldest: trimmed.floor }));
        }
        let end = match end {
            Some(end) => Some(end),
            None => rows::scan(&*self.disk, upto, upto + 1, 1)?.first().map(|row| row.place.position),
        };
        let Some(end) = end else { return Ok(Ok(nothing)) };
        let mut places = Vec::new();
        let see = |row: &Found| {
            places.push(row.place);
            true
        };
        let changes = match rows::read(&*self.disk, after, upto, see) {
            Ok(changes) => changes,
            Err(Missing::Row(revision)) => return Ok(Err(Gone { asked: after, oldest: revision })),
            Err(Missing::Unread(error)) => return Err(error),
        };
        let told = changes.into_iter().zip(places).map(|(change, place)| Told {
            change,
            behind: end.saturating_sub(place.position),
            ends_command: place.ends_command,
        });
        Ok(Ok(Before { changes: told.collect(), ..nothing }))
    }
}
