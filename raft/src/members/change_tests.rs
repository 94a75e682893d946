//! Whose turn it is to change the members, and for how long; on a replica that is alone.

use std::path::Path;

use proto::seam::Env;
use tokio::time::{pause, timeout};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::disk::faulty::Faulty;
use crate::disk::rocks::Rocks;
use crate::open::{self, Running};
use crate::store::tests::config;

pub const PATIENCE: Duration = Duration::from_secs(20);

pub async fn alone(dir: &Path) -> (Arc<Faulty>, Running) {
    let disk = Faulty::new(Arc::new(Rocks::open(dir).unwrap()));
    let running = open::start(disk.clone(), config(dir), Env::real(), CancellationToken::new()).await.unwrap();
    let mut standing = running.standing.clone();
    let leads = standing.wait_for(|standing| standing.leads_in_term.is_some());
    timeout(PATIENCE, leads).await.expect("it leads in time").unwrap();
    (disk, running)
}

pub async fn stop(running: Running) {
    running.stop.cancel();
    running.raft.shutdown().await.unwrap();
    running.disk.close();
}

pub async fn turn(members: &Members) -> OwnedMutexGuard<()> {
    timeout(PATIENCE, members.turn.clone().lock_owned()).await.expect("nobody keeps it")
}

/// Nobody is there.
fn add() -> MemberChange {
    MemberChange::Add { peer_address: "127.0.0.1:1".into(), client_address: "127.0.0.1:2".into() }
}

#[tokio::test(start_paused = true)]
async fn a_change_keeps_its_turn_until_it_is_settled() {
    let turns = Arc::new(tokio::sync::Mutex::new(()));
    let turn = Arc::new(turns.clone().try_lock_owned().unwrap());
    let (settled, waits) = tokio::sync::oneshot::channel::<Written>();
    let open = settle(&turn, async move { waits.await.unwrap() }).await;
    assert!(matches!(answered(1, open), Answered::Unknown(_)));
    drop(turn);
    assert!(turns.try_lock().is_err(), "it may still take effect");
    let discarded = ClientWriteError::LogEntryDiscarded(openraft::error::ForwardToLeader::empty());
    settled.send(Err(RaftError::APIError(discarded))).unwrap();
    assert!(timeout(COMMIT, turns.lock()).await.is_ok());
}

#[tokio::test]
async fn a_change_waits_for_the_one_before_it_and_a_move_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let (_disk, running) = alone(dir.path()).await;
    let members = running.members.clone();
    let held = turn(&members).await;
    let mut adding = Box::pin(members.change(add(), PATIENCE));
    assert!(futures::poll!(&mut adding).is_pending(), "it is refused at once");
    let moves = MemberChange::Move { id: 1, peer_address: "127.0.0.1:3".into(), client_address: "127.0.0.1:4".into() };
    assert!(matches!(members.change_here(&moves).await, Answered::Refused(_)));
    let hasty = members.change(add(), Duration::from_millis(1)).await;
    assert!(matches!(&hasty, Err(ChangeError::Refused(why)) if why.contains("under way")), "{hasty:?}");
    drop(held);
    assert_eq!(adding.await.unwrap(), 2);
    stop(running).await;
}

#[tokio::test]
async fn who_asks_the_leader_itself_is_answered_in_the_time_that_he_gives() {
    const WITHIN: Duration = Duration::from_secs(1);
    let dir = tempfile::tempdir().unwrap();
    let (disk, running) = alone(dir.path()).await;
    *disk.sync_takes.lock().unwrap() = COMMIT * 10;
    pause();
    let began = Instant::now();
    let answer = running.members.change(add(), WITHIN).await;
    assert!(matches!(answer, Err(ChangeError::Unknown(_))), "{answer:?}");
    assert!(began.elapsed() < COMMIT, "{:?}", began.elapsed());
    running.stop.cancel();
    running.disk.close();
}
