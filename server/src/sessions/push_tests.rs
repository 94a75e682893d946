//! When a session is told its work, and when not yet.

use std::path::Path;

use proto::seam::Env;
use proto::session::Assignment;
use raft::{Action, Command, Gone, Op, Precondition, Role, Roster, Standing};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, watch};

use super::*;
use crate::sessions::Config;

const POD: &[u8] = b"core/pods/default/web";

/// With one Pod, of the node `n1`.
async fn store(dir: &Path) -> Store {
    let store = crate::fixtures::store(dir, Env::real()).await;
    let pod = r#"{"metadata": {"name": "web"}, "spec": {"nodeName": "n1", "containers": []}}"#;
    write(&store, Action::Put(pod.into())).await;
    store
}

async fn write(store: &Store, action: Action) {
    let ops = vec![Op { key: Bytes::from_static(POD), precondition: Precondition::Any, action }];
    let command = Command { fence: None, proposed_at_ms: 0, author: "test".into(), ops };
    store.propose(command).await.expect("it is written");
}

fn sessions() -> Sessions {
    let role = Role::Leader;
    let standing = Standing { id: 1, role, term: 1, leader: Some(1), applied_index: 0, leads_in_term: Some(1) };
    let (roster, standing) = (watch::channel(Roster::default()).1, watch::channel(standing).1);
    Sessions::new(Config { cluster_id: "test".into(), epoch: 0, roster, standing }, Env::real())
}

/// How many items each full set has that was sent.
fn sent(queue: &mut mpsc::Receiver<Vec<ReplicaMessage>>) -> Vec<usize> {
    let messages = std::iter::from_fn(|| queue.try_recv().ok()).flatten();
    let assignments = messages.filter_map(|message| match message.message {
        Some(replica_message::Message::Assignment(Assignment { full: true, upserts, .. })) => Some(upserts.len()),
        _ => None,
    });
    assignments.collect()
}

#[tokio::test]
async fn a_session_is_told_its_work_only_once_a_majority_has_confirmed_it_since() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, sessions) = (store(dir.path()).await, sessions());
    let (asked, answers) = (Semaphore::new(0), Semaphore::new(0));
    let confirm = || async {
        asked.add_permits(1);
        answers.acquire().await.expect("it is open").forget();
        Ok(())
    };
    let mut following = std::pin::pin!(follow(&store, &sessions, 1, confirm));
    for number in 1..=2 {
        let (_session, mut queue) = sessions.join("n1");
        tokio::select! {
            ended = &mut following => panic!("it ended: {ended:?}"),
            permit = asked.acquire() => permit.expect("it is open").forget(),
        }
        assert_eq!(sent(&mut queue), [0_usize; 0], "session {number}: another may lead by now");
        answers.add_permits(1);
        let told = async {
            loop {
                match sent(&mut queue).as_slice() {
                    [] => tokio::task::yield_now().await,
                    sets => break sets.to_vec(),
                }
            }
        };
        tokio::select! {
            ended = &mut following => panic!("it ended: {ended:?}"),
            told = tokio::time::timeout(Duration::from_secs(20), told) => {
                assert_eq!(told.expect("it is told in time"), [1], "session {number}");
            }
        }
    }
    store.shutdown().await;
}

#[tokio::test]
async fn nobody_is_told_of_a_pod_that_was_gone_when_the_state_was_confirmed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, sessions) = (store(dir.path()).await, sessions());
    let mut pusher = begun(1, store.state()).await;
    write(&store, Action::Delete).await;
    let (session, mut queue) = sessions.join("n1");
    pusher.meet(sessions.connected());
    pusher.confirm(session.number, &store.state());
    pusher.send();
    assert_eq!(sent(&mut queue), [0_usize; 0], "its watch has yet to tell of that");
    pusher.take_in(POD, None);
    pusher.send();
    assert_eq!(sent(&mut queue), [0], "a full set, and nothing in it");
    store.shutdown().await;
}

/// Its agent may be one that has just begun, after a power cut: it would begin with what is given to others next.
#[tokio::test]
async fn a_new_session_is_told_nothing_while_a_pod_of_its_node_may_be_given_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, sessions) = (store(dir.path()).await, sessions());
    let pod = |metadata: &Value, conditions: &Value| {
        let spec = json!({"nodeName": "n1", "containers": []});
        let pod = json!({"metadata": metadata, "spec": spec, "status": {"conditions": conditions}});
        Some(Stored { revision: 1_000, json: pod.to_string().into() })
    };
    let gone = json!([{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}]);
    let ends = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    for (metadata, conditions) in [(json!({}), json!([])), (ends, gone.clone())] {
        let mut pusher = begun(1, store.state()).await;
        let (session, mut queue) = sessions.join("n1");
        pusher.meet(sessions.connected());
        pusher.confirm(session.number, &store.state());
        pusher.take_in(POD, pod(&json!({}), &gone));
        pusher.send();
        assert_eq!(sent(&mut queue), [0_usize; 0], "its Node is gone");
        pusher.take_in(POD, pod(&metadata, &conditions));
        pusher.send();
        assert_eq!(sent(&mut queue), [1], "{metadata} {conditions}");
    }
    store.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_gone_at_once_is_not_begun_anew_all_the_time() {
    let mut begun = 0;
    let push = start_over(|| {
        begun += 1;
        assert!(begun < 1000, "it spins");
        async { Err(Gone { asked: 1, oldest: 2 }.into()) }
    });
    assert!(tokio::time::timeout(Duration::from_secs(1), push).await.is_err());
    assert!((15..=25).contains(&begun), "{begun}");
}
