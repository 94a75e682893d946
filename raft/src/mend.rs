//! What a replica does about damaged data when it starts: it sets the tables aside and begins with empty ones, which
//! its peers fill again. Its vote is kept apart and survives; without a readable vote it does not start. Until it is
//! filled it abstains (ADR 8 has the argument). Acts; `remedy` decides.

use std::io;
use std::sync::Arc;

use crate::bootstrap;
use crate::config::Config;
use crate::disk::flusher::Flusher;
use crate::disk::rocks::{self, Rocks};
use crate::disk::room::Room;
use crate::disk::{Disk, Table, apart};
use crate::identity::{IDENTITY, Identity};
use crate::log_store::{self, LogStore};
use crate::machine::Machine;
use crate::machine::reach::Reach;
use crate::metrics::Metrics;
use crate::record;

#[derive(Debug, PartialEq, Eq)]
enum Remedy {
    /// The tables go aside, the peers fill this replica again.
    Refill,
    /// Nobody else has the data, or this replica cannot keep what it promised: a person must decide.
    Stop,
}

/// `vote`: is a copy of it readable?
fn remedy(error: io::ErrorKind, members: usize, vote: bool) -> Remedy {
    match error == io::ErrorKind::InvalidData && members > 1 && vote {
        true => Remedy::Refill,
        false => Remedy::Stop,
    }
}

/// The log and the state, read and checked as a whole, or empty ones in place of damaged ones.
pub async fn open(
    room: &Arc<Room>,
    flusher: &Flusher,
    metrics: &Arc<Metrics>,
    config: &Config,
) -> io::Result<(LogStore, Machine)> {
    let tables = || -> io::Result<(LogStore, Machine)> {
        let reach = Arc::new(Reach::default());
        let log = LogStore::open(room.clone(), flusher.clone(), metrics.clone(), reach.clone())?;
        let (room, window) = (room.clone(), config.history.clone());
        Ok((log, Machine::open(room, flusher.clone(), metrics.clone(), window, reach)?))
    };
    let error = match tables() {
        Ok(opened) => return Ok(opened),
        Err(error) => error,
    };
    set_aside(room, metrics, config.initial_members.len(), error).await?;
    tables()
}

/// Whose data it is must be readable as well.
pub async fn identity(room: &Arc<Room>, metrics: &Metrics, members: usize) -> io::Result<()> {
    match Identity::found(&*room.disk) {
        Ok(_) => Ok(()),
        Err(error) => set_aside(room, metrics, members, error).await,
    }
}

/// Sets the tables aside that `error` tells of, where that is the remedy.
async fn set_aside(room: &Room, metrics: &Metrics, members: usize, error: io::Error) -> io::Result<()> {
    Metrics::add(&metrics.checksum_failures, 1);
    let vote = log_store::kept_vote(&*room.disk).ok().flatten();
    let (Remedy::Refill, Some(vote)) = (remedy(error.kind(), members, vote.is_some()), vote) else {
        return Err(error);
    };
    tracing::error!(%error, "the data is damaged: it is set aside, and the other replicas fill this one again");
    let identity = Identity::found(&*room.disk).ok().flatten();
    // The copy may be the damaged one.
    room.disk.save_note(&record::encode(&vote))?;
    apart(&room.disk, |disk| disk.set_aside()).await?;
    bootstrap::abstain(&*room.disk, identity.map(|identity| record::encode(&identity)))
}

/// Opens the database; one that cannot be opened for its damage is treated like damaged tables.
pub fn database(config: &Config) -> Result<Rocks, rocks::Error> {
    let dir = &config.dir;
    let error = match Rocks::open(dir) {
        Err(error @ rocks::Error::Damaged { .. }) => error,
        opened => return opened,
    };
    let vote = rocks::note(dir).ok().flatten().is_some_and(|note| log_store::is_vote(&note));
    match remedy(io::ErrorKind::InvalidData, config.initial_members.len(), vote) {
        Remedy::Stop => Err(error),
        Remedy::Refill => {
            tracing::error!(%error, "the database is set aside, and the other replicas fill this one again");
            rocks::set_aside(dir).map_err(|source| rocks::Error::Directory { path: dir.clone(), source })?;
            Rocks::open(dir)
        }
    }
}

/// A replica that voted has tables with an identity. If these are missing, they were lost or set aside, and what this
/// replica acknowledged went with them.
pub fn abstain_if_emptied(disk: &dyn Disk) -> io::Result<()> {
    match disk.get(Table::Meta, &IDENTITY)?.is_none() && disk.note()?.is_some() {
        true => bootstrap::abstain(disk, None),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_data_is_refilled_only_where_others_have_it_and_the_vote_is_known() {
        assert_eq!(remedy(io::ErrorKind::InvalidData, 3, true), Remedy::Refill);
        assert_eq!(remedy(io::ErrorKind::InvalidData, 1, true), Remedy::Stop, "nobody else has it");
        assert_eq!(remedy(io::ErrorKind::InvalidData, 3, false), Remedy::Stop, "it may have voted");
        assert_eq!(remedy(io::ErrorKind::Other, 3, true), Remedy::Stop, "an error of the device is no damage");
        assert_eq!(remedy(io::ErrorKind::Unsupported, 3, true), Remedy::Stop, "another version's data is no damage");
    }
}
