//! How entries get to a follower: many in one request, and one request behind another.

use crate::common::witness::Witness;
use crate::common::{Cluster, eventually, write};

#[tokio::test]
async fn entries_that_wait_for_a_follower_share_requests() {
    const ENTRIES: usize = 200;
    let mut cluster = Cluster::started(3).await;
    let away = cluster.follower().await.id();
    cluster.kill(away).await;
    let leader = cluster.leader().await;
    // One after another: no two of them enter the log together.
    for n in 0..ENTRIES {
        write(&leader, "a", &n.to_string()).await;
    }
    let witness = Witness::in_place_of(&cluster, away).await;
    let come = async || Some(witness.entries()).filter(|(entries, _)| *entries >= ENTRIES);
    let (entries, requests) = eventually("all that was written", come).await;
    // One or two: what was made ready for the follower while it was away may have been less.
    assert!(requests * 20 <= entries, "{entries} entries came in {requests} requests");
}

/// All on one stream: what is given up is sent again on another one, and counts there anew.
#[tokio::test]
async fn entries_follow_on_those_that_are_not_answered() {
    const AT_ONCE: usize = 5;
    let mut cluster = Cluster::started(3).await;
    let away = cluster.follower().await.id();
    cluster.kill(away).await;
    let leader = cluster.leader().await;
    let witness = Witness::in_place_of(&cluster, away).await;
    write(&leader, "a", "1").await;
    eventually("entries that are answered", async || (witness.entries().0 > 0).then_some(())).await;

    witness.fall_silent();
    // The other follower acknowledges each before the next one is written.
    let owed = async || {
        write(&leader, "a", "2").await;
        (witness.owed_max() >= AT_ONCE).then_some(())
    };
    eventually("requests behind one without an answer", owed).await;
}
