//! Looks after this replica's own membership: tells the others its address at its start and when that has changed, notices that it was
//! removed or would not find the others again, and as the leader writes down what an earlier leader left open. Acts;
//! `unnamed` decides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use proto::mutants::{self, Mutant};
use proto::peer::DescribeRequest;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::plan::MemberChange;
use super::wire::{Answered, out};
use super::{Member, Members, Roster};
use crate::ending;
use crate::log::LogStore;
use crate::peer::channels::Lane;
use crate::peer::door;
use crate::rhythm::Rhythm;
use crate::types::{Place, Raft};

const EVERY: Duration = Duration::from_secs(1);
const ASK: Duration = Duration::from_millis(700);
/// A raft node that has not ended by then waits for its disk, and may do so for ever.
const END: Duration = Duration::from_secs(2);

/// Ends with `stop`, or when this replica is told that it is no member any more: `removed` then says so.
pub(crate) async fn run(
    members: Arc<Members>,
    removed: watch::Sender<Option<String>>,
    rhythm: Rhythm,
    stop: CancellationToken,
) {
    let (mut turn, mut told, mut aware) = (0, BTreeSet::new(), BTreeSet::new());
    loop {
        members.follow_addresses();
        members.publish();
        members.tell_unnamed(&mut told);
        members.announce(&mut aware).await;
        members.tidy().await;
        if let Some(why) = members.expelled(turn).await {
            tracing::error!(replica = members.id, "{why}; this replica stops");
            // Without this it would go on asking for votes.
            let _ = tokio::time::timeout(END, ending::end(&members.raft)).await;
            removed.send_replace(Some(why));
            return;
        }
        turn += 1;
        tokio::select! {
            () = stop.cancelled() => return,
            () = rhythm.next(EVERY) => {}
        }
    }
}

/// Keeps beside the vote whether there are other voters. Ends with `stop`.
pub(crate) async fn note_others(log: LogStore, raft: Raft, id: u64, stop: CancellationToken) {
    let mut metrics = raft.server_metrics();
    loop {
        let others = {
            let metrics = metrics.borrow_and_update();
            let mut voters = metrics.membership_config.voter_ids().peekable();
            voters.peek().is_some().then(|| voters.any(|voter| voter != id))
        };
        if let Some(others) = others {
            // The disk's failure shows in whatever else is written.
            let _ = log.votes.note_others(others).await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = metrics.changed() => if changed.is_err() { return },
        }
    }
}

impl Members {
    fn follow_addresses(&self) {
        let known: BTreeMap<u64, String> =
            self.known().into_iter().map(|member| (member.id, member.peer_address)).collect();
        self.channels.follow(known);
    }

    /// Shows the members to those who want to know them, once they are certain to be the members.
    fn publish(&self) {
        let applied = self.published.applied().borrow().map_or(0, |at| at.index);
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let membership = &metrics.membership_config;
        let certain = |index: &u64| *index <= applied || mutants::on(Mutant::UncommittedMembersShown);
        let Some(index) = membership.log_id().as_ref().map(|at| at.index).filter(certain) else { return };
        let mut members: Vec<Member> = membership.nodes().map(|(id, place)| Member::new(*id, place)).collect();
        members.sort_by_key(|member| member.id);
        let now = Roster { index, members };
        self.roster.send_if_modified(|shown| {
            let changed = *shown != now;
            *shown = now;
            changed
        });
    }

    /// Once for each set of others. The file may be mended by now: it is read at the next start.
    fn tell_unnamed(&self, told: &mut BTreeSet<u64>) {
        let others = unnamed(self.id, &self.initial, &self.roster.borrow().members);
        if !others.is_empty() && others != *told {
            tracing::warn!(
                ?others,
                "the configuration that this replica was started with names none of the other members: write them into \
                 `members` there, if that is not done yet; should it lose its disk, it could not find its cluster again"
            );
        }
        *told = others;
    }

    fn others(&self) -> Vec<Member> {
        self.known().into_iter().filter(|member| member.id != self.id).collect()
    }

    /// Where the membership has this member.
    pub(crate) fn recorded(&self, id: u64) -> Option<Place> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().get_node(&id).cloned()
    }

    /// Every other member is told once by each run of this replica where it is: an earlier run may have said otherwise, and what it
    /// said was perhaps refused, so that nothing in the membership speaks against it. As long as the membership has another address
    /// for this replica than its configuration, all are told again and again: whoever leads puts it into the membership, and all of
    /// them can reach this replica meanwhile. `aware`: who has heard it.
    async fn announce(&self, aware: &mut BTreeSet<u64>) {
        let Some(own) = self.initial.iter().find(|member| member.id == self.id) else { return };
        let Some(recorded) = self.recorded(self.id) else { return };
        let (peer_address, client_address) = (own.peer_address.clone(), own.client_address.clone());
        let moved = MemberChange::Move { id: self.id, peer_address, client_address };
        if recorded != own.place() {
            aware.clear();
            let leads = self.standing.borrow().leads_in_term.is_some();
            if leads && matches!(self.change_here(&moved).await, Answered::Done(_)) {
                return;
            }
            self.look_for_others().await;
        }
        let others: Vec<Member> = self.others().into_iter().filter(|other| !aware.contains(&other.id)).collect();
        let told = others.iter().map(|other| async {
            let mut client = self.channels.client(other.id, &other.peer_address, Lane::Control);
            let heard = tokio::time::timeout(ASK, client.change(out(&moved))).await;
            matches!(heard, Ok(Ok(_))).then_some(other.id)
        });
        aware.extend(futures::future::join_all(told).await.into_iter().flatten());
    }

    /// When all have moved, nobody is left where the membership has him. Where the configuration, which is newer than the
    /// membership here, has another address, and only that one answers, it is tried. A wrong one does no harm: who
    /// listens there must have the certificate of a replica, and takes no message that is meant for another.
    async fn look_for_others(&self) {
        for other in self.others() {
            let Some(configured) = self.initial.iter().find(|member| member.id == other.id) else { continue };
            let (known, new) = (&other.peer_address, &configured.peer_address);
            if new != known
                && !self.channels.listens(other.id, known, ASK).await
                && self.channels.listens_at(new, ASK).await
            {
                self.channels.moved(other.id, new);
            }
        }
    }

    /// Asks one of the others, another one every time: a member that knows of the removal says so.
    async fn expelled(&self, turn: usize) -> Option<String> {
        if self.standing.borrow().leads_in_term.is_some() {
            return None;
        }
        let others = self.others();
        let other = others.get(turn.checked_rem(others.len())?)?;
        let mut client = self.channels.client(other.id, &other.peer_address, Lane::Control);
        let answer = tokio::time::timeout(ASK, client.describe(DescribeRequest {})).await;
        door::expelled(&answer.ok()?.err()?)
    }
}

/// The other members, where the configuration names none of them: without its disk, this replica would not find them.
fn unnamed(own: u64, configured: &[Member], members: &[Member]) -> BTreeSet<u64> {
    let ids = |of: &[Member]| -> BTreeSet<u64> { of.iter().map(|member| member.id).filter(|id| *id != own).collect() };
    let (named, others) = (ids(configured), ids(members));
    if named.is_disjoint(&others) { others } else { BTreeSet::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u64; 0] = [];

    #[test]
    fn one_of_the_others_must_be_named() {
        let of = |ids: &[u64]| -> Vec<Member> {
            let member = |id: &u64| Member { id: *id, peer_address: String::new(), client_address: String::new() };
            ids.iter().map(member).collect()
        };
        let unnamed = |configured: &[u64], members: &[u64]| -> Vec<u64> {
            super::unnamed(1, &of(configured), &of(members)).into_iter().collect()
        };
        assert_eq!(unnamed(&[1], &[]), NONE, "nobody is known to be a member yet");
        assert_eq!(unnamed(&[1], &[1]), NONE, "there is nobody else");
        assert_eq!(unnamed(&[1], &[1, 2]), [2], "a learner, too");
        assert_eq!(unnamed(&[1], &[1, 2, 3]), [2, 3]);
        assert_eq!(unnamed(&[1, 2], &[1, 2, 3]), NONE, "that one knows of the rest");
        assert_eq!(unnamed(&[1, 2, 3], &[1, 4, 5]), [4, 5], "those it names were replaced");
    }
}
