//! A replica that finds damage while it runs begins anew by itself: when the others can do without it, and one at a time.

use std::io::{Read as _, Seek as _, Write as _};
use std::sync::atomic::Ordering::Relaxed;

use kontiki_raft::{Config, Renewals, Repair, Store, Table};
use proto::seam::Env;

use crate::common::disk::{Disks, Memory, on_memory, saved, start_on};
use crate::common::{Cluster, PATIENCE, eventually, files, filled, in_time, status_of, takes_part, value, write};

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

#[tokio::test]
async fn damage_found_in_a_running_follower_is_repaired_from_the_others() {
    for table in [Table::Log, Table::Objects, Table::History] {
        let (mut cluster, disks) = on_memory(3).await;
        filled(&cluster).await;
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
    filled(&cluster).await;
    let store = cluster.leader().await;
    let id = store.id();
    saved(&disks[&id], "key-19").await;
    let damage = found_while_running(&disks[&id], &store, Table::Log).await;
    assert_ne!(cluster.leader().await.id(), id);
    let store = begins_anew(&mut cluster, &disks, id, damage).await;
    takes_part(cluster, store).await;
}

/// What somebody lacks who was away is read from the disk, where the leader has it no more in memory. It cannot go on as leader then.
#[tokio::test]
async fn a_leader_that_needs_what_is_damaged_begins_anew_and_who_was_away_is_served_by_another() {
    let (mut cluster, disks) = on_memory(3).await;
    filled(&cluster).await;
    cluster.converged().await;
    let away = cluster.follower().await.id();
    cluster.stop(away).await;
    let others: Vec<u64> = cluster.stores.keys().copied().collect();
    write(&cluster.stores[&others[0]], "missed", "x").await;
    let missed = disks[&others[0]].keys(Table::Log).len() - 1;
    for id in &others {
        cluster.stop(*id).await;
    }
    for id in &others {
        start_on(&mut cluster, &disks, *id).await.unwrap();
    }
    let leader = cluster.leader().await;
    let id = leader.id();
    let row = disks[&id].keys(Table::Log)[missed].clone();
    disks[&id].rot(Table::Log, |key| *key == row).unwrap();
    start_on(&mut cluster, &disks, away).await.unwrap();
    eventually("its status names the damage, whoever is asked", async || {
        for asked in [&leader, &cluster.stores[&away]] {
            let members = asked.members(PATIENCE).await;
            let trouble = members.into_iter().find(|status| status.member.id == id)?.trouble?;
            let names = trouble.starts_with("its data is damaged (") && trouble.contains("is corrupt");
            if !names || !trouble.ends_with("), and it takes no part: a restart repairs it") {
                return None;
            }
        }
        Some(())
    })
    .await;
    let damage = in_time("it may begin anew", leader.renewal()).await;
    assert!(damage.contains("is corrupt"), "{damage}");
    drop(leader);
    let store = begins_anew(&mut cluster, &disks, id, damage).await;
    takes_part(cluster, store).await;
}

#[tokio::test]
async fn damage_is_lived_with_while_the_others_are_no_majority() {
    let (mut cluster, disks) = on_memory(3).await;
    filled(&cluster).await;
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
    filled(&cluster).await;
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

/// One that begins anew wants its port back at once.
#[tokio::test]
async fn a_replica_that_has_shut_down_has_given_its_port_back_whoever_knocks_there() {
    let mut cluster = Cluster::started(1).await;
    let address = cluster.stores[&1].peer_address();
    let mut silent = Vec::new();
    // More than it lets in at once.
    for _ in 0..100 {
        silent.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    cluster.stop(1).await;
    let listener = std::net::TcpListener::bind(address);
    assert!(listener.is_ok(), "{listener:?}");
    drop(silent);
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
    assert!(damage.contains(largest.file_name().unwrap().to_str().unwrap()), "it names the file: {damage}");
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
