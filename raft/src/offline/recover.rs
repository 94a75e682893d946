//! A survivor of a lost majority becomes a cluster of one. Acts.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Data, Error, Inspection, SYNC_DEADLINE, beyond, inspect};
use crate::disk::{Disk, rocks};
use crate::identity::{self, Identity};
use crate::members::{Member, used};

/// Makes the replica in `dir` a cluster of one, in the next epoch: everything in its log is taken for committed, the
/// other members are out for ever. Interrupted, it can be done again, and nothing starts on what is there until then. `now_ms`:
/// since the Unix epoch. Returns the new cluster id.
pub async fn recover(dir: &Path, replica: u64, now_ms: u64) -> Result<String, Error> {
    let before = inspect(dir).await?;
    if before.replica != replica {
        return Err(Error::Other { dir: dir.into(), found: before.replica, cluster: before.cluster_id });
    }
    let own = before.members.iter().find(|member| member.id == replica);
    let own = own.ok_or_else(|| Error::Members(format!("replica {replica} is no member of its cluster")))?;
    let disk: Arc<dyn Disk> = Arc::new(rocks::Rocks::open(dir)?);
    let recovered = carry_out(&disk, &before, own, now_ms).await;
    disk.close();
    recovered.map_err(|source| Error::Data { dir: dir.into(), source })
}

async fn carry_out(disk: &Arc<dyn Disk>, before: &Inspection, own: &Member, now_ms: u64) -> io::Result<String> {
    let mut data = Data::open(disk.clone())?;
    let owner = Identity { cluster_id: identity::next_epoch(&before.cluster_id), replica: own.id };
    // This first, and durable: whatever interrupts it, the replica never again speaks for the old cluster, and does not start before
    // it is whole in the new one.
    let begun = Identity { cluster_id: identity::unfinished(&owner.cluster_id), ..owner.clone() };
    begun.write(&**disk)?;
    data.flusher.durable(SYNC_DEADLINE).await?;
    data.log.votes.belongs_to(owner.clone(), false);
    let at = data.apply_all().await?;
    let mut state = data.machine.published().state();
    let highest = before.members.iter().map(|member| member.id).max().unwrap_or(0);
    let others = before.members.iter().map(|member| member.id).filter(|id| *id != own.id);
    used::close(&mut state, highest, others);
    state.set_revision(beyond::all_known(state.revision(), beyond::REVISION_JUMP, Some(now_ms)));
    data.begin(at, state, [own.id].into(), [(own.id, own.place())].into(), own.id).await?;
    data.flusher.durable(SYNC_DEADLINE).await?;
    owner.write(&**disk)?;
    data.flusher.durable(SYNC_DEADLINE).await?;
    Ok(owner.cluster_id)
}

#[cfg(test)]
#[path = "recover_tests.rs"]
mod tests;
