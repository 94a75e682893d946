//! Disks that fail or rot: the damage is found and named, and made good from the other replicas where there is one.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use kontiki_raft::{Config, Disk as _, MemberStatus, Note, Renewals, Repair, Store, Table};
use proto::seam::Env;

use crate::common::disk::Memory;
use crate::common::{Cluster, PATIENCE, eventually, idles, in_time, value, write};

pub type Disks = BTreeMap<u64, Arc<Memory>>;

pub async fn start_on(cluster: &mut Cluster, disks: &Disks, id: u64) -> Result<Store, String> {
    let opened = Store::open_on(disks[&id].clone(), cluster.config(id), Env::real()).await;
    let store = opened.map_err(|error| error.to_string())?;
    cluster.stores.insert(id, store.clone());
    Ok(store)
}

pub async fn on_memory(size: u64) -> (Cluster, Disks) {
    let mut cluster = Cluster::of(size);
    let disks: Disks = (1..=size).map(|id| (id, Memory::new())).collect();
    for id in 1..=size {
        start_on(&mut cluster, &disks, id).await.unwrap();
    }
    cluster.leader().await;
    (cluster, disks)
}

/// Waits until this object is on the disk: it may come later than the answer to its write.
async fn saved(disk: &Memory, name: &str) {
    let found = async || disk.keys(Table::Objects).iter().any(|key| key.ends_with(name.as_bytes())).then_some(());
    eventually("the object on the disk", found).await;
}

/// Damages a follower that is down, and starts it again.
async fn rots(damage: impl Fn(&Memory)) -> (Cluster, Store) {
    let (mut cluster, disks) = on_memory(3).await;
    for n in 0..20 {
        write(&cluster.stores[&1], &format!("key-{n}"), "x").await;
    }
    cluster.converged().await;
    let id = cluster.follower().await.id();
    saved(&disks[&id], "key-19").await;
    cluster.kill(id).await;
    damage(&disks[&id]);
    write(&cluster.leader().await, "later", "x").await;
    let store = start_on(&mut cluster, &disks, id).await.unwrap();
    (cluster, store)
}

/// It has everything again, and its vote counts.
pub async fn takes_part(mut cluster: Cluster, store: Store) {
    cluster.converged().await;
    assert_eq!(value(&store, "key-7").as_deref(), Some("x"));
    let whole = async || store.members(PATIENCE).await.iter().all(|member| member.trouble.is_none()).then_some(());
    eventually("the end of its abstention", whole).await;
    let dead = cluster.stores.keys().copied().find(|id| *id != store.id()).unwrap();
    cluster.kill(dead).await;
    write(&store, "with its vote", "x").await;
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

async fn fails_a_sync(cluster: &Cluster, disks: &Disks, broken: Store) {
    disks[&broken.id()].fail_sync.store(true, SeqCst);
    let other = cluster.stores.values().find(|store| store.id() != broken.id()).unwrap();
    let failed = async || {
        write(other, "on", "x").await;
        broken.health().err()
    };
    eventually("the failure", failed).await;
    disks[&broken.id()].fail_sync.store(false, SeqCst);
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

/// The tables and logs of RocksDB in a directory.
pub fn files(dir: PathBuf, kind: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|found| found == kind)).collect()
}

fn flip(path: &PathBuf, at: impl Fn(usize) -> usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 8;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_flipped_bit_in_a_file_of_the_database_is_made_good() {
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
        flip(&largest.expect("there is one"), |length| length / 3);
        let store = cluster.start(id).await;
        cluster.converged().await;
        in_time("a read", store.barrier()).await.unwrap();
        assert_eq!(value(&store, "key-150").map(|value| value.len()), Some(1000));
        assert!(cluster.dir(id).join("damaged").is_dir(), "{kind}: what was damaged can be looked at");
        std::fs::remove_dir_all(cluster.dir(id).join("damaged")).unwrap();
    }
}

/// A bit of the row that `pick` finds turns over in a running replica; waits until it may begin anew.
async fn found_while_running(disk: &Memory, store: &Store, table: Table) -> String {
    let some = disk.keys(table).into_iter().rev().nth(1).unwrap();
    disk.rot(table, |key| *key == some).unwrap();
    in_time("the damage is found, and the others are well", store.renewal()).await
}

/// As `server::run` does it.
async fn begins_anew(cluster: &mut Cluster, disks: &Disks, id: u64, damage: String) -> Store {
    cluster.stores.remove(&id).unwrap().shutdown().await;
    let mut renewals = Renewals::default();
    renewals.begin(damage);
    let config = Config { renewals, ..cluster.config(id) };
    let store = Store::open_on(disks[&id].clone(), config, Env::real()).await.unwrap();
    cluster.stores.insert(id, store.clone());
    store
}

async fn status_of(asked: &Store, id: u64) -> MemberStatus {
    asked.members(PATIENCE).await.into_iter().find(|member| member.member.id == id).unwrap()
}

#[tokio::test]
async fn damage_found_in_a_running_follower_is_repaired_from_the_others() {
    for table in [Table::Log, Table::Objects, Table::History] {
        let (mut cluster, disks) = on_memory(3).await;
        for n in 0..20 {
            write(&cluster.stores[&1], &format!("key-{n}"), "x").await;
        }
        let store = cluster.follower().await;
        let id = store.id();
        saved(&disks[&id], "key-19").await;
        let damage = found_while_running(&disks[&id], &store, table).await;
        assert!(damage.contains("is corrupt"), "{damage}");
        let leader = cluster.leader().await;
        let shown = status_of(&leader, id).await;
        assert_eq!((shown.repair, shown.serves), (Repair::Goes, true), "the others wait for it");
        let store = begins_anew(&mut cluster, &disks, id, damage).await;
        assert_eq!((store.metrics().renewals.load(Relaxed), store.metrics().rot()), (1, None));
        takes_part(cluster, store).await;
    }
}

#[tokio::test]
async fn a_leader_that_finds_damage_hands_over_before_it_begins_anew() {
    let (mut cluster, disks) = on_memory(3).await;
    for n in 0..20 {
        write(&cluster.stores[&1], &format!("key-{n}"), "x").await;
    }
    let store = cluster.leader().await;
    let id = store.id();
    saved(&disks[&id], "key-19").await;
    let damage = found_while_running(&disks[&id], &store, Table::Log).await;
    assert_ne!(cluster.leader().await.id(), id);
    let store = begins_anew(&mut cluster, &disks, id, damage).await;
    takes_part(cluster, store).await;
}

#[tokio::test]
async fn damage_is_lived_with_while_the_others_are_no_majority() {
    let (mut cluster, disks) = on_memory(3).await;
    for n in 0..20 {
        write(&cluster.stores[&1], &format!("key-{n}"), "x").await;
    }
    let store = cluster.leader().await;
    saved(&disks[&store.id()], "key-19").await;
    let other = cluster.follower().await.id();
    cluster.kill(other).await;
    let anew = found_while_running(&disks[&store.id()], &store, Table::History);
    assert!(tokio::time::timeout(PATIENCE / 3, anew).await.is_err(), "nobody could go on without it");
    write(&store, "goes on", "x").await;
    let trouble = status_of(&store, store.id()).await.trouble.unwrap();
    assert!(trouble.contains("is corrupt") && trouble.contains("2 other voters must be well"), "{trouble}");
    start_on(&mut cluster, &disks, other).await.unwrap();
    let damage = in_time("the others are well", store.renewal()).await;
    let store = begins_anew(&mut cluster, &disks, store.id(), damage).await;
    takes_part(cluster, store).await;
}

#[tokio::test]
async fn of_two_that_find_damage_at_once_one_waits_until_the_other_is_filled() {
    let (mut cluster, disks) = on_memory(3).await;
    for n in 0..20 {
        write(&cluster.stores[&1], &format!("key-{n}"), "x").await;
    }
    let leader = cluster.leader().await.id();
    let damaged: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    for id in &damaged {
        saved(&disks[id], "key-19").await;
    }
    let two = [cluster.stores[&damaged[0]].clone(), cluster.stores[&damaged[1]].clone()];
    let (one, other) = (two[0].clone(), two[1].clone());
    let mut one = tokio::spawn(async move { one.renewal().await });
    let mut other = tokio::spawn(async move { other.renewal().await });
    for id in &damaged {
        let first = disks[id].keys(Table::Log)[1].clone();
        disks[id].rot(Table::Log, |key| *key == first).unwrap();
    }
    let (first, damage, second) = in_time("one of them goes", async {
        tokio::select! {
            damage = &mut one => (damaged[0], damage.unwrap(), damaged[1]),
            damage = &mut other => (damaged[1], damage.unwrap(), damaged[0]),
        }
    })
    .await;
    let waiting = if first == damaged[0] { other } else { one };
    let store = begins_anew(&mut cluster, &disks, first, damage).await;
    eventually("the first is filled", async || {
        let filled = !status_of(&store, first).await.filling;
        assert!(filled || !waiting.is_finished(), "both would be away");
        filled.then_some(())
    })
    .await;
    let damage = in_time("the second goes", waiting).await.unwrap();
    let store = begins_anew(&mut cluster, &disks, second, damage).await;
    takes_part(cluster, store).await;
}

#[tokio::test]
async fn a_flipped_bit_in_a_file_of_a_running_database_is_made_good() {
    let mut cluster = Cluster::started(3).await;
    for n in 0..200 {
        write(&cluster.stores[&1], &format!("key-{n}"), &"x".repeat(1000)).await;
    }
    cluster.converged().await;
    let id = cluster.follower().await.id();
    // A restart writes the log into tables.
    cluster.stop(id).await;
    let store = cluster.start(id).await;
    cluster.converged().await;
    let largest = files(cluster.dir(id), "sst").into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(&largest).unwrap();
    let at = std::io::SeekFrom::Start(file.metadata().unwrap().len() / 3);
    let mut byte = [0];
    file.seek(at).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(at).unwrap();
    file.write_all(&[byte[0] ^ 8]).unwrap();
    let damage = in_time("the damage is found", store.renewal()).await;
    cluster.stop(id).await;
    let mut renewals = Renewals::default();
    renewals.begin(damage);
    let store = Store::open(Config { renewals, ..cluster.config(id) }, Env::real()).await.unwrap();
    cluster.stores.insert(id, store.clone());
    cluster.converged().await;
    in_time("a read", store.barrier()).await.unwrap();
    assert_eq!(value(&store, "key-150").map(|value| value.len()), Some(1000));
    assert!(cluster.dir(id).join("damaged").is_dir(), "what was damaged can be looked at");
}
