//! Members come and go: every rule, and what happens when replicas die in between.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use kontiki_raft::{ChangeError, Disk as _, MemberChange, Role, Store};

use crate::common::disk::{Disks, Memory, on_memory, start_on};
use crate::common::{Cluster, PATIENCE, bytes, command, eventually, free_address, in_time, put, value, write};

fn refusal(answer: Result<u64, ChangeError>) -> String {
    match answer {
        Err(ChangeError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

async fn voters(store: &Store) -> Vec<u64> {
    let members = store.members(Duration::from_millis(500)).await;
    members.iter().filter(|status| status.voter).map(|status| status.member.id).collect()
}

#[tokio::test]
async fn one_replica_grows_to_three_and_survives_a_death() {
    let mut cluster = Cluster::started(1).await;
    write(&cluster.stores[&1], "a", "1").await;
    assert_eq!((cluster.grow().await, cluster.grow().await), (2, 3));
    assert_eq!(voters(&cluster.stores[&3]).await, [1, 2, 3]);
    cluster.converged().await;
    assert_eq!(value(&cluster.stores[&3], "a").as_deref(), Some("1"));
    let dead = cluster.leader().await.id();
    cluster.kill(dead).await;
    let left = cluster.stores.values().next().unwrap().clone();
    write(&left, "b", "1").await;
}

#[tokio::test]
async fn a_learner_that_does_not_run_or_is_not_filled_is_not_promoted() {
    let mut cluster = Cluster::started(3).await;
    write(&cluster.stores[&1], "a", "1").await;
    let id = cluster.add().await;
    let why = refusal(cluster.change(MemberChange::Promote { id }).await);
    assert!(why.contains("replica 4 does not answer"), "{why}");
    // It does not count: with one of three voters dead, writes go on.
    let dead = cluster.follower().await.id();
    cluster.kill(dead).await;
    write(&cluster.leader().await, "b", "1").await;
    let store = cluster.start(id).await;
    eventually("a learner that is filled", async || value(&store, "b")).await;
    eventually("its role", async || (store.standing().borrow().role == Role::Learner).then_some(())).await;
    cluster.promote(id).await;
    assert_eq!(voters(&store).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn the_dead_are_replaced_and_their_ids_are_never_used_again() {
    let mut cluster = Cluster::started(3).await;
    write(&cluster.stores[&1], "a", "1").await;
    cluster.converged().await;
    cluster.kill(3).await;
    let id = cluster.grow().await;
    assert_eq!(id, 4);
    assert_eq!(cluster.change(MemberChange::Remove { id: 3 }).await.unwrap(), 3);
    assert_eq!(voters(&cluster.stores[&4]).await, [1, 2, 4]);
    assert_eq!(cluster.change(MemberChange::Remove { id: 3 }).await.unwrap(), 3, "asked for again");
    let why = refusal(cluster.change(MemberChange::Promote { id: 3 }).await);
    assert!(why.contains("never used again"), "{why}");
    // Not even the highest, once it is gone.
    cluster.change(MemberChange::Remove { id: 4 }).await.unwrap();
    cluster.stores.remove(&4).unwrap().kill().await;
    assert_eq!(cluster.add().await, 5);
}

#[tokio::test]
async fn a_replica_that_was_away_lists_no_members_of_the_past_behind_a_barrier() {
    let mut cluster = Cluster::started(3).await;
    let learner = cluster.add().await;
    let store = cluster.follower().await;
    let lists = async |store: &Store| -> Vec<u64> {
        store.members(Duration::from_millis(300)).await.iter().map(|status| status.member.id).collect()
    };
    let listed = async || lists(&store).await.contains(&learner).then_some(());
    eventually("the learner among the members", listed).await;
    cluster.kill(store.id()).await;
    cluster.change(MemberChange::Remove { id: learner }).await.unwrap();
    let store = cluster.start(store.id()).await;
    in_time("a barrier", store.members_barrier()).await.unwrap();
    assert_eq!(lists(&store).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_removed_replica_returns_with_its_data_disturbs_nobody_and_stops() {
    let mut cluster = Cluster::started(3).await;
    write(&cluster.stores[&1], "a", "1").await;
    cluster.converged().await;
    let gone = cluster.follower().await.id();
    cluster.kill(gone).await;
    cluster.change(MemberChange::Remove { id: gone }).await.unwrap();
    let leader = cluster.leader().await;
    let term = leader.standing().borrow().term;

    let returned = cluster.start(gone).await;
    let mut removed = returned.removed();
    let why = in_time("the news", removed.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    assert_eq!(why, format!("replica {gone} was removed from the cluster"));
    assert!(returned.health().unwrap_err().to_string().contains("was removed"));
    assert!(returned.propose(command(vec![put("b", "1")])).await.is_err());
    assert_eq!(leader.standing().borrow().term, term, "no election came of it");
    write(&leader, "c", "1").await;
    cluster.stores.remove(&gone);
    returned.kill().await;
}

#[tokio::test]
async fn a_removed_replica_whose_disk_is_full_is_told_all_the_same() {
    let mut cluster = Cluster::of(3);
    // So that an entry for the log is the first that finds no room.
    cluster.save = Duration::from_secs(3600);
    let disks: Disks = (1..=3).map(|id| (id, Memory::new())).collect();
    for id in 1..=3 {
        start_on(&mut cluster, &disks, id).await.unwrap();
    }
    let (leader, gone) = (cluster.leader().await, cluster.follower().await);
    write(&leader, "a", "1").await;
    cluster.converged().await;
    let disk = &disks[&gone.id()];
    disk.reserve(0).unwrap();
    disk.set_free(0);
    write(&leader, "b", "1").await;
    let waits = async || (gone.metrics().space_level.load(Relaxed) == 2).then_some(());
    eventually("an entry that waits for room", waits).await;

    let remove = MemberChange::Remove { id: gone.id() };
    in_time("the removal", leader.change_members(remove, PATIENCE)).await.unwrap();
    let mut removed = gone.removed();
    in_time("the news", removed.wait_for(Option::is_some)).await.unwrap();
    assert_eq!(value(&gone, "b"), None, "its raft node still waits");
    cluster.stores.remove(&gone.id());
    gone.kill().await;
    write(&leader, "c", "1").await;
}

#[tokio::test]
async fn a_leader_that_is_removed_hands_over_first() {
    let mut cluster = Cluster::started(3).await;
    let leader = cluster.leader().await;
    write(&leader, "a", "1").await;
    let id = leader.id();
    in_time("the removal", leader.change_members(MemberChange::Remove { id }, Duration::from_secs(10))).await.unwrap();
    let mut removed = leader.removed();
    in_time("the news", removed.wait_for(Option::is_some)).await.unwrap();
    cluster.stores.remove(&id);
    let next = cluster.leader().await;
    write(&next, "b", "1").await;
    assert_eq!(voters(&next).await.len(), 2);
    leader.kill().await;
}

#[tokio::test]
async fn no_change_costs_the_quorum() {
    let mut cluster = Cluster::started(3).await;
    let leader = cluster.leader().await.id();
    let (dead, alive) = {
        let mut others = cluster.stores.keys().copied().filter(|id| *id != leader);
        (others.next().unwrap(), others.next().unwrap())
    };
    cluster.kill(dead).await;
    let why = refusal(cluster.change(MemberChange::Remove { id: alive }).await);
    assert!(why.contains(&format!("still being filled: replica {dead}")), "{why}");
    let why = refusal(cluster.change(MemberChange::Remove { id: 9 }).await);
    assert!(why.contains("there is no replica 9"), "{why}");
    cluster.change(MemberChange::Remove { id: dead }).await.unwrap();
    cluster.change(MemberChange::Remove { id: alive }).await.unwrap();
    cluster.stores.remove(&alive).unwrap().kill().await;
    assert!(refusal(cluster.change(MemberChange::Remove { id: leader }).await).contains("the last voter"));
    write(&cluster.stores[&leader], "alone", "1").await;
}

#[tokio::test]
async fn nobody_is_taken_out_who_is_needed_in_the_place_of_one_that_acknowledges_nothing() {
    let (cluster, disks) = on_memory(3).await;
    let (leader, sick) = (cluster.leader().await, cluster.follower().await);
    disks[&sick.id()].fail_sync.store(true, SeqCst);
    write(&leader, "a", "1").await;
    eventually("the failed sync", async || sick.health().err()).await;
    let needed = cluster.stores.keys().copied().find(|id| ![leader.id(), sick.id()].contains(id)).unwrap();
    let why = refusal(cluster.change(MemberChange::Remove { id: needed }).await);
    assert!(why.contains("the cluster would stand still"), "{why}");
    write(&leader, "b", "1").await;
    cluster.change(MemberChange::Remove { id: sick.id() }).await.unwrap();
    write(&leader, "c", "1").await;
}

#[tokio::test]
async fn who_joins_later_may_have_a_higher_id_than_any_founder_may() {
    let mut cluster = Cluster::of(1);
    cluster.members[0].id = 1_000;
    cluster.start(1_000).await;
    cluster.leader().await;
    assert_eq!((cluster.grow().await, cluster.grow().await), (1_001, 1_002));
    write(&cluster.stores[&1_002], "a", "1").await;
    // By now its configuration names the others.
    cluster.stop(1_000).await;
    let store = cluster.start(1_000).await;
    cluster.converged().await;
    assert_eq!(value(&store, "a").as_deref(), Some("1"));
}

#[tokio::test]
async fn nobody_founds_a_cluster_with_a_higher_id() {
    let mut cluster = Cluster::of(1);
    cluster.members[0].id = 20_261_101;
    let store = cluster.start(20_261_101).await;
    let mut removed = store.removed();
    let why = in_time("the refusal", removed.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    assert!(why.contains("at most 1000"), "{why}");
    assert!(store.health().unwrap_err().to_string().contains(&why));
    assert_eq!(store.standing().borrow().leader, None);
}

#[tokio::test]
async fn changes_asked_for_at_once_come_one_after_the_other_or_are_refused() {
    let cluster = Cluster::started(3).await;
    let adds = (0..6).map(|n| {
        let store = cluster.stores[&(n % 3 + 1)].clone();
        let change = MemberChange::Add { peer_address: free_address(), client_address: format!("c:{}", n + 1) };
        async move { store.change_members(change, Duration::from_secs(10)).await }
    });
    let answers = futures::future::join_all(adds).await;
    let mut ids: Vec<u64> = answers.iter().filter_map(|answer| answer.as_ref().ok().copied()).collect();
    ids.sort_unstable();
    assert!(!ids.is_empty(), "one of them at least: {answers:?}");
    assert_eq!(ids, (4..4 + ids.len() as u64).collect::<Vec<_>>(), "every one got an id of its own");
    for answer in answers {
        assert!(matches!(&answer, Ok(_) | Err(ChangeError::Refused(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn a_leader_that_dies_while_it_adds_leaves_a_cluster_that_can_be_changed() {
    let mut cluster = Cluster::started(3).await;
    let dead = cluster.leader().await;
    let change = MemberChange::Add { peer_address: free_address(), client_address: "c:1".into() };
    let adding = tokio::spawn({
        let dead = dead.clone();
        async move { dead.change_members(change, Duration::from_secs(5)).await }
    });
    tokio::time::sleep(Duration::from_millis(5)).await;
    cluster.kill(dead.id()).await;
    let outcome = in_time("an answer", adding).await.unwrap();
    let next = cluster.leader().await;
    // Whatever became of it, the next id is new and the members can be changed.
    let before: Vec<u64> = next.members(Duration::from_millis(300)).await.iter().map(|one| one.member.id).collect();
    let change = MemberChange::Add { peer_address: free_address(), client_address: "c:2".into() };
    let id = eventually("another change", async || cluster.change(change.clone()).await.ok()).await;
    assert!(id > before.into_iter().max().unwrap(), "{outcome:?}");
    assert!(outcome.is_err() || outcome.is_ok_and(|given| given < id));
    cluster.change(MemberChange::Remove { id }).await.unwrap();
}

#[tokio::test]
async fn the_leadership_is_transferred_on_demand_to_a_voter_that_answers() {
    let mut cluster = Cluster::started(3).await;
    let learner = cluster.add().await;
    let leader = cluster.leader().await.id();
    let to = cluster.stores.keys().copied().find(|id| *id != leader).unwrap();
    assert_eq!(cluster.change(MemberChange::Transfer { to: Some(to) }).await.unwrap(), to);
    assert_eq!(cluster.leader().await.id(), to);
    assert!(refusal(cluster.change(MemberChange::Transfer { to: Some(learner) }).await).contains("is a learner"));
    cluster.change(MemberChange::Transfer { to: None }).await.unwrap();
    assert_ne!(cluster.leader().await.id(), to);
    let revision = write(&cluster.stores[&to], "a", "1").await;
    let state = cluster.stores[&to].caught_up(revision, PATIENCE).await.unwrap();
    assert!(state.get(&bytes("a")).is_some());
}
