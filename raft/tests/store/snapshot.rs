//! Replicas that the log no longer reaches are filled by a snapshot.

use std::sync::atomic::Ordering::Relaxed;

use kontiki_raft::{Change, News, Op, Revision, Store};

use crate::common::{Cluster, bytes, command, eventually, in_time, put, value, write};

pub fn installed(store: &Store) -> u64 {
    store.metrics().snapshots_installed.load(Relaxed)
}

/// Enough for several chunks.
pub async fn fill(store: &Store) {
    let large = "x".repeat(100_000);
    let ops: Vec<Op> = (0..30).map(|n| put(&format!("large-{n:02}"), &large)).collect();
    store.propose(command(ops)).await.unwrap();
}

/// All changes that a watch from the very beginning is told. `None`: the history does not reach back so far.
async fn told(store: &Store, upto: Revision) -> Option<Vec<Change>> {
    let mut watcher = store.watch(bytes(""), 0).ok()?;
    let mut told = Vec::new();
    while told.last().is_none_or(|change: &Change| change.revision < upto) {
        if let News::Changes(changes) = in_time("news", watcher.next()).await.ok()? {
            told.extend(changes.iter().map(|change| (**change).clone()));
        }
    }
    Some(told)
}

#[tokio::test]
async fn an_empty_replica_is_filled_and_remembers_what_it_was_given() {
    let mut cluster = Cluster::started(3).await;
    let empty = cluster.follower().await.id();
    write(&cluster.leader().await, "small", "1").await;
    fill(&cluster.leader().await).await;
    cluster.converged().await;
    cluster.stop(empty).await;
    std::fs::remove_dir_all(cluster.dir(empty)).unwrap();
    let leader = cluster.leader().await;
    leader.compact_log().await;
    let store = cluster.start(empty).await;
    let revision = cluster.converged().await;
    assert_eq!(installed(&store), 1);
    assert_eq!(value(&store, "small").as_deref(), Some("1"));

    // The past comes behind it, the future at once.
    let mut watcher = store.watch(bytes(""), revision).unwrap();
    write(&leader, "later", "1").await;
    match in_time("news", watcher.next()).await.unwrap() {
        News::Changes(changes) => assert_eq!(changes[0].revision, revision + 1),
        News::Progress(at) => panic!("only progress to {at}"),
    }
    let everything = told(&leader, revision).await.expect("the leader has it from the beginning");
    let fetched = eventually("the past", async || told(&store, revision).await).await;
    assert_eq!(fetched, everything);

    cluster.stop(empty).await;
    let store = cluster.start(empty).await;
    cluster.converged().await;
    assert_eq!((installed(&store), value(&store, "small").as_deref()), (0, Some("1")));
    assert_eq!(told(&store, revision).await, Some(everything), "it remembers that as well");
}

/// One after the other gets an empty disk: the last one learns the past from those who were told it themselves.
#[tokio::test]
async fn the_past_outlives_every_disk_that_it_was_first_written_to() {
    let mut cluster = Cluster::started(3).await;
    write(&cluster.leader().await, "small", "1").await;
    fill(&cluster.leader().await).await;
    let revision = write(&cluster.leader().await, "small", "2").await;
    cluster.converged().await;
    let everything = told(&cluster.leader().await, revision).await.unwrap();
    for id in 1..=3 {
        cluster.stop(id).await;
        std::fs::remove_dir_all(cluster.dir(id)).unwrap();
        let leader = cluster.leader().await;
        leader.compact_log().await;
        let store = cluster.start(id).await;
        cluster.converged().await;
        assert_eq!(installed(&store), 1);
        let fetched = eventually("the past", async || told(&store, revision).await).await;
        assert_eq!(fetched, everything, "replica {id}");
        let before = store.state_at(revision - 1).await.unwrap();
        assert_eq!(before.get(b"small").map(|object| object.value.clone()), Some(bytes("1")), "replica {id}");
    }
}

#[tokio::test]
async fn a_replica_far_behind_loses_what_was_deleted_meanwhile() {
    let mut cluster = Cluster::started(3).await;
    let behind = cluster.follower().await.id();
    write(&cluster.leader().await, "doomed", "1").await;
    fill(&cluster.leader().await).await;
    cluster.converged().await;
    let mut watcher = cluster.stores[&behind].watch(bytes(""), 0).unwrap();
    in_time("news", watcher.next()).await.unwrap();
    cluster.kill(behind).await;
    let leader = cluster.leader().await;
    let delete = Op { action: kontiki_raft::Action::Delete, ..put("doomed", "") };
    leader.propose(command(vec![delete])).await.unwrap();
    for n in 0..50 {
        write(&leader, &format!("later-{n}"), "1").await;
    }
    for store in cluster.stores.values() {
        store.compact_log().await;
    }
    let store = cluster.start(behind).await;
    cluster.converged().await;
    assert_eq!((installed(&store), value(&store, "doomed")), (1, None));
    // It takes part again, on top of the snapshot.
    write(&store, "after", "1").await;
    cluster.converged().await;
    assert_eq!(value(&store, "after").as_deref(), Some("1"));
}
