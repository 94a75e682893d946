//! A network on which answers come late.

use std::sync::Arc;
use std::time::Duration;

use kontiki_raft::Role;

use crate::common::net::SlowNet;
use crate::common::{Cluster, value, write};

/// Later than a leader waits for the answer to a heartbeat, and sooner than the others would miss it.
const LATE: Duration = Duration::from_millis(300);

/// Nothing is written meanwhile, so that heartbeats are all that is answered.
#[tokio::test]
async fn an_idle_leader_whose_every_answer_is_late_leads_on() {
    let net = SlowNet::new();
    let cluster = Cluster::started_on_net(3, Arc::new(net.clone())).await;
    let leader = cluster.leader().await;
    write(&leader, "a", "1").await;
    cluster.converged().await;
    let term = leader.standing().borrow().term;

    net.set_answers(LATE);
    // Three times as long as a leader leads on that nobody answers.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let standing = leader.standing().borrow().clone();
    assert_eq!((standing.role, standing.term), (Role::Leader, term), "nobody else was elected");

    net.set_answers(Duration::ZERO);
    write(&leader, "b", "1").await;
    cluster.converged().await;
    assert_eq!(value(&cluster.follower().await, "b").as_deref(), Some("1"));
    assert_eq!(leader.standing().borrow().term, term);
}
