//! What is marked of the ids that were left open, and whom that keeps waiting; on a replica that is alone.

use std::collections::BTreeSet;

use tokio::time::timeout;

use super::*;
use crate::members::change::tests::{PATIENCE, alone, stop, turn};
use crate::types::log_id;

#[tokio::test]
async fn whoever_looks_for_ids_that_were_left_open_keeps_no_change_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let (_disk, running) = alone(dir.path()).await;
    let members = running.members.clone();
    let term = members.standing.borrow().leads_in_term.expect("it leads");
    let applied = running.published.applied().borrow().expect("something is applied");
    // The raft node's metrics lag behind, as they do while its disk is slow.
    running.published.show(Some(log_id(term, applied.index + 1_000)));
    let mut tidying = Box::pin(members.tidy());
    assert!(futures::poll!(&mut tidying).is_pending(), "it waits for the metrics");
    assert!(members.turn.try_lock().is_ok());
    running.published.show(Some(applied));
    drop(tidying);
    stop(running).await;
}

#[tokio::test]
async fn an_id_that_was_left_open_is_marked_and_one_that_is_being_given_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (_disk, running) = alone(dir.path()).await;
    let members = running.members.clone();
    let term = members.standing.borrow().leads_in_term.expect("it leads");
    let removed = || used::removed(&members.published.state());
    let held = turn(&members).await;
    assert!(members.raise(term, 2).await.is_ok());
    members.tidy().await;
    assert!(removed().is_empty(), "it may become a member's");
    drop(held);
    let marked = async {
        while removed() != BTreeSet::from([2]) {
            members.tidy().await;
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, marked).await.expect("it is marked in time");
    stop(running).await;
}
