//! Disks that fail or rot: the damage is found and named, and made good from the other replicas where there is one.

use std::path::PathBuf;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use kontiki_raft::{Config, Disk as _, Note, Store, Table};
use proto::seam::Env;

use crate::common::disk::{Disks, Memory, on_memory, saved, start_on};
use crate::common::{
    Cluster, PATIENCE, eventually, files, filled, idles, in_time, status_of, takes_part, value, write,
};

/// Damages a follower that is down, and starts it again.
async fn rots(damage: impl Fn(&Memory)) -> (Cluster, Store) {
    let (mut cluster, disks) = on_memory(3).await;
    filled(&cluster).await;
    cluster.converged().await;
    let id = cluster.follower().await.id();
    saved(&disks[&id], "key-19").await;
    cluster.kill(id).await;
    damage(&disks[&id]);
    write(&cluster.leader().await, "later", "x").await;
    let store = start_on(&mut cluster, &disks, id).await.unwrap();
    (cluster, store)
}

#[tokio::test]
async fn a_rotten_object_is_found_and_the_state_comes_from_the_others() {
    let (cluster, store) = rots(|disk| {
        let key = disk.rot(Table::Objects, |key| key.ends_with(b"key-7"));
        assert!(key.is_some());
    })
    .await;
    assert_eq!(store.metrics().checksum_failures.load(Relaxed), 1);
    takes_part(cluster, store).await;
}

#[tokio::test]
async fn a_rotten_log_entry_is_found_and_the_log_comes_from_the_others() {
    let (cluster, store) = rots(|disk| {
        let last = disk.keys(Table::Log).pop().unwrap();
        assert!(disk.rot(Table::Log, |key| *key == last).is_some());
    })
    .await;
    assert_eq!(store.metrics().checksum_failures.load(Relaxed), 1);
    takes_part(cluster, store).await;
}

#[tokio::test]
async fn a_rotten_record_of_the_state_is_found() {
    let (cluster, store) = rots(|disk| {
        assert!(disk.rot(Table::Meta, |key| key == b"state").is_some());
    })
    .await;
    takes_part(cluster, store).await;
}

#[tokio::test]
async fn a_rotten_record_of_what_was_committed_is_found() {
    let (cluster, store) = rots(|disk| {
        assert!(disk.rot(Table::Meta, |key| key == b"committed").is_some());
    })
    .await;
    takes_part(cluster, store).await;
}

#[tokio::test]
async fn a_rotten_change_of_the_history_is_found() {
    let (cluster, store) = rots(|disk| {
        let some = disk.keys(Table::History)[9].clone();
        assert!(disk.rot(Table::History, |key| *key == some).is_some());
    })
    .await;
    assert_eq!(store.metrics().checksum_failures.load(Relaxed), 1);
    takes_part(cluster, store).await;
}

#[tokio::test]
async fn a_rotten_identity_is_made_good_by_its_copy() {
    let (cluster, store) = rots(|disk| {
        assert!(disk.rot(Table::Meta, |key| key == b"identity").is_some());
    })
    .await;
    assert_eq!(store.metrics().checksum_failures.load(Relaxed), 1);
    assert_eq!(value(&store, "key-7").as_deref(), Some("x"), "nothing was set aside");
    takes_part(cluster, store).await;
}

/// A cluster of this name was recovered once; the configurations know nothing of it.
async fn with_an_epoch() -> (Cluster, Disks) {
    let mut cluster = Cluster::of(3);
    let disks: Disks = (1..=3).map(|id| (id, Memory::new())).collect();
    for id in 1..=3 {
        let config = Config { cluster_id: "test-cluster-epoch-1".into(), ..cluster.config(id) };
        let store = Store::open_on(disks[&id].clone(), config, Env::real()).await.unwrap();
        cluster.stores.insert(id, store);
    }
    write(&cluster.leader().await, "key-7", "x").await;
    cluster.converged().await;
    (cluster, disks)
}

#[tokio::test]
async fn a_replica_whose_data_is_damaged_after_a_recovery_still_knows_the_epoch() {
    type Damage = fn(&Memory);
    let identity: Damage = |disk| assert!(disk.rot(Table::Meta, |key| key == b"identity").is_some());
    let all: Damage = |disk| disk.set_aside().unwrap();
    for damage in [identity, all] {
        let (mut cluster, disks) = with_an_epoch().await;
        let id = cluster.follower().await.id();
        cluster.kill(id).await;
        damage(&disks[&id]);
        let store = start_on(&mut cluster, &disks, id).await.unwrap();
        assert_eq!(store.cluster_id(), "test-cluster-epoch-1");
        takes_part(cluster, store).await;
    }
}

#[tokio::test]
async fn another_cluster_s_data_is_refused_though_its_identity_is_damaged() {
    let (mut cluster, disks) = on_memory(3).await;
    write(&cluster.leader().await, "key-7", "x").await;
    cluster.converged().await;
    let id = cluster.follower().await.id();
    saved(&disks[&id], "key-7").await;
    cluster.kill(id).await;
    disks[&id].rot(Table::Meta, |key| key == b"identity").unwrap();
    let open = async |cluster_id: &str, note: bool| {
        if !note {
            disks[&id].rot_note(Note::Vote);
        }
        let config = Config { cluster_id: cluster_id.into(), ..cluster.config(id) };
        let opened = Store::open_on(disks[&id].clone(), config, Env::real()).await;
        opened.err().expect("it is not this cluster's").to_string()
    };
    let refused = open("other", true).await;
    assert!(refused.contains("belongs to cluster \"test-cluster\", not to \"other\""), "{refused}");
    let refused = open("test-cluster", false).await;
    assert!(refused.contains("identity is corrupt"), "with neither copy nobody knows whose it is: {refused}");
    assert!(!disks[&id].keys(Table::Objects).is_empty(), "nothing was thrown away");
}

#[tokio::test]
async fn one_rotten_copy_of_the_vote_is_made_good_by_the_other() {
    type Damage = fn(&Memory);
    let stored: Damage = |disk| assert!(disk.rot(Table::Meta, |key| key == b"vote").is_some());
    let note: Damage = |disk| disk.rot_note(Note::Vote);
    // The other copy, once the first is made good.
    for [first, then] in [[stored, note], [note, stored]] {
        let (mut cluster, disks) = on_memory(3).await;
        write(&cluster.stores[&1], "key-7", "x").await;
        cluster.converged().await;
        let id = cluster.follower().await.id();
        let mut store = cluster.stores[&id].clone();
        for damage in [first, then] {
            cluster.kill(id).await;
            damage(&disks[&id]);
            store = start_on(&mut cluster, &disks, id).await.unwrap();
            assert_eq!(store.metrics().checksum_failures.load(Relaxed), 1);
            assert!(!disks[&id].keys(Table::Log).is_empty(), "nothing was set aside");
        }
        takes_part(cluster, store).await;
    }
}

#[tokio::test]
async fn without_a_readable_vote_a_replica_does_not_start() {
    let (mut cluster, disks) = on_memory(3).await;
    write(&cluster.leader().await, "a", "x").await;
    cluster.converged().await;
    let id = cluster.follower().await.id();
    saved(&disks[&id], "a").await;
    cluster.kill(id).await;
    disks[&id].rot(Table::Meta, |key| key == b"vote").unwrap();
    disks[&id].rot_note(Note::Vote);
    let refused = start_on(&mut cluster, &disks, id).await.err().expect("it may have voted for anybody");
    assert!(refused.contains("vote is corrupt"), "{refused}");
    assert!(!disks[&id].keys(Table::Objects).is_empty(), "nothing was thrown away");
}

#[tokio::test]
async fn a_replica_alone_names_the_damage_and_keeps_the_rest() {
    let (mut cluster, disks) = on_memory(1).await;
    write(&cluster.stores[&1].clone(), "pods/web", "x").await;
    saved(&disks[&1], "pods/web").await;
    cluster.kill(1).await;
    disks[&1].rot(Table::Objects, |_| true).unwrap();
    let refused = start_on(&mut cluster, &disks, 1).await.err().expect("nobody else has the data");
    assert!(refused.contains("object pods/web is corrupt"), "{refused}");
    assert!(!disks[&1].keys(Table::Objects).is_empty(), "nothing was thrown away");
}

/// Why it does not vote, as soon as it does not.
async fn abstains(store: &Store) -> String {
    eventually("its abstention", async || status_of(store, store.id()).await.trouble).await
}

#[tokio::test]
async fn a_replica_that_waits_to_be_filled_speaks_of_a_loss_only_where_it_knows_of_one() {
    let (mut cluster, mut disks) = on_memory(3).await;
    write(&cluster.stores[&1], "key-7", "x").await;
    cluster.converged().await;
    saved(&disks[&3], "key-7").await;
    for id in 1..=3 {
        cluster.kill(id).await;
    }
    disks[&3].rot(Table::Objects, |key| key.ends_with(b"key-7")).unwrap();
    for start in ["the first", "another"] {
        let store = start_on(&mut cluster, &disks, 3).await.unwrap();
        let why = abstains(&store).await;
        assert!(why.contains("it lost data and does not vote"), "{start} start: {why}");
        cluster.kill(3).await;
    }
    // One that is empty is filled by nobody while one of the others is away.
    start_on(&mut cluster, &disks, 1).await.unwrap();
    disks.insert(3, Memory::new());
    for start in ["the first", "another"] {
        let store = start_on(&mut cluster, &disks, 3).await.unwrap();
        let noted = async || disks[&3].keys(Table::Meta).iter().any(|key| key == "abstains").then_some(());
        eventually("it is written down", noted).await;
        let why = abstains(&store).await;
        assert!(why.contains("it is new or was emptied, and does not vote"), "{start} start: {why}");
        cluster.kill(3).await;
    }
}

async fn fails_a_sync(cluster: &Cluster, disks: &Disks, broken: Store) {
    disks[&broken.id()].fail_sync.store(true, SeqCst);
    let other = cluster.stores.values().find(|store| store.id() != broken.id()).unwrap();
    let failed = async || {
        write(other, "on", "x").await;
        broken.health().err()
    };
    eventually("the failure", failed).await;
    disks[&broken.id()].fail_sync.store(false, SeqCst);
    in_time("the end of its raft node", broken.ended().cancelled()).await;
    assert!(!other.ended().is_cancelled());
    write(other, "and on", "x").await;
    let why = broken.health().unwrap_err().to_string();
    assert!(why.contains("scratched"), "a later success does not make it well: {why}");
    let members = other.members(PATIENCE).await;
    let trouble = members.iter().find(|member| member.member.id == broken.id()).unwrap().trouble.clone();
    assert!(trouble.is_some_and(|why| why.contains("scratched")), "it is named by the others");
    assert_eq!(broken.standing().borrow().leads_in_term, None);
    idles().await;
}

#[tokio::test]
async fn a_failed_sync_ends_a_follower_s_vote_for_good_and_is_told() {
    let (cluster, disks) = on_memory(3).await;
    fails_a_sync(&cluster, &disks, cluster.follower().await).await;
}

#[tokio::test]
async fn a_failed_sync_ends_a_leadership_for_good_and_is_told() {
    let (cluster, disks) = on_memory(3).await;
    fails_a_sync(&cluster, &disks, cluster.leader().await).await;
}

fn flip(path: &PathBuf, at: impl Fn(usize) -> usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 8;
    std::fs::write(path, bytes).unwrap();
}

/// What it says that knows of nobody to be filled by. It leaves everything as it is.
async fn names(cluster: &Cluster, id: u64) -> String {
    let initial_members = cluster.members.iter().filter(|member| member.id == id).cloned().collect();
    let alone = Config { initial_members, ..cluster.config(id) };
    Store::open(alone, Env::real()).await.err().expect("its data is damaged").to_string()
}

#[tokio::test]
async fn a_flipped_bit_in_a_file_of_the_database_is_named_with_it_and_made_good() {
    let mut cluster = Cluster::started(3).await;
    for n in 0..200 {
        write(&cluster.stores[&1], &format!("key-{n}"), &"x".repeat(1000)).await;
    }
    cluster.converged().await;
    // The log first; a restart then has written it into tables, and one of these is next.
    for kind in ["log", "sst"] {
        let id = cluster.follower().await.id();
        cluster.stop(id).await;
        if kind == "sst" {
            cluster.start(id).await;
            cluster.converged().await;
            cluster.stop(id).await;
        }
        let largest = files(cluster.dir(id), kind).into_iter().max_by_key(|path| path.metadata().unwrap().len());
        let largest = largest.expect("there is one");
        flip(&largest, |length| length / 3);
        let (named, file) = (names(&cluster, id).await, largest.file_name().unwrap().to_str().unwrap());
        assert!(named.contains(file), "{file}: {named}");
        assert!(kind == "sst" || named.contains(": the record at byte "), "{named}");
        let store = cluster.start(id).await;
        cluster.converged().await;
        in_time("a read", store.barrier()).await.unwrap();
        assert_eq!(value(&store, "key-150").map(|value| value.len()), Some(1000));
        assert!(cluster.dir(id).join("damaged").is_dir(), "{kind}: what was damaged can be looked at");
        std::fs::remove_dir_all(cluster.dir(id).join("damaged")).unwrap();
    }
}
