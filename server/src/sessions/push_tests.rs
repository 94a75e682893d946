//! When a session is told its work, and when not yet.

use std::path::Path;

use proto::seam::Env;
use raft::{Action, Command, Gone, Op, Precondition, Role, Roster, Standing};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, watch};

use super::*;
use crate::sessions::Config;

const POD: &[u8] = b"core/pods/default/web";
const NODE: &[u8] = b"core/nodes//n1";

/// With the Node `n1`, and one Pod of it.
async fn store(dir: &Path) -> Store {
    let store = crate::fixtures::store(dir, Env::real()).await;
    let pod = r#"{"metadata": {"name": "web"}, "spec": {"nodeName": "n1", "containers": []}}"#;
    write(&store, NODE, Action::Put(r#"{"metadata": {"name": "n1"}}"#.into())).await;
    write(&store, POD, Action::Put(pod.into())).await;
    store
}

async fn write(store: &Store, key: &'static [u8], action: Action) {
    let ops = vec![Op { key: Bytes::from_static(key), precondition: Precondition::Any, action }];
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
    write(&store, POD, Action::Delete).await;
    let (session, mut queue) = sessions.join("n1");
    pusher.meet(sessions.connected());
    pusher.confirm(session.number, &store.state());
    pusher.send().await;
    assert_eq!(sent(&mut queue), [0_usize; 0], "its watch has yet to tell of that");
    pusher.take_in(POD, None);
    pusher.send().await;
    assert_eq!(sent(&mut queue), [0], "a full set, and nothing in it");
    store.shutdown().await;
}

/// Told of by a watch, after all that is in the store.
fn told(object: &Value) -> Option<Stored> {
    Some(Stored { revision: 1_000, json: object.to_string().into() })
}

fn pod(metadata: &Value, status: &Value) -> Option<Stored> {
    told(&json!({"metadata": metadata, "spec": {"nodeName": "n1", "containers": []}, "status": status}))
}

/// Its agent may be one that has just begun, after a power cut: it would begin with what is given to others next.
#[tokio::test]
async fn a_new_session_is_told_nothing_while_a_pod_of_its_node_may_be_given_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, sessions) = (store(dir.path()).await, sessions());
    let gone = json!([{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}]);
    let marked = json!({"conditions": gone});
    let finished = json!({"conditions": gone, "phase": "Failed"});
    let ends = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    for (metadata, status) in [(json!({}), json!({})), (ends, marked.clone()), (json!({}), finished)] {
        let mut pusher = begun(1, store.state()).await;
        let (session, mut queue) = sessions.join("n1");
        pusher.meet(sessions.connected());
        pusher.confirm(session.number, &store.state());
        pusher.take_in(POD, pod(&json!({}), &marked));
        pusher.send().await;
        assert_eq!(sent(&mut queue), [0_usize; 0], "its Node is gone");
        assert!(matches!(pusher.feeds["n1"].stage, Stage::Withheld), "and no state is kept for as long");
        pusher.take_in(POD, pod(&metadata, &status));
        pusher.send().await;
        assert_eq!(pusher.newest(), Some(session.number), "what is so now is confirmed first");
        assert_eq!(sent(&mut queue), [0_usize; 0]);
        pusher.confirm(session.number, &store.state());
        pusher.send().await;
        assert_eq!(sent(&mut queue), [1], "{metadata} {status}");
    }
    store.shutdown().await;
}

#[tokio::test]
async fn a_new_session_is_told_nothing_while_its_node_does_not_exist() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, sessions) = (store(dir.path()).await, sessions());
    let mut pusher = begun(1, store.state()).await;
    write(&store, NODE, Action::Delete).await;
    let (session, mut queue) = sessions.join("n1");
    pusher.meet(sessions.connected());
    pusher.confirm(session.number, &store.state());
    pusher.send().await;
    assert!(matches!(pusher.feeds["n1"].stage, Stage::Due(_)), "its watch has yet to tell that it is gone");
    pusher.take_in(NODE, None);
    pusher.send().await;
    assert!(matches!(pusher.feeds["n1"].stage, Stage::Withheld), "nobody has marked the Pod yet");
    pusher.take_in(NODE, told(&json!({})));
    pusher.send().await;
    pusher.confirm(session.number, &store.state());
    assert_eq!(sent(&mut queue), [0_usize; 0]);
    pusher.send().await;
    assert_eq!(sent(&mut queue), [1], "it is there again");
    store.shutdown().await;
}

#[tokio::test]
async fn without_a_node_a_new_session_is_told_that_it_has_nothing_to_begin() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, sessions) = (store(dir.path()).await, sessions());
    let mut pusher = begun(1, store.state()).await;
    pusher.take_in(NODE, None);
    for (item, items) in [(pod(&json!({}), &json!({"phase": "Succeeded"})), 1), (None, 0)] {
        let (session, mut queue) = sessions.join("n1");
        pusher.take_in(POD, item);
        pusher.meet(sessions.connected());
        pusher.confirm(session.number, &store.state());
        pusher.send().await;
        assert_eq!(sent(&mut queue), [items]);
    }
    store.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_has_had_the_thread_for_long_lets_others_have_it() {
    let mut turn = Turn::begin();
    assert!(turn.pass().now_or_never().is_some());
    tokio::time::advance(TURN_MAX).await;
    assert!(turn.pass().now_or_never().is_none(), "others come in between");
    turn.pass().await;
    assert!(turn.pass().now_or_never().is_some(), "it begins anew");
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
