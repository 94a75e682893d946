//! The numbers that a replica tells: each is brought to move, and read. Those of disks and of damage are read where these fail.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::future::join_all;
use kontiki_raft::{HistoryWindow, Metrics, ProposeError, Store};

use crate::common::disk::{on_memory, start_on};
use crate::common::{Cluster, bytes, command, eventually, in_time, put, write};
use crate::snapshot::fill;

/// Some of a replica's numbers.
fn read<const N: usize>(store: &Store, which: fn(&Metrics) -> [&AtomicU64; N]) -> [u64; N] {
    which(store.metrics()).map(|number| number.load(Relaxed))
}

/// Waits until numbers have grown by so much each, or more.
async fn grown<const N: usize>(store: &Store, which: fn(&Metrics) -> [&AtomicU64; N], before: [u64; N], by: [u64; N]) {
    let enough = async || {
        let now = read(store, which);
        (0..N).all(|place| now[place] >= before[place] + by[place]).then_some(())
    };
    let what = format!("on replica {}: from {before:?} by {by:?}", store.id());
    eventually(&what, enough).await;
}

#[tokio::test]
async fn a_write_counts_where_it_is_proposed_and_where_its_entry_comes_to() {
    const WRITES: u64 = 10;
    let (cluster, _disks) = on_memory(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    write(&follower, "first", "x").await;
    cluster.converged().await;
    let proposed: fn(&Metrics) -> [&AtomicU64; 2] = |metrics| [&metrics.proposals, &metrics.proposals_forwarded];
    let entries: fn(&Metrics) -> [&AtomicU64; 4] = |metrics| {
        [&metrics.entries_appended, &metrics.entries_applied, &metrics.committed_index, &metrics.applied_index]
    };
    let before = [&leader, &follower].map(|store| (read(store, proposed), read(store, entries)));
    for n in 0..WRITES {
        write(&follower, &format!("key-{n}"), "x").await;
    }
    for (store, (_, entries_before)) in [&leader, &follower].into_iter().zip(before) {
        grown(store, entries, entries_before, [WRITES; 4]).await;
    }
    grown(&follower, proposed, before[1].0, [WRITES; 2]).await;
    assert_eq!(read(&leader, proposed), before[0].0, "nobody proposed there");

    write(&leader, "own", "x").await;
    assert_eq!(read(&leader, proposed), [before[0].0[0] + 1, before[0].0[1]], "it need not be forwarded");
}

#[tokio::test]
async fn what_is_not_taken_counts_by_its_reason() {
    let (cluster, disks) = on_memory(1).await;
    let store = &cluster.stores[&1];
    let counts = || {
        read(store, |metrics| {
            [
                &metrics.proposals,
                &metrics.proposals_refused,
                &metrics.proposals_no_space,
                &metrics.proposals_unknown,
                &metrics.proposals_forwarded,
            ]
        })
    };
    write(store, "a", "x").await;
    assert_eq!(counts(), [1, 0, 0, 0, 0]);
    let refused = store.propose(command(vec![put("large", &"x".repeat(9 << 20))])).await;
    assert!(matches!(refused, Err(ProposeError::Refused(_))), "{refused:?}");
    assert_eq!(counts(), [2, 1, 0, 0, 0]);
    disks[&1].set_free(30 << 20);
    let short = async || (read(store, |metrics| [&metrics.space_level]) == [1]).then_some(());
    eventually("little room", short).await;
    let barred = store.propose(command(vec![put("new", "x")])).await;
    assert!(matches!(barred, Err(ProposeError::NoSpace(_))), "{barred:?}");
    assert_eq!(counts(), [3, 1, 1, 0, 0]);
}

#[tokio::test]
async fn a_leader_that_dies_counts_as_a_change_and_what_it_was_about_to_do_as_unknown() {
    let (mut cluster, disks) = on_memory(3).await;
    let leader = cluster.leader().await;
    write(&leader, "before", "x").await;
    cluster.converged().await;
    let changes: fn(&Metrics) -> [&AtomicU64; 1] = |metrics| [&metrics.leader_changes];
    let others: Vec<Store> = cluster.stores.values().filter(|store| store.id() != leader.id()).cloned().collect();
    let before: Vec<[u64; 1]> = others.iter().map(|store| read(store, changes)).collect();
    assert!(before.iter().all(|count| *count > [0]), "the first leader is one, too: {before:?}");
    let unknown = || read(&others[0], |metrics| [&metrics.proposals, &metrics.proposals_unknown]);
    let ([proposals, none], appended) = (unknown(), read(&leader, |metrics| [&metrics.entries_appended]));

    // Nobody acknowledges it.
    let held = join_all(others.iter().map(|other| disks[&other.id()].syncs.lock())).await;
    let proposing = tokio::spawn({
        let asked = others[0].clone();
        async move { asked.propose(command(vec![put("open", "x")])).await }
    });
    grown(&leader, |metrics| [&metrics.entries_appended], appended, [1]).await;
    cluster.kill(leader.id()).await;
    drop(held);
    let outcome = in_time("an answer", proposing).await.unwrap();
    assert!(matches!(outcome, Err(ProposeError::Unknown(_))), "{outcome:?}");
    assert_eq!(unknown(), [proposals + 1, none + 1]);
    cluster.leader().await;
    for (store, before) in others.iter().zip(before) {
        grown(store, changes, before, [1]).await;
    }
}

#[tokio::test]
async fn a_snapshot_counts_with_its_bytes_on_both_sides() {
    let (mut cluster, disks) = on_memory(3).await;
    let behind = cluster.follower().await.id();
    cluster.kill(behind).await;
    let leader = cluster.leader().await;
    fill(&leader).await;
    cluster.converged().await;
    for store in cluster.stores.values() {
        store.compact_log().await;
    }
    let sent: fn(&Metrics) -> [&AtomicU64; 2] = |metrics| [&metrics.snapshots_sent, &metrics.snapshot_bytes_sent];
    let installed: fn(&Metrics) -> [&AtomicU64; 2] =
        |metrics| [&metrics.snapshots_installed, &metrics.snapshot_bytes_installed];
    let store = start_on(&mut cluster, &disks, behind).await.unwrap();
    cluster.converged().await;
    // Thirty objects of 100,000 bytes each.
    grown(&leader, sent, [0, 0], [1, 3_000_000]).await;
    grown(&store, installed, [0, 0], [1, 3_000_000]).await;
}

#[tokio::test]
async fn what_is_committed_and_not_applied_yet_is_told() {
    let (cluster, disks) = on_memory(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let lag = || {
        let [committed, applied] = read(&follower, |metrics| [&metrics.committed_index, &metrics.applied_index]);
        committed.saturating_sub(applied)
    };
    // What comes behind a save waits for it.
    let held = disks[&follower.id()].saves.lock().await;
    let lags = async || {
        write(&leader, "a", "x").await;
        (lag() >= 3).then_some(())
    };
    eventually("a lag", lags).await;
    drop(held);
    eventually("the end of the lag", async || (lag() == 0).then_some(())).await;
    cluster.converged().await;
}

#[tokio::test]
async fn an_open_watch_counts_until_it_is_dropped_and_the_beginning_of_the_history_is_told() {
    let mut cluster = Cluster::of(1);
    cluster.history = HistoryWindow { age_max: Duration::from_secs(3600), bytes_max: 20_000 };
    let store = cluster.start(1).await;
    let numbers = || read(&store, |metrics| [&metrics.watchers, &metrics.history_floor]);
    assert_eq!(numbers(), [0, 0]);
    let (one, other) = (store.watch(bytes(""), 0).unwrap(), store.watch(bytes("a"), 0).unwrap());
    assert_eq!(numbers(), [2, 0]);
    drop(one);
    assert_eq!(numbers(), [1, 0]);
    drop(other);
    for n in 0..100 {
        write(&store, &format!("key-{n}"), &"x".repeat(1000)).await;
    }
    eventually("a history that has lost its beginning", async || (store.oldest() > 0).then_some(())).await;
    assert!(store.watch(bytes(""), 0).is_err(), "it is gone");
    // It goes on being trimmed at the same time.
    let told = async || (numbers() == [0, store.oldest()]).then_some(());
    eventually("where it begins", told).await;
    let [_, bytes] = read(&store, |metrics| [&metrics.history_floor, &metrics.history_bytes]);
    assert!((10_000..200_000).contains(&bytes), "{bytes} bytes of history");
}
