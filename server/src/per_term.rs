//! What only the leader does besides controlling: the initial objects, and pushing work to the agents. Starts it for each
//! term, and again where it has ended by itself. Acts.

use raft::Store;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::bootstrap;
use crate::leader::{RESTART_AFTER, Role, give_up};
use crate::objects::Objects;
use crate::sessions::{self, Sessions};

/// Runs until `shutdown`, or until nobody tells the role any more.
pub async fn run(
    roles: watch::Receiver<Role>,
    store: Store,
    objects: Objects,
    sessions: Sessions,
    shutdown: CancellationToken,
) {
    let start = |term, stop: CancellationToken| {
        let mut tasks = JoinSet::new();
        tasks.spawn(sessions::run_pusher(store.clone(), sessions.clone(), term, stop.clone()));
        let objects = objects.clone();
        tasks.spawn(async move {
            bootstrap::run(objects, stop.clone()).await;
            // Done, and not broken.
            stop.cancelled().await;
        });
        tasks
    };
    each(roles, &store, shutdown, start).await;
}

/// `start`: begins a term's tasks, which last until they are told to stop.
async fn each(
    mut roles: watch::Receiver<Role>,
    store: &Store,
    shutdown: CancellationToken,
    start: impl Fn(u64, CancellationToken) -> JoinSet<()>,
) {
    loop {
        let role = *roles.borrow_and_update();
        let stop = shutdown.child_token();
        let mut tasks = match role {
            Role::Leading { term } => start(term, stop.clone()),
            Role::Follower | Role::CatchingUp { .. } => JoinSet::new(),
        };
        let broken = tokio::select! {
            biased;
            () = shutdown.cancelled() => None,
            changed = roles.changed() => if changed.is_ok() { None } else { break },
            Some(ended) = tasks.join_next() => Some(ended.err().map_or("a task was done".into(), |why| why.to_string())),
        };
        stop.cancel();
        tasks.shutdown().await;
        if let (Some(why), Role::Leading { term }) = (broken, role) {
            give_up(store, term, &why).await;
            // If this replica leads all the same, it is to try again.
            let other = timeout(RESTART_AFTER, roles.wait_for(|now| *now != role));
            let _ = shutdown.run_until_cancelled(other).await;
        }
        if shutdown.is_cancelled() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use proto::seam::Env;
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_task_that_panics_is_begun_again_where_nobody_else_can_lead() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = crate::fixtures::store(dir.path(), Env::real()).await;
        let term = store.standing().borrow().term;
        let (_sender, roles) = watch::channel(Role::Leading { term });
        let (shutdown, started) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let (count, stop) = (started.clone(), shutdown.clone());
        let watched = store.clone();
        let running = tokio::spawn(async move {
            let start = |_, stop: CancellationToken| {
                let first = count.fetch_add(1, Ordering::SeqCst) == 0;
                let mut tasks = JoinSet::new();
                tasks.spawn(async move {
                    assert!(!first, "this panic is part of the test");
                    stop.cancelled().await;
                });
                tasks
            };
            each(roles, &watched, stop, start).await;
        });
        let again = async {
            while started.load(Ordering::SeqCst) < 2 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), again).await.expect("it begins again");
        sleep(2 * RESTART_AFTER).await;
        assert_eq!(started.load(Ordering::SeqCst), 2, "what lasts is left alone");
        shutdown.cancel();
        timeout(Duration::from_secs(10), running).await.expect("it ends in time").expect("it does not panic");
        store.shutdown().await;
    }
}
