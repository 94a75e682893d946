//! A disk that takes its time for what is a matter of microseconds elsewhere.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::future::join_all;
use kontiki_raft::{ChangeError, Disk as _, MemberChange, Note, Role, Table};
use tokio::time::Instant;

use crate::common::disk::{Memory, on_memory, start_on};
use crate::common::{PATIENCE, command, eventually, filled, put, takes_part, value, write};

/// As after so long a stop of the whole process: who waits no longer than that gives up now.
async fn a_minute_passes() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_leader_that_waits_a_second_for_its_disk_leads_on() {
    let (cluster, disks) = on_memory(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let term = leader.standing().borrow().term;
    let disk = &disks[&leader.id()];
    // All three replicas of this test are on one thread: after a first long write the next ones leave it.
    disk.set_log_write(Duration::from_millis(100));
    write(&leader, "a", "1").await;

    let takes = Duration::from_millis(1000);
    disk.set_log_write(takes);
    let began = Instant::now();
    write(&follower, "b", "1").await;
    assert!(began.elapsed() >= takes, "it waited for the leader's disk");
    disk.set_log_write(Duration::ZERO);
    // Nothing but heartbeats tells the others of it now.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let standing = leader.standing().borrow().clone();
    assert_eq!((standing.role, standing.term), (Role::Leader, term), "nobody else was elected");
    assert_eq!(follower.standing().borrow().term, term);

    write(&leader, "c", "1").await;
    cluster.converged().await;
    assert_eq!(value(&follower, "c").as_deref(), Some("1"));
}

#[tokio::test]
async fn a_leader_that_waits_for_its_disk_for_long_is_replaced() {
    let (cluster, disks) = on_memory(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let disk = &disks[&leader.id()];
    disk.set_log_write(Duration::from_millis(100));
    write(&leader, "a", "1").await;

    let stuck = Duration::from_secs(6);
    disk.set_log_write(stuck);
    let began = Instant::now();
    let writing = tokio::spawn({
        let leader = leader.clone();
        async move { leader.propose(command(vec![put("b", "1")])).await }
    });
    let other = async || follower.standing().borrow().leader.filter(|now| *now != leader.id());
    eventually("another leader", other).await;
    write(&follower, "c", "1").await;
    assert!(began.elapsed() < stuck, "nobody waited for its disk");
    disk.set_log_write(Duration::ZERO);
    // Whether it took effect is for whoever asked to find out.
    let _ = writing.await.unwrap();
    cluster.converged().await;
    assert_eq!(value(&leader, "c").as_deref(), Some("1"));
}

#[tokio::test]
async fn a_follower_that_acknowledges_too_slowly_does_not_keep_the_log() {
    let (cluster, disks) = on_memory(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    write(&leader, "a", "1").await;
    leader.bound_log(256 << 10);
    // An answer now and then, each to a little of what is written meanwhile.
    disks[&follower.id()].set_log_write(Duration::from_millis(300));
    let large = "x".repeat(4_000);
    let installed = || follower.metrics().snapshots_installed.load(Relaxed);
    let deadline = Instant::now() + PATIENCE;
    while installed() == 0 {
        assert!(Instant::now() < deadline, "it is never filled by a snapshot");
        write(&leader, "b", &large).await;
    }
    disks[&follower.id()].set_log_write(Duration::ZERO);
    let bounded = async || (leader.metrics().log_bytes.load(Relaxed) < 2 << 20).then_some(());
    eventually("a log that is small again", bounded).await;
    write(&leader, "c", "1").await;
    cluster.converged().await;
    assert_eq!(value(&follower, "c").as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_disk_hangs_again_and_again_comes_back_each_time() {
    let (cluster, disks) = on_memory(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    write(&leader, "a", "1").await;
    let disk = &disks[&follower.id()];
    let large = "x".repeat(4_000);
    let writers: Vec<_> = (0..16)
        .map(|n| {
            let (leader, key, large) = (leader.clone(), format!("busy-{n}"), large.clone());
            tokio::spawn(async move { while leader.propose(command(vec![put(&key, &large)])).await.is_ok() {} })
        })
        .collect();
    for _ in 0..3 {
        // Longer than an answer is waited for.
        disk.set_log_write(Duration::from_millis(2_500));
        tokio::time::sleep(Duration::from_millis(4_500)).await;
        disk.set_log_write(Duration::ZERO);
        let revision = leader.state().revision();
        let back = async || (follower.state().revision() >= revision).then_some(());
        eventually("the follower to have what was written by the end of that", back).await;
    }
    writers.iter().for_each(|writer| writer.abort());
    write(&leader, "c", "1").await;
    cluster.converged().await;
    assert_eq!(value(&follower, "c").as_deref(), Some("1"));
}

#[tokio::test]
async fn followers_whose_disks_hang_for_a_minute_while_they_vote_come_back() {
    let (cluster, disks) = on_memory(3).await;
    let leader = cluster.leader().await;
    write(&leader, "a", "1").await;
    cluster.converged().await;
    let followers: Vec<_> = disks.iter().filter(|(id, _)| **id != leader.id()).collect();
    let votes = || -> Vec<_> { followers.iter().map(|(_, disk)| disk.note(Note::Vote).unwrap()).collect() };
    let before = votes();
    let held = join_all(followers.iter().map(|(_, disk)| disk.syncs.lock())).await;
    let writing = tokio::spawn({
        let leader = leader.clone();
        async move { leader.propose(command(vec![put("b", "1")])).await }
    });
    // Their leader hears no more of them, falls silent, and is to be replaced.
    let saving = async || votes().iter().zip(&before).position(|(now, before)| now != before);
    let (hangs, _) = followers[eventually("a vote that is being saved", saving).await];
    a_minute_passes().await;
    let told = async || {
        let members = leader.members(Duration::from_millis(500)).await;
        let status = members.into_iter().find(|status| status.member.id == *hangs)?;
        let says = status.trouble?.contains("its disk has not answered for");
        says.then_some(status.serves)
    };
    assert!(!eventually("its words", told).await, "it counts for nothing");
    assert!(cluster.stores[hangs].metrics().sync_owed() >= Duration::from_secs(60));

    drop(held);
    // Whether it took effect is for whoever asked to find out.
    let _ = writing.await.unwrap();
    write(&leader, "c", "1").await;
    cluster.converged().await;
    for store in cluster.stores.values() {
        store.health().unwrap();
        assert_eq!(value(store, "c").as_deref(), Some("1"));
    }
}

/// The others answer the leader's heartbeats, and cannot save a vote. The leader leads no more once it has told one of them, so that
/// "refused", by which nothing is changed, would not be true.
#[tokio::test]
async fn a_transfer_to_one_whose_disk_hangs_is_of_unknown_outcome() {
    let (cluster, disks) = on_memory(3).await;
    let (leader, heir) = (cluster.leader().await, cluster.follower().await);
    write(&leader, "a", "1").await;
    cluster.converged().await;
    let term = leader.standing().borrow().term;
    let followers = disks.iter().filter(|(id, _)| **id != leader.id());
    let held = join_all(followers.map(|(_, disk)| disk.syncs.lock())).await;
    let change = MemberChange::Transfer { to: Some(heir.id()) };
    let answer = leader.change_members(change, PATIENCE).await;
    assert!(matches!(answer, Err(ChangeError::Unknown(_))), "{answer:?}");
    drop(held);
    write(&leader, "b", "1").await;
    assert!(leader.standing().borrow().term > term);
}

#[tokio::test]
async fn an_emptied_replica_whose_disk_hangs_for_a_minute_at_first_is_filled_all_the_same() {
    let (mut cluster, mut disks) = on_memory(3).await;
    filled(&cluster).await;
    let emptied = cluster.follower().await.id();
    cluster.kill(emptied).await;
    disks.insert(emptied, Memory::new());
    let store = start_on(&mut cluster, &disks, emptied).await.unwrap();
    let disk = disks[&emptied].clone();
    let held = disk.syncs.lock().await;
    let heard = async || disk.keys(Table::Meta).iter().any(|key| key == "abstains").then_some(());
    eventually("it has heard that the cluster lives, and writes so down", heard).await;
    a_minute_passes().await;
    let other = cluster.stores.values().find(|other| other.id() != emptied).unwrap();
    write(other, "meanwhile", "x").await;
    assert_eq!(store.standing().borrow().leader, None, "it believes nobody before that is durable");
    drop(held);
    takes_part(cluster, store).await;
}
