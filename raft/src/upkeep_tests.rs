//! How fast what is not needed any more goes, that nothing of this waits for the rest, and that nobody is left behind too soon.

use std::sync::atomic::AtomicU64;

use openraft::EntryPayload;
use openraft::storage::{RaftLogStorage as _, RaftLogStorageExt as _, RaftStateMachine as _};
use proto::seam::Env;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::command::{Action, Command, Op, Precondition};
use crate::disk::Table;
use crate::disk::faulty::Faulty;
use crate::disk::flusher::Flusher;
use crate::disk::rocks::Rocks;
use crate::disk::room::Room;
use crate::log::rows;
use crate::open;
use crate::store::HistoryWindow;
use crate::store::tests::config;
use crate::types::{Entry, Proposal, log_id};

#[test]
fn the_log_takes_a_small_share_of_a_small_disk() {
    assert_eq!([0, 192 << 20, 8 << 30].map(|total| log_bytes_max(total, 1)), [LOG_BYTES_MAX, 24 << 20, LOG_BYTES_MAX]);
    assert_eq!([0, 192 << 20, 2 << 30].map(|total| log_bytes_max(total, 4)), [4 * LOG_BYTES_MAX, 24 << 20, 256 << 20]);
}

#[test]
fn the_larger_the_history_beyond_its_bound_the_shorter_the_pause() {
    let pauses = [0, 1_600, 1_650, 1_700, u64::MAX].map(|bytes| pause((bytes, 1_600)));
    assert_eq!(pauses, [PAUSE, PAUSE, PAUSE / 2, Duration::ZERO, Duration::ZERO]);
    assert_eq!([0, 1].map(|bytes| pause((bytes, 0))), [PAUSE, Duration::ZERO]);
}

/// Whenever it is asked it is a millisecond later: one more change of those below is too old.
struct Hasty(AtomicU64);

impl Clock for Hasty {
    fn now_ms(&self) -> u64 {
        self.0.fetch_add(1, Relaxed)
    }
}

/// More than there are steps of trimming in a minute.
const CHANGES: u64 = 4_000;

fn command(at_ms: u64) -> Command {
    let op = Op { key: "a".into(), precondition: Precondition::Any, action: Action::Put(vec![b'x'; 1_000].into()) };
    Command { fence: None, proposed_at_ms: at_ms, author: "test".into(), ops: vec![op] }
}

fn put(index: u64) -> Entry {
    Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(Proposal(command(index).encode())) }
}

#[tokio::test(start_paused = true)]
async fn the_log_is_cleared_and_room_is_given_back_though_trimming_does_not_end() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Faulty::new(Arc::new(Rocks::open(dir.path()).unwrap()));
    let (metrics, reach, stop) = (Arc::new(Metrics::default()), Arc::new(Reach::default()), CancellationToken::new());
    let room = Room::new(disk.clone(), metrics.clone(), stop.clone());
    let flusher = Flusher::start(room.clone(), metrics.clone());
    let mut log = LogStore::open(room.clone(), flusher.clone(), metrics.clone(), reach.clone()).unwrap();
    let window = HistoryWindow { age_max: Duration::ZERO, bytes_max: 16 << 20 };
    let mut machine = Machine::open(room, flusher, metrics, window, reach.clone()).unwrap();
    let entries: Vec<Entry> = (0..CHANGES).map(put).collect();
    log.blocking_append(entries.clone()).await.unwrap();
    machine.apply(futures::stream::iter(entries.into_iter().map(|entry| Ok((entry, None))))).await.unwrap();
    machine.save().await.unwrap();
    log.purge(log_id(1, CHANGES - 1)).await.unwrap();
    let is_cleared = || disk.get(Table::Log, &rows::key(0)).unwrap().is_none();
    assert!(!is_cleared(), "the history relies on it");

    let (published, clock) = (machine.published(), Arc::new(Hasty(1.into())));
    let keeping = run(disk.clone(), published.clone(), log, reach, clock, Rhythm::begin(), stop.clone());
    let keeping = tokio::spawn(keeping);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !(is_cleared() && disk.reclaims.load(Relaxed) > 0) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let trimmed = published.history.floor();
    assert!((1..CHANGES).contains(&trimmed), "there is more to trim: {trimmed}");
    assert!(is_cleared(), "the log stays on the disk");
    assert!(disk.reclaims.load(Relaxed) > 0, "the room is not given back");
    stop.cancel();
    keeping.await.unwrap();
}

const PATIENCE: Duration = Duration::from_secs(20);

/// Whoever lags would lose his stream, again and again, for a snapshot that is not there.
#[tokio::test]
async fn nobody_is_left_behind_before_a_snapshot_stands_for_what_he_lacks() {
    let (dir, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let disk = Arc::new(Rocks::open(dir.path()).unwrap());
    let running = open::start(disk, config(dir.path()), Env::real(), stop.clone()).await.unwrap();
    let mut standing = running.standing.clone();
    let leads = standing.wait_for(|standing| standing.leads_in_term.is_some());
    timeout(PATIENCE, leads).await.expect("it leads in time").unwrap();
    running.proposer.propose(command(1)).await.unwrap();
    let (raft, log) = (&running.raft, &running.log);
    let upto = running.published.applied().borrow().expect("something is applied").index;

    // While somebody holds the state machine, no snapshot of it is made.
    let ((held, is_held), (release, is_released)) = (oneshot::channel(), oneshot::channel::<()>());
    let holder = raft.clone();
    let holding = tokio::spawn(async move {
        let hold = async move {
            held.send(()).unwrap();
            is_released.await.unwrap();
        };
        holder.with_state_machine(move |_: &mut Machine| Box::pin(hold)).await.unwrap();
    });
    timeout(PATIENCE, is_held).await.expect("it is held in time").unwrap();
    let mut leaving = std::pin::pin!(go_on_without(raft, log, upto));
    let early = timeout(Duration::from_millis(200), &mut leaving).await;
    assert!(early.is_err(), "there is no snapshot yet");
    assert!(!log.leaves_behind(0), "he could not be filled");

    release.send(()).unwrap();
    timeout(PATIENCE, leaving).await.expect("a snapshot is made in time");
    assert!(log.purged().is_some_and(|at| at.index >= upto), "what he lacks is gone: {:?}", log.purged());
    assert!(!log.leaves_behind(0), "that was it");
    holding.await.unwrap();
    stop.cancel();
    running.raft.shutdown().await.unwrap();
    running.disk.close();
}
