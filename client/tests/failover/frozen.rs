//! A replica that is frozen breaks no connection. A client leaves it all the same, within a second, and nothing is sent
//! twice that must not be.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kontiki_client::{Api, Error, Patch};
use tokio::time::{Instant, sleep};

use crate::outcome::lost;
use crate::replica::{Answer, Cluster};

/// What a writing client may notice of a frozen replica, before anybody had to be elected.
const NOTICED_MAX: Duration = Duration::from_millis(700);

pub fn merge() -> Patch {
    Patch::Merge(br#"{"data":{"a":"b"}}"#.to_vec())
}

async fn patched(api: &Api<ConfigMap>) -> Duration {
    let start = Instant::now();
    api.patch("one", merge()).await.unwrap();
    start.elapsed()
}

/// A client that has written once, and the replica which took it.
async fn begun(cluster: &Cluster) -> (Api<ConfigMap>, usize) {
    let api = cluster.client().namespaced("default").sole_writer();
    patched(&api).await;
    let at = cluster.replicas.iter().position(|replica| replica.writes() == 1).unwrap();
    (api, at)
}

#[tokio::test(start_paused = true)]
async fn a_write_leaves_a_replica_that_freezes_and_is_not_done_there_later() {
    let cluster = Cluster::new(3);
    let (api, at) = begun(&cluster).await;
    cluster.replicas[at].freeze();
    let noticed = patched(&api).await;
    assert!(noticed < NOTICED_MAX, "{noticed:?}");
    assert!(patched(&api).await < Duration::from_millis(5), "it stays where it was answered");
    cluster.replicas[at].thaw();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(cluster.replicas[at].writes(), 1, "what was given up is cancelled");
    assert_eq!(cluster.writes(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_to_a_frozen_replica_holds_nobody_up() {
    for frozen in 0..3 {
        let cluster = Cluster::new(3);
        cluster.replicas[frozen].freeze();
        let noticed = patched(&cluster.client().namespaced("default").sole_writer()).await;
        assert!(noticed < NOTICED_MAX, "{noticed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_only_slow_is_waited_for() {
    let cluster = Cluster::new(3);
    let (api, at) = begun(&cluster).await;
    cluster.replicas[at].answer([Answer::After(Duration::from_secs(4))]);
    assert!(patched(&api).await >= Duration::from_secs(4));
    assert_eq!((cluster.replicas[at].writes(), cluster.writes()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn after_an_unknown_outcome_a_frozen_replica_is_passed_by() {
    let cluster = Cluster::new(3);
    let (api, at) = begun(&cluster).await;
    for next in [1, 2] {
        // Whichever would be the next in a row.
        let frozen = &cluster.replicas[(at + next) % 3];
        frozen.freeze();
        sleep(Duration::from_secs(1)).await;
        cluster.replicas.iter().for_each(|replica| replica.answer([lost()]));
        let noticed = patched(&api).await;
        assert!(noticed < Duration::from_millis(100), "{noticed:?}");
        frozen.thaw();
    }
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_sent_twice_goes_to_a_replica_that_is_there() {
    let cluster = Cluster::new(3);
    let (api, at) = begun(&cluster).await;
    cluster.replicas[at].freeze();
    sleep(Duration::from_secs(2)).await;
    let start = Instant::now();
    api.create(&ConfigMap::default()).await.unwrap();
    assert!(start.elapsed() < NOTICED_MAX, "{:?}", start.elapsed());
    cluster.replicas[at].thaw();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(cluster.writes(), 2, "once");
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_sent_twice_and_was_sent_is_unknown() {
    let cluster = Cluster::new(3);
    let (api, at) = begun(&cluster).await;
    cluster.replicas[at].freeze();
    let patch = Patch::Merge(br#"{"metadata":{"resourceVersion":"7"}}"#.to_vec());
    let outcome = api.patch("one", patch).await;
    assert!(matches!(outcome, Err(Error::Unknown(_))), "{outcome:?}");
    assert_eq!(cluster.writes(), 1, "nobody else was asked");
}
