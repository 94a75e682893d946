//! The first start of an empty replica: a new cluster is born, or a living one takes the replica (back) in.
//! `verdict` and `unasked` decide, the rest acts.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use proto::mutants::{self, Mutant};
use proto::peer::{DescribeReply, DescribeRequest};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::command::Command;
use crate::config::founding_fault;
use crate::disk::flusher::Flusher;
use crate::disk::room::Room;
use crate::disk::{Batch, Disk, Table};
use crate::identity::{IDENTITY, Identity};
use crate::peer::channels::{Channels, Lane};
use crate::peer::ear::Ear;
use crate::propose::Proposer;
use crate::read::Reader;
use crate::recall::{self, Recall};
use crate::record;
use crate::types::{Place, Raft};

const ASK: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_millis(200);
/// Who waits says so now and then.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How often a replica that has nobody to ask looks whether others call it, with [`AGAIN`] in between, before it founds a
/// cluster of one: for 2 s. Whoever has it among its members dials again within 1.25 s, also where the first dial was lost
/// (a connection gets 1 s, the pause after it is 250 ms, see [`crate::peer::alive`]); the rest is for the greeting. It counts
/// looks and not time: a process that is held up hears nobody meanwhile.
const LOOKS: u32 = 10;
/// The members do not stand for election all at once: the lowest id begins, the next one waits this long for it.
const STAGGER: Duration = Duration::from_millis(1500);

/// Says whether data was lost for certain: `false` where the directory was empty.
const ABSTAINS: Bytes = Bytes::from_static(b"abstains");

/// What an empty replica makes of the others' answers, or of their calls.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Nobody knows anything: a new cluster. A majority that does not is not enough for that, for one of them may have had
    /// its part in what only those know who are silent now.
    Birth,
    /// The cluster lives. Whatever this replica once acknowledged, it has forgotten.
    Amnesia,
    Unclear,
}

/// `answers`: of the other members that answered.
fn verdict(members: usize, answers: &[DescribeReply]) -> Verdict {
    if answers.iter().any(|answer| answer.in_motion) && !mutants::on(Mutant::ForgetfulFounds) {
        return Verdict::Amnesia;
    }
    match answers.len() + 1 >= members {
        true => Verdict::Birth,
        false => Verdict::Unclear,
    }
}

/// Of a replica whose configuration names nobody else. Its cluster may have grown since that was written. `called`: did
/// others of its cluster call it, by now? `looks`: how often it had found that they did not.
fn unasked(called: bool, looks: u32) -> Verdict {
    match called && !mutants::on(Mutant::ForgetfulFounds) {
        true => Verdict::Amnesia,
        false if looks < LOOKS => Verdict::Unclear,
        false => Verdict::Birth,
    }
}

/// The tables are empty now, and `owner`'s: until this replica is filled again its vote is worth nothing.
pub async fn abstain(room: &Room, owner: &Identity) -> io::Result<()> {
    let mut batch = Batch::default();
    batch.put(Table::Meta, ABSTAINS, record::encode(&true));
    batch.put(Table::Meta, IDENTITY, record::encode(owner));
    room.write(&batch).await
}

pub struct Bootstrap {
    pub raft: Raft,
    pub id: u64,
    pub members: BTreeMap<u64, Place>,
    pub channels: Channels,
    pub reader: Reader,
    pub proposer: Arc<Proposer>,
    pub room: Arc<Room>,
    pub flusher: Flusher,
    pub ear: Arc<Ear>,
    pub abstains: Arc<AtomicBool>,
    pub recall: Arc<Recall>,
    /// No candidate counts a vote for longer after it was given.
    pub votes_end: Duration,
    /// Told where this replica can be no member of any cluster.
    pub removed: watch::Sender<Option<String>>,
}

impl Bootstrap {
    /// Did an earlier run of this replica end before it was filled again?
    pub fn abstained(disk: &dyn Disk) -> io::Result<bool> {
        Ok(disk.get(Table::Meta, &ABSTAINS)?.is_some())
    }

    /// Is it known that there was data here, and that it is lost?
    pub fn lost_data(disk: &dyn Disk) -> io::Result<bool> {
        let lost = disk.get(Table::Meta, &ABSTAINS)?.map(|row| record::decode::<bool>(&row, &String::new));
        Ok(lost.is_some_and(|lost| lost.unwrap_or(false)))
    }

    /// `pristine`: this replica has neither a vote nor an entry. Ends when it takes part in full.
    pub async fn run(self, pristine: bool, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            done = self.settle(pristine) => {
                if let Err(error) = done {
                    tracing::error!(%error, "this replica cannot take part");
                }
            }
        }
    }

    async fn settle(&self, pristine: bool) -> io::Result<()> {
        if pristine && !self.abstains.load(Relaxed) {
            // Until it is clear which of the two it is, no vote of this replica counts.
            self.abstains.store(true, Relaxed);
            self.raft.runtime_config().elect(false);
            match self.judge().await {
                Verdict::Birth => {
                    if let Some(why) = founding_fault(self.members.keys()) {
                        tracing::error!("no cluster is founded: {why}");
                        self.removed.send_replace(Some(why));
                        return Ok(());
                    }
                    self.abstains.store(false, Relaxed);
                    self.recall.learn(0);
                    self.raft.runtime_config().elect(true);
                    return self.initialize().await;
                }
                Verdict::Amnesia | Verdict::Unclear => self.remember(true).await?,
            }
        }
        if self.abstains.load(Relaxed) {
            tracing::info!("this replica is empty and waits to be filled; it does not vote until then");
            if !self.recall.is_certain() && self.is_alone() {
                return self.wait_for_a_person().await;
            }
            if !self.recall.is_certain() {
                let least = recall::ask(self.id, &self.members, &self.channels, self.votes_end).await;
                tracing::info!(term = least, "the others have told the term; older leaders are not believed");
                self.recall.learn(least);
            }
            // What this replica acknowledged before it forgot was in the log of the leader that got the
            // acknowledgement; an entry that is appended now comes after all of that.
            while !self.appended().await {
                tokio::time::sleep(AGAIN).await;
            }
            while self.reader.barrier().await.is_err() {
                // It may fail at once: a fenced replica serves no reads.
                tokio::time::sleep(AGAIN).await;
            }
            self.remember(false).await?;
            self.abstains.store(false, Relaxed);
            self.raft.runtime_config().elect(true);
            tracing::info!("this replica is filled and takes part in full");
        }
        Ok(())
    }

    /// Has an entry of this replica's own, which changes nothing, come to be committed?
    async fn appended(&self) -> bool {
        let author = "system:kontiki:replica".to_owned();
        let nothing = Command { fence: None, proposed_at_ms: 0, author, ops: Vec::new() };
        self.proposer.propose(nothing).await.is_ok()
    }

    /// Does the configuration name nobody else?
    fn is_alone(&self) -> bool {
        self.members.keys().all(|id| *id == self.id)
    }

    async fn judge(&self) -> Verdict {
        match self.is_alone() {
            true => self.listen().await,
            false => self.ask().await,
        }
    }

    /// Looks who calls until that is clear.
    async fn listen(&self) -> Verdict {
        let mut looks = 0;
        loop {
            match unasked(!self.ear.callers().is_empty(), looks) {
                Verdict::Unclear => tokio::time::sleep(AGAIN).await,
                clear => return clear,
            }
            looks += 1;
        }
    }

    /// Does not end. Whom this replica may believe only the others can tell (see [`recall`]), all that count together; those
    /// who call do not say where they are, nor who else there is.
    async fn wait_for_a_person(&self) -> io::Result<()> {
        loop {
            tracing::warn!(
                callers = ?self.ear.callers(),
                "this replica is empty, and its configuration names no other: write those of its cluster into `members` \
                 there and start it again; until then it takes nothing and does not vote"
            );
            tokio::time::sleep(TELL_EVERY).await;
        }
    }

    /// Asks until the answers are clear.
    async fn ask(&self) -> Verdict {
        let mut told: Option<Instant> = None;
        loop {
            let others = self.members.iter().filter(|(id, _)| **id != self.id);
            let asked = others.map(|(id, place)| async move {
                let mut client = self.channels.client(*id, &place.peer_address, Lane::Control);
                let answer = tokio::time::timeout(ASK, client.describe(DescribeRequest {})).await;
                Some((*id, answer.ok()?.ok()?.into_inner()))
            });
            let answers = futures::future::join_all(asked).await;
            let (answered, answers): (BTreeSet<u64>, Vec<DescribeReply>) = answers.into_iter().flatten().unzip();
            match verdict(self.members.len(), &answers) {
                Verdict::Unclear => {
                    if told.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
                        told = Some(Instant::now());
                        let silent = |id: &&u64| **id != self.id && !answered.contains(*id);
                        let silent: Vec<u64> = self.members.keys().filter(silent).copied().collect();
                        tracing::info!(
                            ?silent,
                            "this replica is empty, and some that its configuration names are silent: a new cluster \
                             begins when all of them are there; if others stand in their place by now, write these \
                             into `members` there and start it again"
                        );
                    }
                    tokio::time::sleep(AGAIN).await;
                }
                clear => return clear,
            }
        }
    }

    /// Every member may do this, with the same members; whoever is elected first makes it the cluster's.
    async fn initialize(&self) -> io::Result<()> {
        let before = self.members.keys().filter(|id| **id < self.id).count() as u32;
        tokio::time::sleep(STAGGER * before).await;
        match self.raft.initialize(self.members.clone()).await {
            // Already taken into the cluster: that was the aim.
            Ok(()) | Err(openraft::error::RaftError::APIError(openraft::error::InitializeError::NotAllowed(_))) => {
                Ok(())
            }
            Err(error) => Err(io::Error::other(error.to_string())),
        }
    }

    async fn remember(&self, abstains: bool) -> io::Result<()> {
        let mut batch = Batch::default();
        match abstains {
            // Whether it is a new one, or one that was emptied, nobody can tell.
            true => batch.put(Table::Meta, ABSTAINS, record::encode(&false)),
            false => batch.delete(Table::Meta, ABSTAINS),
        }
        self.room.write(&batch).await?;
        match abstains {
            // Before anybody is believed: the vote for him has a copy that is durable by itself, and without this record it would
            // say that nothing was forgotten.
            true => self.flusher.durable_at_last(None).await,
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_nobody_to_ask_founds_a_cluster_only_where_nobody_calls() {
        assert_eq!(unasked(false, 0), Verdict::Unclear, "others had no time to call");
        assert_eq!(unasked(false, LOOKS - 1), Verdict::Unclear);
        assert_eq!(unasked(false, LOOKS), Verdict::Birth);
        assert_eq!(unasked(true, 0), Verdict::Amnesia);
        assert_eq!(unasked(true, LOOKS), Verdict::Amnesia, "late, and not too late");
    }

    #[test]
    fn a_new_cluster_begins_only_where_nobody_knows_anything() {
        let empty = DescribeReply::default();
        let living = DescribeReply { in_motion: true, applied_index: 9, ..DescribeReply::default() };
        let founding = DescribeReply { initialized: true, ..DescribeReply::default() };
        assert_eq!(verdict(1, &[]), Verdict::Birth);
        assert_eq!(verdict(3, &[]), Verdict::Unclear);
        let one = std::slice::from_ref(&empty);
        assert_eq!(verdict(3, one), Verdict::Unclear, "the third may know something");
        assert_eq!(verdict(3, &[empty.clone(), empty.clone()]), Verdict::Birth);
        assert_eq!(verdict(3, &[empty.clone(), founding]), Verdict::Birth, "another member that has just begun");
        assert_eq!(verdict(3, &[empty.clone(), living.clone()]), Verdict::Amnesia);
        assert_eq!(verdict(5, one), Verdict::Unclear);
        assert_eq!(verdict(5, &[living]), Verdict::Amnesia, "one that lives is enough");
    }
}
