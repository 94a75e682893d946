//! A replica whose disk was replaced or emptied, until it is filled again: whom it believes, that it founds nothing, and that
//! it rests behind a fence.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use kontiki_raft::{Config, Disk as _, Store, Table};
use proto::seam::Env;
use tokio::time::Instant;

use crate::common::disk::{Memory, on_memory, start_on};
use crate::common::{command, eventually, filled, idles, in_time, put, status_of, takes_part};

/// A leader without a majority is silent for 1.6 s at a time: within this it sends heartbeats, and entries too.
const LONG: Duration = Duration::from_secs(4);

/// Seed 26 of the simulation: with the acknowledgement of an emptied replica a deposed leader overruled what the two others
/// had committed. The one that is away here may have led since, and both may have forgotten it.
#[tokio::test]
async fn an_emptied_replica_takes_nothing_from_a_leader_that_may_have_been_deposed() {
    let (mut cluster, mut disks) = on_memory(3).await;
    filled(&cluster).await;
    cluster.converged().await;
    let leader = cluster.leader().await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader.id()).collect();
    let (emptied, away) = (others[0], others[1]);
    for id in others {
        cluster.kill(id).await;
    }
    disks.insert(emptied, Memory::new());
    let store = start_on(&mut cluster, &disks, emptied).await.unwrap();
    let heard = async || disks[&emptied].keys(Table::Meta).iter().any(|key| key == "abstains").then_some(());
    eventually("it has heard from the leader that the cluster lives", heard).await;

    let proposed = tokio::time::timeout(LONG, leader.propose(command(vec![put("later", "x")]))).await;
    assert!(!matches!(proposed, Ok(Ok(_))), "acknowledged, though the third may have overruled it: {proposed:?}");
    assert!(leader.standing().borrow().leads_in_term.is_some(), "there was somebody to believe");
    let standing = store.standing().borrow().clone();
    assert_eq!((standing.term, standing.leader), (0, None), "it believes nobody");
    assert!(disks[&emptied].keys(Table::Log).is_empty());

    start_on(&mut cluster, &disks, away).await.unwrap();
    takes_part(cluster, store).await;
}

/// A candidate may still count the vote that the replica gave before it forgot, and be elected by those who have answered.
#[tokio::test]
async fn an_emptied_replica_believes_nobody_before_every_vote_of_its_own_has_ended() {
    let (mut cluster, mut disks) = on_memory(3).await;
    filled(&cluster).await;
    let emptied = cluster.follower().await.id();
    cluster.kill(emptied).await;
    disks.insert(emptied, Memory::new());
    let started = Instant::now();
    let store = start_on(&mut cluster, &disks, emptied).await.unwrap();
    eventually("somebody is believed", async || store.standing().borrow().leader).await;
    let election_max = cluster.config(emptied).timing.election_max;
    assert!(started.elapsed() >= election_max, "after {:?}", started.elapsed());
    takes_part(cluster, store).await;
}

/// It took itself for new, for the configuration of its first day names nobody whom it could ask.
#[tokio::test]
async fn an_emptied_founder_whose_configuration_names_nobody_else_founds_nothing_and_does_not_vote() {
    let (mut cluster, mut disks) = on_memory(1).await;
    filled(&cluster).await;
    assert_eq!((cluster.grow().await, cluster.grow().await), (2, 3));
    cluster.converged().await;
    cluster.stop(1).await;
    disks.insert(1, Memory::new());
    let alone = Config { initial_members: vec![cluster.members[0].clone()], ..cluster.config(1) };
    let store = Store::open_on(disks[&1].clone(), alone, Env::real()).await.unwrap();
    let heard = async || disks[&1].keys(Table::Meta).iter().any(|key| key == "abstains").then_some(());
    eventually("it has heard that the cluster lives", heard).await;

    // Nobody leads without its vote, and nothing is committed.
    let dead = cluster.leader().await.id();
    cluster.kill(dead).await;
    let left = cluster.stores.values().next().unwrap().clone();
    let proposed = tokio::time::timeout(LONG, left.propose(command(vec![put("later", "x")]))).await;
    assert!(!matches!(proposed, Ok(Ok(_))), "a majority without the one that is away: {proposed:?}");
    assert_eq!(left.standing().borrow().leads_in_term, None);
    let standing = store.standing().borrow().clone();
    assert_eq!((standing.term, standing.leader), (0, None), "it neither leads nor follows");
    assert!(disks[&1].keys(Table::Log).is_empty());
    let told = status_of(&left, 1).await.trouble.unwrap_or_default();
    assert!(told.contains("written into `members`"), "{told}");

    // As it was told.
    in_time("a stop", store.kill()).await;
    let store = start_on(&mut cluster, &disks, 1).await.unwrap();
    cluster.start(dead).await;
    takes_part(cluster, store).await;
}

/// Before it takes part, a replica puts an entry of its own into the log and then reads. The fence falls between the two, where
/// the read fails at once: it was tried again without pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_fenced_while_it_is_being_filled_rests() {
    let (mut cluster, disks) = on_memory(3).await;
    filled(&cluster).await;
    cluster.converged().await;
    let leader = cluster.leader().await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader.id()).collect();
    let (emptied, away) = (others[0], others[1]);
    for id in [away, emptied] {
        cluster.kill(id).await;
    }
    disks[&emptied].set_aside().unwrap();

    // While one is away, nothing is committed that the leader's own disk has not synced.
    let disk = &disks[&leader.id()];
    let held = disk.syncs.lock().await;
    let (entries, applied) = (disk.keys(Table::Log).len(), leader.metrics().applied_index.load(Relaxed));
    let grown = async |by: usize| {
        let grown = async || (disk.keys(Table::Log).len() >= entries + by).then_some(());
        eventually("entries in the leader's log", grown).await;
    };
    let proposer = leader.clone();
    let later = tokio::spawn(async move { proposer.propose(command(vec![put("later", "x")])).await });
    grown(1).await;
    let store = start_on(&mut cluster, &disks, emptied).await.unwrap();
    grown(2).await;
    let level = async || (store.state().revision() == leader.state().revision()).then_some(());
    eventually("all that is committed", level).await;
    store.poison();
    // The sync that waits goes first: it is of `later` alone. The replica's own entry is behind it.
    let mut next = std::pin::pin!(disk.syncs.lock());
    assert!(futures::poll!(&mut next).is_pending());
    drop(held);
    let held = next.await;
    in_time("the write", later).await.unwrap().unwrap();
    let why = eventually("the doubt", async || store.health().err()).await.to_string();
    assert!(why.contains("no majority agrees"), "{why}");
    assert_eq!(store.metrics().applied_index.load(Relaxed), applied + 1, "the replica's own entry is not there yet");
    drop(held);
    let committed = async || (store.metrics().applied_index.load(Relaxed) >= applied + 2).then_some(());
    eventually("the replica's own entry, committed", committed).await;
    idles().await;
    let told = store.metrics();
    let proposals = (told.proposals.load(Relaxed), told.proposals_refused.load(Relaxed));
    assert_eq!(proposals, (1, 0), "it is the read that it goes on trying");

    // The third decides who is right.
    start_on(&mut cluster, &disks, away).await.unwrap();
    eventually("the fence", async || store.health().err().filter(|why| why.to_string().contains("differs"))).await;
    idles().await;
}
