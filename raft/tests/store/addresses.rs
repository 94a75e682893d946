//! Replicas that move, and where the others look for them.

use std::time::Duration;

use kontiki_raft::{MemberChange, Store};

use crate::common::{Cluster, eventually, free_address, value, write};

#[tokio::test]
async fn a_replica_whose_address_changed_finds_its_way_back() {
    let mut cluster = Cluster::started(3).await;
    write(&cluster.stores[&1], "a", "1").await;
    cluster.converged().await;
    let moved = cluster.follower().await.id();
    cluster.kill(moved).await;
    write(&cluster.leader().await, "b", "1").await;
    let address = free_address();
    let place = cluster.members.iter_mut().find(|member| member.id == moved).unwrap();
    (place.peer_address, place.client_address) = (address.clone(), "elsewhere:6443".into());
    let store = cluster.start(moved).await;
    cluster.converged().await;
    assert_eq!(value(&store, "b").as_deref(), Some("1"));
    eventually("its address in the membership of all", async || {
        for store in cluster.stores.values() {
            let members = store.members(Duration::from_millis(300)).await;
            let status = members.iter().find(|status| status.member.id == moved)?;
            let there = status.member.peer_address == address && status.member.client_address == "elsewhere:6443";
            (there && status.reachable).then_some(())?;
        }
        Some(())
    })
    .await;
    // With it, another may die.
    let dead = cluster.stores.keys().copied().find(|id| *id != moved).unwrap();
    cluster.kill(dead).await;
    write(&store, "c", "1").await;
}

/// Gives it a new address, and beside it one that cannot be: no leader writes that down.
fn misplace(cluster: &mut Cluster, id: u64) {
    let place = cluster.members.iter_mut().find(|member| member.id == id).unwrap();
    (place.peer_address, place.client_address) = (free_address(), "nowhere".into());
}

/// Does `from` reach this member, whom the membership has at `recorded`?
async fn reaches(from: &Store, id: u64, recorded: &str) -> Option<()> {
    let members = from.members(Duration::from_millis(300)).await;
    let status = members.iter().find(|status| status.member.id == id)?;
    (status.reachable && status.member.peer_address == recorded).then_some(())
}

#[tokio::test]
async fn a_replica_whose_move_was_refused_is_found_again_where_it_was() {
    let mut cluster = Cluster::started(3).await;
    write(&cluster.stores[&1], "a", "1").await;
    cluster.converged().await;
    let moved = cluster.follower().await.id();
    let (members, address) = (cluster.members.clone(), cluster.peer_address(moved));
    cluster.kill(moved).await;
    misplace(&mut cluster, moved);
    cluster.start(moved).await;
    for store in cluster.stores.values().filter(|store| store.id() != moved) {
        eventually("the way to where it is", async || reaches(store, moved, &address).await).await;
    }

    cluster.kill(moved).await;
    cluster.members = members;
    write(&cluster.leader().await, "b", "1").await;
    let store = cluster.start(moved).await;
    cluster.converged().await;
    assert_eq!(value(&store, "b").as_deref(), Some("1"));
    for store in cluster.stores.values() {
        eventually("the way back", async || reaches(store, moved, &address).await).await;
    }
}

#[tokio::test]
async fn a_leader_whose_move_is_refused_tells_the_others_where_it_is() {
    let mut cluster = Cluster::started(3).await;
    write(&cluster.stores[&1], "a", "1").await;
    cluster.converged().await;
    let moved = cluster.follower().await.id();
    let address = cluster.peer_address(moved);
    cluster.kill(moved).await;
    misplace(&mut cluster, moved);
    cluster.start(moved).await;
    let lead = MemberChange::Transfer { to: Some(moved) };
    eventually("its leadership", async || cluster.change(lead.clone()).await.ok()).await;
    // This one has forgotten what it was told, and a majority is there without it.
    let other = cluster.stores.keys().copied().find(|id| *id != moved).unwrap();
    cluster.kill(other).await;
    let store = cluster.start(other).await;
    eventually("the way to the leader", async || reaches(&store, moved, &address).await).await;
    assert_eq!(cluster.leader().await.id(), moved, "it led all the time");
}

#[tokio::test]
async fn two_that_move_at_once_find_each_other() {
    let mut cluster = Cluster::started(3).await;
    write(&cluster.stores[&1], "a", "1").await;
    cluster.converged().await;
    for id in [2, 3] {
        cluster.kill(id).await;
        cluster.members[id as usize - 1].peer_address = free_address();
    }
    cluster.start(2).await;
    cluster.start(3).await;
    write(&cluster.stores[&2], "b", "1").await;
    cluster.converged().await;
}

#[tokio::test]
async fn all_that_move_at_once_find_each_other_by_their_configurations() {
    let mut cluster = Cluster::started(3).await;
    write(&cluster.stores[&1], "a", "1").await;
    cluster.converged().await;
    for id in [1, 2, 3] {
        cluster.kill(id).await;
        cluster.members[id as usize - 1].peer_address = free_address();
    }
    for id in [1, 2, 3] {
        cluster.start(id).await;
    }
    cluster.leader().await;
    write(&cluster.stores[&2], "b", "1").await;
    cluster.converged().await;
    assert_eq!(value(&cluster.stores[&3], "a").as_deref(), Some("1"));
}
