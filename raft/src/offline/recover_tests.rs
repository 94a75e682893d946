//! A recovery that is interrupted, after each of its steps. The log of its replica had lost its end before, which nothing but the
//! mark tells.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;

use openraft::EntryPayload;
use openraft::storage::{RaftLogStorage as _, RaftLogStorageExt as _};
use openraft::type_config::alias::LeaderIdOf;
use openraft::vote::RaftLeaderId as _;
use proto::seam::Env;

use super::*;
use crate::command::{Action, Command, Op, Precondition};
use crate::disk::faulty::Faulty;
use crate::disk::rocks::Rocks;
use crate::disk::{Batch, Note, Table};
use crate::log::keepsake::Keepsake;
use crate::log::rows;
use crate::store::tests::config;
use crate::store::{Config, OpenError, Store};
use crate::types::{Entry, Membership, Place, Proposal, Types, Vote, log_id};

const REPLICA: u64 = 2;
const CLUSTER: &str = "old";
const UNDERWAY: &str = "old-epoch-1-unfinished";
const NEXT: &str = "old-epoch-1";
/// Entries beside the one that names the members, and how many of them are lost.
const LAST: u64 = 20;
const LOST: u64 = 3;

fn put(index: u64) -> Entry {
    let op =
        Op { key: format!("key-{index}").into(), precondition: Precondition::Any, action: Action::Put("x".into()) };
    let command = Command { fence: None, proposed_at_ms: index, author: "test".into(), ops: vec![op] };
    Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(Proposal(command.encode())) }
}

/// Makes the data of one of three replicas.
async fn survivor(dir: &Path) {
    let disk: Arc<dyn Disk> = Arc::new(Rocks::open(dir).unwrap());
    let mut data = Data::open(disk.clone()).unwrap();
    let owner = Identity { cluster_id: CLUSTER.into(), replica: REPLICA };
    owner.write(&*disk).unwrap();
    data.log.votes.belongs_to(owner, true);
    let leader_id = LeaderIdOf::<Types>::new(1, 1);
    data.log.save_vote(&Vote { leader_id, committed: true }).await.unwrap();
    let places: BTreeMap<u64, Place> = (1..=3).map(|id| (id, Place::default())).collect();
    let members = Membership::new(vec![places.keys().copied().collect()], places).unwrap();
    let first = Entry { log_id: log_id(1, 0), payload: EntryPayload::Membership(members) };
    let entries: Vec<Entry> = std::iter::once(first).chain((1..=LAST).map(put)).collect();
    data.log.blocking_append(entries).await.unwrap();
    let mut batch = Batch::default();
    batch.delete_range(Table::Log, rows::key(LAST - LOST + 1), rows::key(u64::MAX));
    disk.write(&batch).unwrap();
    disk.sync().await.unwrap();
    disk.close();
}

/// As the survivor was configured all the time.
fn configured(dir: &Path) -> Config {
    let alone = config(dir);
    let member = |id| Member { id, peer_address: alone.peer_listen.clone(), client_address: String::new() };
    let initial_members = (1..=3).map(member).collect();
    Config { id: REPLICA, initial_members, cluster_id: CLUSTER.into(), ..alone }
}

fn faulty(dir: &Path) -> Arc<Faulty> {
    Faulty::new(Arc::new(Rocks::open(dir).unwrap()))
}

async fn attempt(disk: &Arc<Faulty>, before: &Inspection) -> io::Result<String> {
    let own = before.members.iter().find(|member| member.id == REPLICA).unwrap();
    let disk: Arc<dyn Disk> = disk.clone();
    carry_out(&disk, before, own, 0).await
}

/// The process is killed after so many steps. What came of it, and whose the data is then.
async fn interrupted(dir: &Path, steps: u64) -> (io::Result<String>, String) {
    let before = inspect(dir).await.unwrap();
    assert_eq!((before.last_index, before.durable_index), (LAST - LOST, LAST), "its log has lost its end");
    let disk = faulty(dir);
    let mark = disk.note(Note::Mark).unwrap();
    disk.takes.store(steps, Relaxed);
    let attempted = attempt(&disk, &before).await;
    let whose = Identity::found(&*disk).unwrap().expect("it is somebody's").cluster_id;
    let same = disk.note(Note::Mark).unwrap() == mark;
    assert!(same || whose != CLUSTER, "after {steps} steps: the old cluster's replica would not know what it has lost");
    disk.close();
    (attempted, whose)
}

/// A cluster of one, with all that the log had, above every revision that was known.
async fn is_whole(dir: &Path) {
    let found = inspect(dir).await.unwrap();
    assert_eq!((found.cluster_id.as_str(), found.unfinished, found.abstains), (NEXT, false, false));
    assert_eq!((found.last_index, found.durable_index), (LAST - LOST, LAST - LOST));
    assert_eq!((found.voters, found.members.len()), (BTreeSet::from([REPLICA]), 1));
    assert!(found.revision > beyond::REVISION_JUMP, "{}", found.revision);
    let disk: Arc<dyn Disk> = Arc::new(Rocks::open(dir).unwrap());
    let data = Data::open(disk.clone()).unwrap();
    let state = data.machine.published().state();
    for index in 1..=LAST {
        let is_there = state.get(format!("key-{index}").as_bytes()).is_some();
        assert_eq!(is_there, index <= LAST - LOST, "{index}");
    }
    assert_eq!((used::last(&state), used::removed(&state)), (3, BTreeSet::from([1, 3])), "the others are out");
    let kept = Keepsake::read(disk.note(Note::Vote).unwrap()).unwrap().expect("it has a vote");
    assert_eq!((kept.owner.map(|owner| owner.cluster_id).as_deref(), kept.others), (Some(NEXT), false));
    assert_eq!(kept.vote.leader_id.voted_for, REPLICA);
    disk.close();
}

#[tokio::test]
async fn what_was_interrupted_does_not_start_and_can_be_done_again() {
    let (mut steps, mut refused) = (0, 0);
    loop {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        survivor(dir).await;
        let (attempted, whose) = interrupted(dir, steps).await;
        if whose == UNDERWAY {
            let found = inspect(dir).await.unwrap();
            assert_eq!((found.cluster_id.as_str(), found.unfinished), (CLUSTER, true), "after {steps} steps");
            let error = Store::open(configured(dir), Env::real()).await.err().expect("half of it is there");
            assert!(matches!(error, OpenError::Unrecovered(_)), "after {steps} steps: {error}");
            assert!(error.to_string().ends_with("do it again with `kontiki recover`"), "{error}");
            refused += 1;
        }
        if whose != NEXT {
            assert_eq!(recover(dir, REPLICA, 0).await.unwrap(), NEXT, "after {steps} steps");
        }
        is_whole(dir).await;
        if attempted.is_ok() {
            break;
        }
        steps += 1;
    }
    assert!(refused > 5, "it was interrupted in the middle {refused} times only, in {steps}");
}

/// Or after a loss of power the old cluster's replica would vote again, with the end of its log missing.
#[tokio::test]
async fn that_the_old_cluster_has_lost_it_is_durable_before_its_log_may_be_shorter() {
    let dir = tempfile::tempdir().unwrap();
    survivor(dir.path()).await;
    let before = inspect(dir.path()).await.unwrap();
    let disk = faulty(dir.path());
    let mark = disk.note(Note::Mark).unwrap();
    disk.fail_sync.store(true, Relaxed);
    attempt(&disk, &before).await.unwrap_err();
    assert_eq!(disk.note(Note::Mark).unwrap(), mark);
    disk.close();
}
