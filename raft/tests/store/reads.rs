//! Reads: the newest, in company; a little old ones, at no cost; and the past, in turns.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use kontiki_raft::{ReadError, Store, Timing};
use proto::seam::Env;
use tokio::time::timeout;

use crate::common::{Cluster, in_time, value, write};

fn rounds(store: &Store) -> u64 {
    store.metrics().barrier_rounds.load(Relaxed)
}

#[tokio::test]
async fn a_hundred_reads_at_once_take_a_few_rounds() {
    let cluster = Cluster::started(3).await;
    for store in [cluster.leader().await, cluster.follower().await] {
        let before = rounds(&store);
        let reads = futures::future::join_all((0..100).map(|_| store.barrier()));
        for read in in_time("the reads", reads).await {
            read.unwrap();
        }
        let took = rounds(&store) - before;
        assert!((1..=5).contains(&took), "{took} rounds");
    }
}

#[tokio::test]
async fn who_asks_and_who_leads_confirm_a_read_where_they_are_a_majority() {
    for (size, are_majority) in [(3, true), (4, false), (5, false)] {
        let mut cluster = Cluster::started(size).await;
        let (leader, follower) = (cluster.leader().await, cluster.follower().await);
        write(&leader, "a", "1").await;
        for store in [&leader, &follower] {
            in_time("a read while all are there", store.barrier()).await.unwrap();
        }
        for id in (1..=size).filter(|id| ![leader.id(), follower.id()].contains(id)) {
            cluster.kill(id).await;
        }
        for store in [&leader, &follower] {
            let read = timeout(Duration::from_millis(700), store.barrier()).await;
            assert_eq!(read.is_ok(), are_majority, "{size} replicas, {} read", store.id());
        }
        for id in (1..=size).filter(|id| ![leader.id(), follower.id()].contains(id)) {
            cluster.start(id).await;
        }
        for store in [&leader, &follower] {
            in_time("a read when all are back", store.barrier()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_read_that_may_be_a_little_old_costs_nothing_and_is_not_older() {
    const STALE_MAX: Duration = Duration::from_secs(1);
    let mut cluster = Cluster::of(3);
    for id in 1..=3 {
        let mut config = cluster.config(id);
        config.timing = Timing { propose_timeout: Duration::from_secs(2), ..config.timing };
        cluster.stores.insert(id, Store::open(config, Env::real()).await.unwrap());
    }
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    write(&leader, "a", "1").await;
    in_time("the first read", follower.barrier_within(STALE_MAX)).await.unwrap();
    assert_eq!(value(&follower, "a").as_deref(), Some("1"), "nothing was confirmed before: it is the newest");
    let before = rounds(&follower);
    for _ in 0..100 {
        follower.barrier_within(Duration::from_secs(60)).await.unwrap();
    }
    assert_eq!(rounds(&follower), before);

    write(&leader, "a", "2").await;
    tokio::time::sleep(STALE_MAX).await;
    in_time("a read", follower.barrier_within(STALE_MAX)).await.unwrap();
    assert_eq!(value(&follower, "a").as_deref(), Some("2"), "it was written before");

    for id in [1, 2, 3].into_iter().filter(|id| *id != follower.id()) {
        cluster.kill(id).await;
    }
    follower.barrier_within(Duration::from_secs(60)).await.unwrap();
    tokio::time::sleep(STALE_MAX).await;
    let refused = in_time("a read", follower.barrier_within(STALE_MAX)).await;
    assert!(matches!(refused, Err(ReadError::NoLeader(_))), "{refused:?}: nobody knows how old it is");
}

#[tokio::test]
async fn the_present_is_shown_while_others_look_back() {
    let cluster = Cluster::started(1).await;
    let store = &cluster.stores[&1];
    let first = write(store, "a", "1").await;
    let last = write(store, "a", "2").await;
    // Two at a time may look back, and these do not get on.
    let (mut one, mut other) = (Box::pin(store.state_at(first)), Box::pin(store.state_at(first)));
    assert!(futures::poll!(&mut one).is_pending() && futures::poll!(&mut other).is_pending());
    let soon = Duration::from_millis(300);
    assert!(timeout(soon, store.key_at(b"a", first)).await.is_err(), "it waits for its turn");
    let present = timeout(soon, store.state_at(last)).await.expect("at once").unwrap();
    assert_eq!(&present.get(b"a").unwrap().value[..], b"2");
    let present = timeout(soon, store.key_at(b"a", last)).await.expect("at once").unwrap();
    assert_eq!(&present.unwrap().value[..], b"2");

    for look in [one, other] {
        assert_eq!(&look.await.unwrap().get(b"a").unwrap().value[..], b"1");
    }
    let again = timeout(soon, store.key_at(b"a", first)).await.expect("the turns are free again").unwrap();
    assert_eq!(again.unwrap().revision, first);
}
