//! A log that lost its end: entries that this replica had acknowledged are gone, and nothing that is left is wrong.

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use kontiki_raft::{Config, Disk as _, MemberChange, Note, Store, Table};
use proto::seam::Env;

use crate::common::disk::{Disks, Memory, on_memory, start_on};
use crate::common::{Cluster, PATIENCE, eventually, files, filled, in_time, takes_part, value, write};

/// The objects are not saved: all that is there is in the log.
async fn on_the_log_alone() -> (Cluster, Disks) {
    let (mut cluster, disks) = on_memory(3).await;
    cluster.save = Duration::from_secs(3600);
    for id in 1..=3 {
        cluster.stop(id).await;
        start_on(&mut cluster, &disks, id).await.unwrap();
    }
    cluster.leader().await;
    (cluster, disks)
}

fn leads(store: &Store) -> Option<u64> {
    store.standing().borrow().leads_in_term
}

#[tokio::test]
async fn a_log_that_lost_its_end_is_found_out_and_comes_from_the_others() {
    let (mut cluster, disks) = on_the_log_alone().await;
    filled(&cluster).await;
    cluster.converged().await;
    let id = cluster.follower().await.id();
    cluster.kill(id).await;
    disks[&id].lose_end(3);
    let store = start_on(&mut cluster, &disks, id).await.unwrap();
    assert_eq!(store.metrics().checksum_failures.load(Relaxed), 1);
    takes_part(cluster, store).await;
}

#[tokio::test]
async fn where_a_loss_of_power_took_the_newest_mark_the_end_that_is_there_is_vouched_for_again() {
    let (mut cluster, disks) = on_the_log_alone().await;
    write(&cluster.stores[&1], "key-7", "x").await;
    cluster.converged().await;
    let id = cluster.follower().await.id();
    let mark = || disks[&id].note(Note::Mark).unwrap().unwrap();
    let older = mark();
    filled(&cluster).await;
    cluster.converged().await;
    cluster.kill(id).await;
    disks[&id].save_note(Note::Mark, &older, true).unwrap();
    start_on(&mut cluster, &disks, id).await.unwrap();
    // Nobody writes.
    eventually("a newer mark", async || (mark() != older).then_some(())).await;
    cluster.kill(id).await;
    disks[&id].lose_end(3);
    let store = start_on(&mut cluster, &disks, id).await.unwrap();
    assert_eq!(store.metrics().checksum_failures.load(Relaxed), 1);
    takes_part(cluster, store).await;
}

#[tokio::test]
async fn what_a_lost_end_held_is_not_overruled_by_those_who_never_had_it() {
    let (mut cluster, disks) = on_the_log_alone().await;
    filled(&cluster).await;
    cluster.converged().await;
    let (leader, follower) = (cluster.leader().await.id(), cluster.follower().await.id());
    let third = (1..=3).find(|id| ![leader, follower].contains(id)).unwrap();
    cluster.kill(third).await;
    write(&cluster.stores[&leader].clone(), "acknowledged", "by two").await;
    for id in [leader, follower] {
        cluster.kill(id).await;
    }
    disks[&follower].lose_end(3);
    let forgetful = start_on(&mut cluster, &disks, follower).await.unwrap();
    let ignorant = start_on(&mut cluster, &disks, third).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    for store in [&forgetful, &ignorant] {
        assert_eq!(leads(store), None, "neither of them may lead without the one who remembers");
    }
    let store = start_on(&mut cluster, &disks, leader).await.unwrap();
    in_time("all are there again", store.barrier()).await.unwrap();
    cluster.converged().await;
    assert_eq!(value(&forgetful, "acknowledged").as_deref(), Some("by two"));
    takes_part(cluster, forgetful).await;
}

#[tokio::test]
async fn an_end_that_was_overruled_is_not_missed() {
    let (mut cluster, disks) = on_memory(3).await;
    filled(&cluster).await;
    cluster.converged().await;
    let old = cluster.leader().await.id();
    // Nobody else takes what the old leader writes now.
    let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    for id in &others {
        cluster.kill(*id).await;
    }
    let store = cluster.stores[&old].clone();
    let before = disks[&old].keys(Table::Log).len();
    let proposed = tokio::spawn(async move { write(&store, "overruled", "x").await });
    eventually("it is in the log", async || (disks[&old].keys(Table::Log).len() > before).then_some(())).await;
    proposed.abort();
    cluster.kill(old).await;
    for id in &others {
        start_on(&mut cluster, &disks, *id).await.unwrap();
    }
    write(&cluster.leader().await, "key-7", "x").await;
    let store = start_on(&mut cluster, &disks, old).await.unwrap();
    cluster.converged().await;
    cluster.kill(old).await;
    let again = start_on(&mut cluster, &disks, old).await.unwrap();
    for store in [&store, &again] {
        assert_eq!(store.metrics().checksum_failures.load(Relaxed), 0);
    }
    assert_eq!(value(&again, "overruled"), None);
    takes_part(cluster, again).await;
}

#[tokio::test]
async fn a_mark_that_rots_vouches_for_nothing() {
    let (mut cluster, disks) = on_memory(3).await;
    filled(&cluster).await;
    let id = cluster.follower().await.id();
    cluster.kill(id).await;
    disks[&id].rot_note(Note::Mark);
    let store = start_on(&mut cluster, &disks, id).await.unwrap();
    assert_eq!(store.metrics().checksum_failures.load(Relaxed), 1);
    takes_part(cluster, store).await;
}

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;

/// The places of the records in a log of RocksDB: a checksum, a length and a kind, then so many bytes; none spans two blocks.
fn records(log: &[u8]) -> Vec<usize> {
    let (mut places, mut at) = (Vec::new(), 0);
    while at + HEADER < log.len() {
        if BLOCK - at % BLOCK < HEADER {
            at = at.next_multiple_of(BLOCK);
            continue;
        }
        places.push(at);
        at += HEADER + usize::from(u16::from_le_bytes([log[at + 4], log[at + 5]]));
    }
    places
}

#[tokio::test]
async fn a_log_file_that_lost_its_end_is_found_out() {
    type Damage = fn(&mut Vec<u8>, usize);
    // RocksDB takes both for a crash in the middle of a record.
    let cut: Damage = |log, at| log.truncate(at + HEADER + 20);
    let length: Damage = |log, at| log[at + 5] ^= 0x40;
    let mut cluster = Cluster::started(3).await;
    for damage in [cut, length] {
        let id = cluster.follower().await.id();
        let file = || files(cluster.dir(id), "log").into_iter().max().expect("there is one");
        let (mut n, mut at) = (0, 0);
        // The last block is to hold some of them.
        while n < 60 || !(BLOCK / 2..BLOCK * 3 / 4).contains(&at) {
            write(&cluster.stores[&1], &format!("key-{n}"), &"x".repeat(1000)).await;
            // The follower may lag behind what it is looked at for.
            cluster.converged().await;
            (n, at) = (n + 1, file().metadata().unwrap().len() as usize % BLOCK);
        }
        cluster.converged().await;
        let file: PathBuf = file();
        cluster.kill(id).await;
        let mut log = std::fs::read(&file).unwrap();
        let last_block = (log.len() - 1) / BLOCK * BLOCK;
        let at = records(&log).into_iter().find(|at| *at >= last_block).unwrap();
        damage(&mut log, at);
        std::fs::write(&file, log).unwrap();
        let store = cluster.start(id).await;
        assert_eq!(store.metrics().checksum_failures.load(Relaxed), 1);
        cluster.converged().await;
        in_time("a read", store.barrier()).await.unwrap();
        assert_eq!(value(&store, "key-50").map(|value| value.len()), Some(1000));
        let damaged = cluster.dir(id).join("damaged");
        assert!(damaged.is_dir(), "what was damaged can be looked at");
        std::fs::remove_dir_all(damaged).unwrap();
    }
}

#[tokio::test]
async fn the_last_voter_does_not_set_its_data_aside_whatever_its_configuration_says() {
    let (mut cluster, disks): (Cluster, Disks) = on_memory(3).await;
    filled(&cluster).await;
    cluster.converged().await;
    let leader = cluster.leader().await;
    for id in (1..=3).filter(|id| *id != leader.id()) {
        leader.change_members(MemberChange::Remove { id }, PATIENCE).await.unwrap();
        cluster.kill(id).await;
    }
    write(&leader, "alone", "x").await;
    // That it is alone is written down a moment after it is so.
    tokio::time::sleep(Duration::from_millis(300)).await;
    cluster.kill(leader.id()).await;
    let disk: &Memory = &disks[&leader.id()];
    let kept = disk.keys(Table::Objects).len();
    disk.rot(Table::Objects, |key| key.ends_with(b"key-7")).unwrap();
    let config: Config = cluster.config(leader.id());
    assert_eq!(config.initial_members.len(), 3);
    let opened = Store::open_on(disks[&leader.id()].clone(), config, Env::real()).await;
    let refused = opened.err().expect("nobody else has the data").to_string();
    assert!(refused.contains("key-7 is corrupt"), "{refused}");
    assert_eq!(disk.keys(Table::Objects).len(), kept, "nothing was thrown away");
}

#[tokio::test]
async fn two_that_lost_everything_found_no_new_cluster_behind_the_back_of_the_third() {
    let (mut cluster, mut disks) = on_memory(3).await;
    filled(&cluster).await;
    cluster.converged().await;
    for id in 1..=3 {
        cluster.kill(id).await;
    }
    for id in [2, 3] {
        disks.insert(id, Memory::new());
        start_on(&mut cluster, &disks, id).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    for store in cluster.stores.values() {
        assert_eq!(leads(store), None);
    }
    let third = start_on(&mut cluster, &disks, 1).await.unwrap();
    assert_eq!(value(&third, "key-7").as_deref(), Some("x"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    for store in cluster.stores.values() {
        assert_eq!(leads(store), None, "a majority has forgotten: a person must decide");
    }
}
