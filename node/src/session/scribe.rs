//! Saves every set that was taken over, then delivers it to the agent's core, then confirms it. Acts.
//!
//! In this order, because an agent that started a container and forgot why would stop it again. A set that comes after a newer
//! one is neither saved nor delivered.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::session::{AgentMessage, Applied, agent_message};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Work;
use super::saved::{self, Saved};

/// Sets that wait for the disk. Sessions wait when it is full; only the newest set is written.
pub const QUEUE_MAX: usize = 64;

pub struct Taken {
    /// Sets of several sessions do not come in order: the highest number is the newest.
    pub number: u64,
    pub cluster_id: String,
    pub work: Arc<Work>,
    /// The session that brought it.
    pub confirm: mpsc::Sender<AgentMessage>,
}

impl Taken {
    /// Whose it is: terms of different clusters do not compare.
    fn leader(&self) -> (String, u64) {
        (self.cluster_id.clone(), self.work.term)
    }
}

pub async fn run(
    dir: Option<PathBuf>,
    mut queue: mpsc::Receiver<Taken>,
    work: watch::Sender<Option<Arc<Work>>>,
    shutdown: CancellationToken,
) {
    let mut batch: Vec<Taken> = Vec::new();
    let mut highest = 0;
    let mut leader = (String::new(), 0);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            received = queue.recv_many(&mut batch, QUEUE_MAX) => if received == 0 { return },
        }
        let newest = batch.iter().max_by_key(|taken| taken.number).expect("the batch is not empty");
        if newest.number > highest {
            (highest, leader) = (newest.number, newest.leader());
            save(dir.as_deref(), newest).await;
            work.send_replace(Some(newest.work.clone()));
        }
        // What came before the newest set of the same leader is in it. The set of another leader is not: that one is not told that
        // the node runs what it said.
        for taken in batch.drain(..).filter(|taken| taken.leader() == leader) {
            let applied = Applied { term: taken.work.term, sequence: taken.work.sequence };
            // A session that does not take the confirmation is about to end.
            let _ = taken.confirm.try_send(AgentMessage { message: Some(agent_message::Message::Applied(applied)) });
        }
    }
}

async fn save(dir: Option<&Path>, newest: &Taken) {
    let Some(dir) = dir.map(Path::to_owned) else { return };
    let (cluster_id, work) = (newest.cluster_id.clone(), newest.work.clone());
    let saving = proto::seam::apart(move || saved::save(&dir, &Saved { cluster_id, work: Arc::unwrap_or_clone(work) }));
    // A full disk must not keep the node from doing its work; only the memory of it is at risk.
    match saving.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the assignment could not be saved"),
        Err(error) => tracing::error!(%error, "the assignment could not be saved"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(number: u64, term: u64, confirm: &mpsc::Sender<AgentMessage>) -> Taken {
        let work = Arc::new(Work { term, sequence: 1, ..Work::default() });
        Taken { number, cluster_id: "c".into(), work, confirm: confirm.clone() }
    }

    /// Terms of the sets that were confirmed.
    fn confirmed(mut messages: mpsc::Receiver<AgentMessage>) -> Vec<u64> {
        let mut terms = Vec::new();
        while let Ok(AgentMessage { message }) = messages.try_recv() {
            match message.unwrap() {
                agent_message::Message::Applied(applied) => terms.push(applied.term),
                other => panic!("{other:?}"),
            }
        }
        terms
    }

    #[tokio::test]
    async fn a_set_of_an_older_leader_that_comes_after_a_newer_one_is_not_delivered() {
        for at_once in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let (queue, to_save) = mpsc::channel(QUEUE_MAX);
            let (work, mut delivered) = watch::channel(None);
            let (confirm, confirmations) = mpsc::channel(8);
            let running = run(Some(dir.path().to_owned()), to_save, work, CancellationToken::new());
            let feeding = async {
                queue.send(taken(2, 6, &confirm)).await.unwrap();
                if !at_once {
                    delivered.changed().await.unwrap();
                }
                queue.send(taken(1, 5, &confirm)).await.unwrap();
                drop(queue);
            };
            if at_once {
                feeding.await;
                running.await;
            } else {
                tokio::join!(running, feeding);
            }
            let term = delivered.borrow().as_ref().map(|work: &Arc<Work>| work.term);
            assert_eq!(term, Some(6), "at once: {at_once}");
            assert_eq!(saved::load(dir.path()).unwrap().map(|saved| saved.work.term), Some(6));
            assert_eq!(confirmed(confirmations), [6], "the older leader's set was never what the node runs");
        }
    }

    #[tokio::test]
    async fn sets_of_one_leader_that_are_saved_together_are_all_confirmed() {
        let (queue, to_save) = mpsc::channel(QUEUE_MAX);
        let (work, delivered) = watch::channel(None);
        let (confirm, confirmations) = mpsc::channel(8);
        for number in 1..=3 {
            queue.send(taken(number, 6, &confirm)).await.unwrap();
        }
        drop(queue);
        run(None, to_save, work, CancellationToken::new()).await;
        assert_eq!(delivered.borrow().as_ref().map(|work: &Arc<Work>| work.term), Some(6));
        assert_eq!(confirmed(confirmations), [6, 6, 6]);
    }
}
