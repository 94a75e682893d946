//! A replica whose disk was replaced, and a leader that may have been deposed without having heard of it.

use std::time::Duration;

use kontiki_raft::Table;

use crate::common::disk::{Memory, on_memory, start_on};
use crate::common::{command, eventually, put, takes_part, write};

/// A leader without a majority is silent for 1.6 s at a time: within this it sends heartbeats, and entries too.
const LONG: Duration = Duration::from_secs(4);

/// Seed 26 of the simulation: with the acknowledgement of an emptied replica a deposed leader overruled what the two others
/// had committed. The one that is away here may have led since, and both may have forgotten it.
#[tokio::test]
async fn an_emptied_replica_takes_nothing_from_a_leader_that_may_have_been_deposed() {
    let (mut cluster, mut disks) = on_memory(3).await;
    for n in 0..20 {
        write(&cluster.stores[&1], &format!("key-{n}"), "x").await;
    }
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
