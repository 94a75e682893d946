//! What a replica does about damaged data when it starts: it sets the tables aside and begins with empty ones, which
//! its peers fill again. Its vote is kept apart and survives; without a readable vote it does not start. Until it is
//! filled it abstains (ADR 8 has the argument). Acts; `remedy` decides.

use std::io;
use std::sync::Arc;

use crate::bootstrap;
use crate::config::Config;
use crate::disk::flusher::{Flusher, SYNC_DEADLINE};
use crate::disk::rocks::{self, Rocks};
use crate::disk::room::Room;
use crate::disk::{Disk, Note, apart};
use crate::identity::Identity;
use crate::log::LogStore;
use crate::log::keepsake::Keepsake;
use crate::log::rows;
use crate::machine::Machine;
use crate::machine::reach::Reach;
use crate::metrics::Metrics;
use crate::offline::unfinished;
use crate::open::OpenError;

#[derive(Debug, PartialEq, Eq)]
enum Remedy {
    /// The tables go aside, the peers fill this replica again.
    Refill,
    /// Nobody else has the data, or this replica cannot keep what it promised: a person must decide.
    Stop,
}

/// `others`: has anybody else the data? `vote`: is a copy of it readable?
fn remedy(error: io::ErrorKind, others: bool, vote: bool) -> Remedy {
    match error == io::ErrorKind::InvalidData && others && vote {
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
    owner: &Identity,
    emptied: bool,
) -> io::Result<(LogStore, Machine)> {
    let others = others(config, kept(&*room.disk)?.as_ref());
    let tables = || -> io::Result<(LogStore, Machine)> {
        let reach = Arc::new(Reach::default());
        let log = LogStore::open(room.clone(), flusher.clone(), metrics.clone(), reach.clone())?;
        log.votes.belongs_to(owner.clone(), others);
        let (room, window) = (room.clone(), config.history.clone());
        let machine = Machine::open(room, flusher.clone(), metrics.clone(), window, reach)?;
        let found = log.last().max(machine.last_applied());
        flusher.mark().hold_against(found)?;
        flusher.vouch(found)?;
        Ok((log, machine))
    };
    // What was found while it ran may lie where a start does not look: in what a compaction has still to go through.
    let found = config.renewals.damage.as_ref().filter(|_| !emptied);
    let found = found.map(|what| io::Error::new(io::ErrorKind::InvalidData, what.clone()));
    let opened = match found.map_or_else(tables, Err) {
        Ok(opened) => opened,
        Err(error) => {
            set_aside(room, flusher, metrics, others, owner, error).await?;
            tables()?
        }
    };
    opened.0.votes.mend().await?;
    Ok(opened)
}

/// What is kept beside the tables, if that can be read.
fn kept(disk: &dyn Disk) -> io::Result<Option<Keepsake>> {
    Ok(Keepsake::read(disk.note(Note::Vote)?).ok().flatten())
}

/// Has anybody else the data, and does this replica know where to find him?
fn others(config: &Config, kept: Option<&Keepsake>) -> bool {
    config.initial_members.len() > 1 && kept.is_none_or(|kept| kept.others)
}

/// What the two copies of the identity say.
#[derive(Debug, PartialEq, Eq)]
pub enum Whose {
    /// Nothing was ever written here.
    Nobody,
    Of(Identity),
    /// The one in the tables is damaged; this is the other.
    Damaged(Identity),
    /// The tables were lost or set aside: a replica that voted had some.
    Emptied(Option<Identity>),
}

impl Whose {
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Whose::Nobody => None,
            Whose::Of(identity) | Whose::Damaged(identity) => Some(identity),
            Whose::Emptied(identity) => identity.as_ref(),
        }
    }
}

/// Touches nothing: the data may turn out to be another's.
pub fn whose(disk: &dyn Disk) -> io::Result<Whose> {
    let (stored, note) = (Identity::found(disk), disk.note(Note::Vote)?);
    told(stored, note.is_some(), Keepsake::read(note))
}

fn told(stored: io::Result<Option<Identity>>, noted: bool, kept: io::Result<Option<Keepsake>>) -> io::Result<Whose> {
    let kept = kept.ok().flatten().and_then(|kept| kept.owner);
    match (stored, kept) {
        (Ok(Some(stored)), _) => Ok(Whose::Of(stored)),
        (Ok(None), kept) if noted => Ok(Whose::Emptied(kept)),
        (Ok(None), _) => Ok(Whose::Nobody),
        (Err(error), Some(kept)) if error.kind() == io::ErrorKind::InvalidData => Ok(Whose::Damaged(kept)),
        (Err(error), _) => Err(error),
    }
}

/// Writes down that the data is `owner`'s, where that is not to be read in the tables. Of emptied ones: what this replica
/// acknowledged went with them. Returns whether they were.
pub async fn claim(
    whose: &Whose,
    owner: &Identity,
    room: &Room,
    flusher: &Flusher,
    metrics: &Metrics,
) -> io::Result<bool> {
    match whose {
        Whose::Of(_) => return Ok(false),
        Whose::Emptied(_) => {
            // Also where the database could not be opened, and was set aside before anybody counted.
            Metrics::add(&metrics.checksum_failures, 1);
            flusher.mark().lower(None).await?;
            bootstrap::abstain(room, owner).await?;
            return Ok(true);
        }
        Whose::Damaged(_) => {
            Metrics::add(&metrics.checksum_failures, 1);
            tracing::error!(
                cluster = owner.cluster_id,
                "the record of whose data this is was damaged; its copy counts"
            );
            owner.write(&*room.disk)?;
        }
        Whose::Nobody => owner.write(&*room.disk)?,
    }
    flusher.durable(SYNC_DEADLINE).await.map(|()| false)
}

/// Sets the tables aside that `error` tells of, where that is the remedy.
async fn set_aside(
    room: &Room,
    flusher: &Flusher,
    metrics: &Metrics,
    others: bool,
    owner: &Identity,
    error: io::Error,
) -> io::Result<()> {
    Metrics::add(&metrics.checksum_failures, 1);
    let vote = rows::kept_vote(&*room.disk).ok().flatten();
    let (Remedy::Refill, Some(vote)) = (remedy(error.kind(), others, vote.is_some()), vote) else {
        return Err(error);
    };
    tracing::error!(%error, "the data is damaged: it is set aside, and the other replicas fill this one again");
    // The copy may be the damaged one.
    room.disk.save_note(Note::Vote, &Keepsake { vote, owner: Some(owner.clone()), others }.encode(), true)?;
    apart(&room.disk, |disk| disk.set_aside()).await?;
    // Not before: it may be what told of the damage. A crash in between leaves tables that are known to be emptied.
    flusher.mark().lower(None).await?;
    bootstrap::abstain(room, owner).await
}

/// Opens the database; one that cannot be opened for its damage is treated like damaged tables.
pub fn database(config: &Config) -> Result<Rocks, OpenError> {
    let dir = &config.dir;
    if unfinished::is(dir) {
        return Err(OpenError::Unfinished(dir.clone()));
    }
    let error = match Rocks::open(dir) {
        Err(error @ rocks::Error::Damaged { .. }) => error,
        opened => return Ok(opened?),
    };
    let kept = rocks::note(dir, Note::Vote).and_then(Keepsake::read).ok().flatten();
    match remedy(io::ErrorKind::InvalidData, others(config, kept.as_ref()), kept.is_some()) {
        Remedy::Stop => Err(error.into()),
        Remedy::Refill => {
            let wanted = Identity { cluster_id: config.cluster_id.clone(), replica: config.id };
            wanted.hold_against(kept.and_then(|kept| kept.owner), dir)?;
            tracing::error!(%error, "the database is set aside, and the other replicas fill this one again");
            rocks::set_aside(dir).map_err(|source| rocks::Error::Directory { path: dir.clone(), source })?;
            Ok(Rocks::open(dir)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::wire;

    #[test]
    fn whose_data_it_is_is_told_by_either_copy() {
        let of = |cluster: &str| Identity { cluster_id: cluster.into(), replica: 3 };
        let vote = wire::vote_in(Some(proto::peer::Vote { term: 3, replica: 2, committed: true })).unwrap();
        let kept = |owner: Option<Identity>| Ok(Some(Keepsake { vote, owner, others: true }));
        let damage = |kind: io::ErrorKind| io::Error::new(kind, "meta record identity is corrupt");
        let rotten = || Err(damage(io::ErrorKind::InvalidData));
        let copy_rotten = || Err(damage(io::ErrorKind::InvalidData));
        assert_eq!(told(Ok(None), false, Ok(None)).unwrap(), Whose::Nobody);
        assert_eq!(told(Ok(Some(of("a-epoch-1"))), true, kept(Some(of("a")))).unwrap(), Whose::Of(of("a-epoch-1")));
        assert_eq!(told(Ok(Some(of("a"))), true, copy_rotten()).unwrap(), Whose::Of(of("a")));
        assert_eq!(told(rotten(), true, kept(Some(of("a-epoch-1")))).unwrap(), Whose::Damaged(of("a-epoch-1")));
        assert_eq!(told(Ok(None), true, kept(Some(of("a-epoch-1")))).unwrap(), Whose::Emptied(Some(of("a-epoch-1"))));
        assert_eq!(told(Ok(None), true, copy_rotten()).unwrap(), Whose::Emptied(None));
        assert!(told(rotten(), true, copy_rotten()).is_err(), "nobody knows whose it is");
        assert!(told(rotten(), false, Ok(None)).is_err());
        let foreign = Err(damage(io::ErrorKind::Unsupported));
        assert!(told(foreign, true, kept(Some(of("a")))).is_err(), "another version's data is no damage");
    }

    #[test]
    fn damaged_data_is_refilled_only_where_others_have_it_and_the_vote_is_known() {
        assert_eq!(remedy(io::ErrorKind::InvalidData, true, true), Remedy::Refill);
        assert_eq!(remedy(io::ErrorKind::InvalidData, false, true), Remedy::Stop, "nobody else has it");
        assert_eq!(remedy(io::ErrorKind::InvalidData, true, false), Remedy::Stop, "it may have voted");
        assert_eq!(remedy(io::ErrorKind::Other, true, true), Remedy::Stop, "an error of the device is no damage");
        assert_eq!(remedy(io::ErrorKind::Unsupported, true, true), Remedy::Stop, "another version's data is no damage");
    }
}
