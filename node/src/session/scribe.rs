//! Saves every set that was taken over, then delivers it to the agent's core, then confirms it. Acts.
//!
//! In this order, because an agent that started a container and forgot why would stop it again.

use std::path::PathBuf;
use std::sync::Arc;

use proto::session::{AgentMessage, Applied, agent_message};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Work;
use super::saved::{self, Saved};

/// Sets that wait for the disk. Sessions wait when it is full; only the newest set is written.
pub const QUEUE_MAX: usize = 64;

pub struct Taken {
    pub cluster_id: String,
    pub work: Arc<Work>,
    /// The session that brought it.
    pub confirm: mpsc::Sender<AgentMessage>,
}

pub async fn run(
    dir: Option<PathBuf>,
    mut queue: mpsc::Receiver<Taken>,
    work: watch::Sender<Option<Arc<Work>>>,
    shutdown: CancellationToken,
) {
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            received = queue.recv_many(&mut batch, QUEUE_MAX) => if received == 0 { return },
        }
        let newest = batch.last().expect("the batch is not empty");
        if let Some(dir) = &dir {
            let (dir, saved) = (dir.clone(), (newest.cluster_id.clone(), newest.work.clone()));
            let saving = proto::seam::apart(move || {
                let (cluster_id, work) = saved;
                saved::save(&dir, &Saved { cluster_id, work: Arc::unwrap_or_clone(work) })
            });
            // A full disk must not keep the node from doing its work; only the memory of it is at risk.
            match saving.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "the assignment could not be saved"),
                Err(error) => tracing::error!(%error, "the assignment could not be saved"),
            }
        }
        work.send_replace(Some(newest.work.clone()));
        for taken in batch.drain(..) {
            let applied = Applied { term: taken.work.term, sequence: taken.work.sequence };
            // A session that does not take the confirmation is about to end.
            let _ = taken.confirm.try_send(AgentMessage { message: Some(agent_message::Message::Applied(applied)) });
        }
    }
}
