//! Watches: every change once, in order, over failover and restart; progress; gone.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::FutureExt as _;
use kontiki_raft::{HistoryError, HistoryWindow, News, Outcome, Revision, Store, Watcher};

use crate::common::{Cluster, PATIENCE, bytes, command, in_time, put, write};

async fn next(watcher: &mut Watcher) -> News {
    in_time("news", watcher.next()).await.expect("the history reaches back")
}

/// The revisions of the next changes, at least `count`.
async fn revisions(watcher: &mut Watcher, count: usize) -> Vec<Revision> {
    let mut seen = Vec::new();
    while seen.len() < count {
        if let News::Changes(changes) = next(watcher).await {
            seen.extend(changes.iter().map(|change| change.revision));
        }
    }
    seen
}

#[tokio::test]
async fn a_watcher_sees_its_prefix_and_a_command_in_one_piece() {
    let cluster = Cluster::started(1).await;
    let store = &cluster.stores[&1];
    let mut all = store.watch(bytes(""), 0).unwrap();
    let mut pods = store.watch(bytes("pods/"), 0).unwrap();
    let ops = vec![put("pods/a", "1"), put("nodes/n", "1"), put("pods/b", "1")];
    assert!(matches!(store.propose(command(ops)).await.unwrap(), Outcome::Applied { .. }));
    let News::Changes(changes) = next(&mut all).await else { panic!("changes come first") };
    assert_eq!(changes.iter().map(|change| change.revision).collect::<Vec<_>>(), [1, 2, 3]);
    let News::Changes(changes) = next(&mut pods).await else { panic!("changes come first") };
    assert_eq!(changes.iter().map(|change| change.key.clone()).collect::<Vec<_>>(), [bytes("pods/a"), bytes("pods/b")]);
}

#[tokio::test]
async fn progress_comes_when_other_keys_change_and_not_otherwise() {
    let cluster = Cluster::started(1).await;
    let store = &cluster.stores[&1];
    let mut pods = store.watch(bytes("pods/"), 0).unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(1300), pods.next()).await.is_err(), "nothing changed");
    let revision = write(store, "nodes/n", "1").await;
    match tokio::time::timeout(Duration::from_secs(2), pods.next()).await.expect("soon").unwrap() {
        News::Progress(at) => assert_eq!(at, revision),
        News::Changes(changes) => panic!("{changes:?}"),
    }
    assert!(tokio::time::timeout(Duration::from_millis(1300), pods.next()).await.is_err(), "told once");
}

#[tokio::test]
async fn a_watch_resumes_on_any_replica_over_the_leader_s_death_without_a_gap() {
    let mut cluster = Cluster::started(3).await;
    let dead = cluster.leader().await.id();
    let survivor = cluster.follower().await;
    let mut before = cluster.stores[&dead].watch(bytes(""), 0).unwrap();
    let mut throughout = survivor.watch(bytes(""), 0).unwrap();
    for n in 0..30 {
        write(&survivor, &format!("key-{n}"), "x").await;
    }
    let seen = revisions(&mut before, 20).await;
    cluster.kill(dead).await;
    for n in 30..60 {
        write(&survivor, &format!("key-{n}"), "x").await;
    }
    let last = survivor.state().revision();
    let position = *seen.last().unwrap();
    let mut resumed = survivor.watch(bytes(""), position).unwrap();
    let rest = revisions(&mut resumed, (last - position) as usize).await;
    assert_eq!([seen, rest].concat(), (1..=last).collect::<Vec<_>>());
    assert_eq!(revisions(&mut throughout, last as usize).await, (1..=last).collect::<Vec<_>>());
}

#[tokio::test]
async fn history_survives_a_restart_and_serves_watchers_that_are_far_behind() {
    let mut cluster = Cluster::started(1).await;
    // More than is kept in memory, so that the beginning comes from the disk even without a restart.
    let value = "x".repeat(200_000);
    let store = cluster.stores[&1].clone();
    let writes = (0..80).map(|n| {
        let (store, value) = (store.clone(), value.clone());
        async move { write(&store, &format!("key-{}", n % 10), &value).await }
    });
    futures::future::join_all(writes).await;
    let mut watcher = store.watch(bytes(""), 0).unwrap();
    assert_eq!(revisions(&mut watcher, 80).await, (1..=80).collect::<Vec<_>>());
    assert!(store.metrics().watch_reads_from_disk.load(Relaxed) > 0);
    let then = store.state_at(37).await.unwrap();
    cluster.stop(1).await;

    let store = cluster.start(1).await;
    let mut watcher = store.watch(bytes("key-3"), 20).unwrap();
    assert_eq!(revisions(&mut watcher, 6).await.len(), 6);
    let again = store.state_at(37).await.unwrap();
    assert_eq!(again.revision(), 37);
    assert!(again.range(b"", None).eq(then.range(b"", None)), "the past stays what it was");
}

#[tokio::test]
async fn a_state_of_the_past_holds_what_was_deleted_since() {
    let cluster = Cluster::started(1).await;
    let store = &cluster.stores[&1];
    write(store, "a", "1").await;
    let then = write(store, "b", "1").await;
    write(store, "b", "2").await;
    let delete = kontiki_raft::Op { action: kontiki_raft::Action::Delete, ..put("a", "") };
    store.propose(command(vec![delete])).await.unwrap();
    assert!(store.state().get(b"a").is_none());
    let past = store.state_at(then).await.unwrap();
    assert_eq!(&past.get(b"a").unwrap().value[..], b"1");
    assert_eq!(&past.get(b"b").unwrap().value[..], b"1");
    assert_eq!(past.revision(), then);
    assert!(store.state_at(99).await.is_err(), "the future is not shown");
}

#[tokio::test]
async fn what_left_the_window_is_gone_and_the_oldest_is_named() {
    let mut cluster = Cluster::of(1);
    cluster.history = HistoryWindow { age_max: Duration::from_secs(3600), bytes_max: 20_000 };
    let store = cluster.start(1).await;
    let mut slow = store.watch(bytes(""), 0).unwrap();
    for n in 0..100 {
        write(&store, &format!("key-{n}"), &"x".repeat(1000)).await;
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while store.oldest() == 0 {
        assert!(tokio::time::Instant::now() < deadline, "nothing was trimmed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    match in_time("the end of the watch", slow.next()).await {
        Err(HistoryError::Gone(gone)) => assert_eq!((gone.asked, gone.oldest), (0, store.oldest())),
        other => panic!("{other:?}"),
    }
    let gone = store.watch(bytes(""), 5).err().expect("gone");
    assert_eq!((gone.asked, gone.oldest), (5, store.oldest()));
    let oldest = store.oldest();
    assert!((70..100).contains(&oldest), "{oldest}: the window holds about 20 changes");
    let mut watcher = store.watch(bytes(""), oldest).unwrap();
    assert_eq!(revisions(&mut watcher, (100 - oldest) as usize).await, (oldest + 1..=100).collect::<Vec<_>>());
}

const VALUE_BYTES: usize = 60_000;
const COMMANDS: u64 = 70;

/// Commands of three changes each, three times as much as is kept in memory.
async fn write_much(store: &Store) {
    let value = "x".repeat(VALUE_BYTES);
    let writes = (0..COMMANDS).map(|n| {
        let ops = ["a", "b", "c"].map(|key| put(&format!("{n}/{key}"), &value));
        store.propose(command(ops.into()))
    });
    for outcome in futures::future::join_all(writes).await {
        assert!(matches!(outcome, Ok(Outcome::Applied { .. })), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_slow_watcher_is_told_everything_and_little_at_a_time() {
    let cluster = Cluster::started(1).await;
    let store = &cluster.stores[&1];
    let mut slow = store.watch(bytes(""), 0).unwrap();
    write_much(store).await;
    let mut reached = 0;
    while reached < 3 * COMMANDS {
        let News::Changes(changes) = next(&mut slow).await else { continue };
        let revisions: Vec<_> = changes.iter().map(|change| change.revision).collect();
        assert_eq!(revisions, (reached + 1..=reached + revisions.len() as u64).collect::<Vec<_>>(), "no gap");
        assert!(revisions.len().is_multiple_of(3), "commands in one piece: {revisions:?}");
        let held: usize = changes.iter().filter_map(|change| change.value.as_ref()).map(|value| value.len()).sum();
        assert!(held < (256 << 10) + 3 * VALUE_BYTES, "it holds {held} bytes at {reached}");
        reached = *revisions.last().unwrap();
    }
    let from_disk = store.metrics().watch_reads_from_disk.load(Relaxed);
    assert!(
        (1..COMMANDS).contains(&from_disk),
        "{from_disk} reads: the old ones from the disk, the new ones from memory"
    );
}

#[tokio::test]
async fn a_watcher_that_is_cancelled_again_and_again_gets_on_all_the_same() {
    let cluster = Cluster::started(1).await;
    let store = &cluster.stores[&1];
    let mut watcher = store.watch(bytes(""), 0).unwrap();
    write_much(store).await;
    let (mut seen, mut told) = (Vec::new(), 0);
    while seen.len() < 3 * COMMANDS as usize {
        match watcher.next().now_or_never() {
            Some(Ok(News::Changes(changes))) => {
                told += 1;
                seen.extend(changes.iter().map(|change| change.revision));
            }
            Some(Ok(News::Progress(_))) => {}
            Some(Err(gone)) => panic!("{gone}"),
            None => tokio::time::sleep(Duration::from_micros(100)).await,
        }
        let from_disk = store.metrics().watch_reads_from_disk.load(Relaxed);
        assert!(from_disk <= told + 1, "{from_disk} reads for {told} pieces of news: some are thrown away");
    }
    assert_eq!(seen, (1..=3 * COMMANDS).collect::<Vec<_>>());
}
