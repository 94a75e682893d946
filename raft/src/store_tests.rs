//! A store on a disk that fails: it says so, takes no part, and still shows what it has.

use std::sync::atomic::Ordering::Relaxed;

use openraft::raft::AppendEntriesRequest;
use proto::peer::Forwarded;
use proto::peer::forward_reply::Result as Reply;
use proto::pki::{Authority, PEER_NAME, Request};
use proto::tls::Identity;

use super::*;
use crate::admission::Answer;
use crate::command::{Action, Op, Precondition};
use crate::disk::Note;
use crate::disk::faulty::Faulty;
use crate::disk::rocks::Rocks;
use crate::peer::{forward, wire};
use crate::types::Types;

/// Of a replica that is alone.
pub fn config(dir: &std::path::Path) -> Config {
    proto::tls::install_provider();
    let authority = Authority::make("peers").unwrap();
    let request = Request { common_name: "kontiki:replica:1", organizations: &[], hosts: &[PEER_NAME.to_string()] };
    let pair = authority.sign(&request).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let member = Member { id: 1, peer_address: free.clone(), client_address: String::new() };
    Config {
        id: 1,
        dir: dir.into(),
        peer_listen: free,
        initial_members: vec![member],
        cluster_id: "faulty".into(),
        tls: Identity {
            certificate_pem: pair.certificate_pem,
            key_pem: pair.key_pem,
            authority_pem: authority.certificate_pem().into(),
        },
        timing: Timing { propose_timeout: Duration::from_secs(3), ..Timing::default() },
        history: HistoryWindow::default(),
        renewals: Default::default(),
    }
}

async fn store(dir: &std::path::Path) -> (Arc<Faulty>, Store) {
    opened(dir, config(dir)).await
}

async fn opened(dir: &std::path::Path, config: Config) -> (Arc<Faulty>, Store) {
    let disk = Faulty::new(Arc::new(Rocks::open(dir).unwrap()));
    let store = Store::open_on(disk.clone(), config, Env::real()).await.unwrap();
    // It listens for others first, for most of the time that a proposal gets.
    let mut standing = store.standing();
    let leads = standing.wait_for(|standing| standing.leads_in_term.is_some());
    tokio::time::timeout(Duration::from_secs(20), leads).await.expect("it leads in time").unwrap();
    (disk, store)
}

#[tokio::test]
async fn an_opening_that_waits_for_room_can_be_given_up_and_keeps_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // What is not saved is applied again as the store is opened, and its history is written again.
    let timing = Timing { save: Duration::from_secs(3600), ..Timing::default() };
    let config = || Config { timing: timing.clone(), ..config(dir.path()) };
    let (_, store) = opened(dir.path(), config()).await;
    let large =
        Op { key: "large".into(), precondition: Precondition::Any, action: Action::Put(vec![7; 400 << 10].into()) };
    for _ in 0..3 {
        store.propose(Command { ops: vec![large.clone()], ..put("") }).await.unwrap();
    }
    store.kill().await;

    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    disk.set_free(0);
    let opening = Store::open_on(disk.clone(), config(), Env::real());
    assert!(tokio::time::timeout(Duration::from_millis(500), opening).await.is_err(), "there is no room");
    assert!(disk.heals.load(Relaxed) > 0, "it has waited for room");
    let (_, store) = opened(dir.path(), config()).await;
    assert_eq!(store.state().get(b"large").unwrap().value.len(), 400 << 10, "and nobody keeps the directory");
    store.kill().await;
}

fn put(key: &'static str) -> Command {
    let key = Bytes::from_static(key.as_bytes());
    let op = Op { key: key.clone(), precondition: Precondition::Any, action: Action::Put(key) };
    Command { fence: None, proposed_at_ms: 1, author: "test".into(), ops: vec![op] }
}

async fn ends_badly(fail: impl FnOnce(&Faulty), word: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (disk, store) = store(dir.path()).await;
    store.propose(put("before")).await.unwrap();
    assert!(store.health().is_ok());
    fail(&disk);
    let refused = store.propose(put("after")).await;
    assert!(refused.is_err(), "acknowledged without a disk: {refused:?}");
    let unwell = store.health().unwrap_err();
    assert!(unwell.to_string().contains(word), "{unwell}");
    assert_eq!(store.has_broken_down(), word == "panicked");
    let mut standing = store.standing();
    let deposed = standing.wait_for(|standing| standing.leads_in_term.is_none() && standing.role != Role::Leader);
    tokio::time::timeout(Duration::from_secs(5), deposed).await.expect("it leads no more").unwrap();
    assert!(store.state().get(b"before").is_some(), "reads go on");
    assert!(store.state().get(b"after").is_none());
    store.kill().await;
}

#[tokio::test]
async fn a_failed_sync_ends_the_vote_of_a_replica() {
    ends_badly(|disk| disk.fail_sync.store(true, Relaxed), "scratched").await;
}

#[tokio::test]
async fn a_raft_node_that_panics_is_known_to_be_gone() {
    ends_badly(|disk| disk.panic_write.store(true, Relaxed), "panicked").await;
}

/// Whatever it is: left as it is, it would neither vote nor be counted by an alert.
#[tokio::test]
async fn a_raft_node_that_ends_for_a_reason_of_its_own_is_to_be_started_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = store(dir.path()).await;
    let unreadable = Bytes::from_static(b"what no version has written");
    let answer = store.inner.members.intake.append(unreadable).await;
    assert!(!matches!(answer, Answer::Outcome(_)), "{answer:?}");
    tokio::time::timeout(Duration::from_secs(5), store.ended().cancelled()).await.expect("it cannot apply that");
    let told = async {
        while store.health().is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), told).await.expect("it says so");
    let metrics = store.metrics();
    assert_eq!((metrics.disk_failure(), metrics.rot(), store.has_broken_down()), (None, None, true));
    store.kill().await;
}

#[tokio::test]
async fn a_store_that_was_stopped_has_not_broken_down() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = store(dir.path()).await;
    store.shutdown().await;
    assert!(store.health().is_err() && !store.has_broken_down());
}

/// Of another leader, of this term.
fn heartbeat(term: u64) -> AppendEntriesRequest<Types> {
    let vote = wire::vote_in(Some(proto::peer::Vote { term, replica: 2, committed: true })).unwrap();
    AppendEntriesRequest { vote, prev_log_id: None, leader_commit: None, entries: Vec::new() }
}

/// As a call of another replica's does that is under way when its store is given up.
#[tokio::test]
async fn who_asks_a_raft_node_that_ends_long_after_its_store_was_stopped_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, store) = store(dir.path()).await;
    let (raft, term) = (store.inner.raft.clone(), store.standing().borrow().term + 1);
    let vote = || disk.note(Note::Vote).unwrap();
    let before = vote();
    *disk.sync_takes.lock().unwrap() = 4 * STOP_DEADLINE;
    let asked = tokio::spawn({
        let raft = raft.clone();
        async move { raft.append_entries(heartbeat(term)).await }
    });
    let saved = async {
        while vote() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), saved).await.expect("it votes, and waits for the disk");

    tokio::time::pause();
    store.kill().await;
    assert!(!asked.is_finished() && !store.ended().is_cancelled(), "it waits still");
    tokio::time::timeout(20 * STOP_DEADLINE, store.ended().cancelled()).await.expect("the disk answers");
    assert!(raft.append_entries(heartbeat(term)).await.is_err(), "it has ended");
    let _ = asked.await.expect("nor did that one panic");
}

#[tokio::test]
async fn a_full_disk_refuses_growth_lets_deletes_through_and_heals_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, store) = store(dir.path()).await;
    store.propose(put("before")).await.unwrap();
    store.propose(put("doomed")).await.unwrap();
    let level = |wanted: u64| {
        let store = store.clone();
        async move {
            let reached = async {
                while store.metrics().space_level.load(Relaxed) != wanted {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), reached).await.expect("the level is noticed");
        }
    };
    disk.set_free(20 << 20);
    level(1).await;
    let refused = store.propose(put("after")).await;
    assert!(matches!(&refused, Err(ProposeError::NoSpace(why)) if why.contains("after would be new")), "{refused:?}");
    let delete = Op { key: Bytes::from_static(b"doomed"), precondition: Precondition::Any, action: Action::Delete };
    let deleted = store.propose(Command { ops: vec![delete], ..put("") }).await;
    assert!(matches!(deleted, Ok(Outcome::Applied { .. })), "{deleted:?}");
    store.propose(put("before")).await.unwrap();
    store.barrier().await.unwrap();

    // Not even the reserve helps: this replica takes no part, and what it has can still be seen.
    disk.reserve(0).unwrap();
    disk.set_free(0);
    let waits = tokio::spawn({
        let store = store.clone();
        async move { store.propose(put("before")).await }
    });
    level(2).await;
    let refused = store.propose(put("before")).await;
    assert!(matches!(refused, Err(ProposeError::NoSpace(_))), "{refused:?}");
    assert!(store.state().get(b"before").is_some() && store.health().is_ok());
    assert_eq!(store.standing().borrow().leads_in_term, None, "it does not claim to lead");

    disk.set_free(1000 << 20);
    level(0).await;
    let written = waits.await.unwrap();
    assert!(written.is_ok(), "it went through in the end: {written:?}");
    let again = async {
        while store.propose(put("after")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), again).await.expect("it grows again");
    assert_eq!(store.metrics().disk_failure(), None);
    store.kill().await;
}

/// In the log it would end every replica, at each start anew.
#[tokio::test]
async fn what_a_follower_of_another_version_forwards_and_this_one_cannot_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = store(dir.path()).await;
    let mut strange = put("strange").encode().to_vec();
    for (bytes, word) in [(strange.clone(), None), (vec![], Some("empty")), (vec![99; 9], Some("format 99"))] {
        let forwarded = Forwarded { id: 7, command: bytes.into() };
        let result = forward::propose(&store.inner.proposer.admission, forwarded).await.result.unwrap();
        match (word, result) {
            (None, Reply::Outcome(_)) => {}
            (Some(word), Reply::Refused(why)) => assert!(why.contains(word), "{why}"),
            (word, other) => panic!("{word:?} {other:?}"),
        }
    }
    strange.truncate(strange.len() / 2);
    let result =
        forward::propose(&store.inner.proposer.admission, Forwarded { id: 8, command: strange.into() }).await.result;
    assert!(matches!(result, Some(Reply::Refused(_))), "{result:?}");
    store.propose(put("after")).await.unwrap();
    store.kill().await;
}
