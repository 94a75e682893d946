//! Entries, snapshots and heartbeats go over connections of their own: where one of them is stuck, the others go on.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use kontiki_raft::{Revision, Store, Timing};
use tokio::time::Instant;

use crate::common::net::StuckNet;
use crate::common::{Cluster, eventually, value, write};
use crate::snapshot::{fill, installed};

/// More than a snapshot's first part, and less than the snapshot. Heartbeats come to some KiB within a test.
const MUCH: u64 = 1 << 20;
/// Of one object, whose entry is more than that.
const LARGE: usize = 2 << 20;
/// Who is sent a snapshot waits twice as long for its next part.
const SOON: Duration = Duration::from_secs(5);

async fn three() -> (Cluster, StuckNet) {
    let net = StuckNet::new();
    (Cluster::started_on_net(3, Arc::new(net.clone())).await, net)
}

/// A follower that is away, and that the log does not reach any more; and the revision that it had.
async fn far_behind(cluster: &mut Cluster) -> (u64, Revision) {
    let leader = cluster.leader().await;
    let behind = cluster.follower().await.id();
    fill(&leader).await;
    write(&leader, "a", "old").await;
    let revision = cluster.converged().await;
    cluster.stop(behind).await;
    for _ in 0..50 {
        write(&leader, "a", "new").await;
    }
    for store in cluster.stores.values() {
        store.compact_log().await;
    }
    (behind, revision)
}

/// How often anybody has sought votes, and the newest term that anybody knows of.
fn elections(cluster: &Cluster) -> (u64, Option<u64>) {
    let sought = |store: &Store| {
        let metrics = store.metrics();
        metrics.elections_after_silence.load(Relaxed) + metrics.elections_after_reset.load(Relaxed)
    };
    let terms = cluster.stores.values().map(|store| store.standing().borrow().term);
    (cluster.stores.values().map(sought).sum(), terms.max())
}

/// For three times as long as a follower waits for a leader that says nothing. All are acknowledged and applied.
async fn writes_go_on(cluster: &Cluster) {
    let leader = cluster.leader().await;
    let before = elections(cluster);
    let (began, silence) = (Instant::now(), Timing::default().silence);
    let mut written = 0u64;
    while began.elapsed() < 3 * silence {
        written += 1;
        write(&leader, "b", &written.to_string()).await;
    }
    assert_eq!(value(&leader, "b"), Some(written.to_string()));
    assert_eq!(elections(cluster), before, "somebody has not heard the leader");
}

#[tokio::test]
async fn a_follower_whose_entries_are_stuck_hears_its_leader() {
    let (cluster, net) = three().await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let address = cluster.peer_address(follower.id());
    net.hold(&address, MUCH);
    write(&leader, "a", &"x".repeat(LARGE)).await;
    eventually("entries that are stuck", async || (net.laden(&address, MUCH) > 0).then_some(())).await;
    writes_go_on(&cluster).await;
    assert!(value(&follower, "a").is_none(), "they were not stuck");
    net.release();
    cluster.converged().await;
    assert_eq!(value(&follower, "a").map(|text| text.len()), Some(LARGE));
}

#[tokio::test]
async fn a_snapshot_under_way_holds_up_nobody_and_begins_anew_where_it_is_cut_off() {
    let (mut cluster, net) = three().await;
    let (behind, revision) = far_behind(&mut cluster).await;
    let (leader, address) = (cluster.leader().await, cluster.peer_address(behind));
    net.hold(&address, MUCH);
    let store = cluster.start(behind).await;
    let comes_in = async || (store.metrics().snapshot_bytes_installed.load(Relaxed) > 0).then_some(());
    eventually("a snapshot's first part", comes_in).await;
    writes_go_on(&cluster).await;
    assert_eq!((leader.metrics().snapshots_sent.load(Relaxed), installed(&store)), (0, 0), "it is under way");
    let shown = store.state();
    assert_eq!((shown.revision(), value(&store, "a").as_deref()), (revision, Some("old")), "it has what it had");

    let before = net.laden(&address, MUCH);
    net.cut();
    cluster.converged().await;
    assert_eq!((installed(&store), value(&store, "a").as_deref()), (1, Some("new")));
    assert!(net.laden(&address, MUCH) > before, "it went on over the same connection");
}

#[tokio::test]
async fn a_snapshot_that_is_stuck_gives_way_to_a_new_leader_s() {
    let (mut cluster, net) = three().await;
    let (behind, _) = far_behind(&mut cluster).await;
    let (old, address) = (cluster.leader().await, cluster.peer_address(behind));
    net.hold(&address, MUCH);
    let before = net.laden(&address, MUCH);
    let store = cluster.start(behind).await;
    let stuck = async || (net.laden(&address, MUCH) > before).then_some(());
    eventually("a snapshot that is stuck", stuck).await;
    let comes_in = async || (store.metrics().snapshot_bytes_installed.load(Relaxed) > 0).then_some(());
    eventually("its first part", comes_in).await;

    // The old leader's word that it has given it up is stuck as well.
    net.spare_new();
    old.transfer_leadership(None).await.unwrap();
    assert_ne!(cluster.leader().await.id(), old.id());
    let filled = eventually("another snapshot", async || (installed(&store) == 1).then_some(()));
    assert!(tokio::time::timeout(SOON, filled).await.is_ok(), "it waits for the old leader's");
    cluster.converged().await;
    assert_eq!(value(&store, "a").as_deref(), Some("new"));
}

#[tokio::test]
async fn snapshots_and_entries_have_a_connection_each() {
    let (mut cluster, net) = three().await;
    let (behind, _) = far_behind(&mut cluster).await;
    let address = cluster.peer_address(behind);
    let before = net.laden(&address, MUCH);
    let store = cluster.start(behind).await;
    cluster.converged().await;
    assert_eq!((installed(&store), net.laden(&address, MUCH)), (1, before + 1));
    write(&cluster.leader().await, "a", &"x".repeat(LARGE)).await;
    cluster.converged().await;
    assert_eq!(net.laden(&address, MUCH), before + 2, "the entry went where the snapshot had gone");
}
