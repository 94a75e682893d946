//! Where proposals enter the leader's log. What comes in while earlier ones are under way goes in together, since each
//! entrance costs a write to the disk and a message to every other replica, however much it carries. Acts.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, FuturesUnordered, StreamExt as _};
use openraft::error::ClientWriteError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admission::Answer;
use crate::types::{Proposal, Raft};

/// Proposals that wait to be handed over; beyond it, proposers wait.
const QUEUE: usize = 8192;
/// In one batch at most.
const BATCH: usize = 1024;
const BATCH_BYTES: usize = 1 << 20;
/// While one is on its way to the disks and back, the next one waits, for the larger it gets, the less each of its
/// commands costs; but a way that is longer than this the next one travels behind it.
const UNDER_WAY: usize = 2;
const LONG_WAY: Duration = Duration::from_millis(10);
/// When for so long no batch comes to its end, the leader has lost its majority: what waits is given back, for its
/// proposers may know of another leader.
const STALLED: Duration = Duration::from_millis(500);

struct Item {
    command: Bytes,
    answer: oneshot::Sender<Answer>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    queue: mpsc::Sender<Item>,
}

impl Intake {
    /// Ends with `stop`, or with the last clone.
    pub fn start(raft: Raft, stop: CancellationToken) -> Intake {
        let (queue, items) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = run(raft, items) => {}
            }
        });
        Intake { queue }
    }

    /// Whoever stops waiting before the command was handed over has taken it back.
    pub async fn append(&self, command: Bytes) -> Answer {
        let (answer, result) = oneshot::channel();
        match self.queue.send(Item { command, answer }).await {
            Ok(()) => result.await.unwrap_or_else(|_| Answer::Unknown("the replica stopped".into())),
            Err(_) => Answer::NotTaken,
        }
    }
}

async fn run(raft: Raft, mut items: mpsc::Receiver<Item>) {
    let mut waiting = Vec::new();
    let mut under_way = FuturesUnordered::new();
    let mut entered = Instant::now();
    loop {
        let (free, count) = (is_free(under_way.len(), entered), under_way.len());
        tokio::select! {
            Some(()) = under_way.next() => {}
            taken = items.recv_many(&mut waiting, BATCH), if waiting.is_empty() && free => {
                if taken == 0 {
                    break;
                }
            }
            () = tokio::time::sleep_until(entered + LONG_WAY), if !free && count < UNDER_WAY => {}
            () = tokio::time::sleep(STALLED), if count == UNDER_WAY => {
                while let Ok(item) = items.try_recv() {
                    let _ = item.answer.send(Answer::NotTaken);
                }
                waiting.drain(..).for_each(|item: Item| _ = item.answer.send(Answer::NotTaken));
            }
        }
        while !waiting.is_empty() && is_free(under_way.len(), entered) {
            let (commands, answers) = batch(&mut waiting);
            if commands.is_empty() {
                continue;
            }
            match raft.client_write_many(commands).await {
                Ok(results) => {
                    entered = Instant::now();
                    under_way.push(settle(results, answers));
                }
                Err(_) => answers.into_iter().for_each(|answer| drop(answer.send(Answer::NotTaken))),
            }
        }
    }
    // Nobody proposes any more, but some still wait.
    while under_way.next().await.is_some() {}
}

/// May the next batch go, with so many under way, the last of which entered then?
fn is_free(under_way: usize, entered: Instant) -> bool {
    match under_way {
        0 => true,
        UNDER_WAY.. => false,
        _ => entered.elapsed() >= LONG_WAY,
    }
}

/// Those at the front that somebody still waits for, up to the limit.
fn batch(waiting: &mut Vec<Item>) -> (Vec<Proposal>, Vec<oneshot::Sender<Answer>>) {
    let mut bytes = 0;
    let fits = waiting.iter().take_while(|item| {
        bytes += item.command.len();
        bytes <= BATCH_BYTES
    });
    let count = fits.count().max(1);
    let wanted = waiting.drain(..count).filter(|item| !item.answer.is_closed());
    wanted.map(|item| (Proposal(item.command), item.answer)).unzip()
}

type Result = openraft::raft::WriteResult<crate::types::Types>;
type Results = BoxStream<'static, std::result::Result<Result, openraft::error::Fatal<crate::types::Types>>>;

/// Answers each in turn. One that gets no result is told so by its sender's end.
async fn settle(mut results: Results, answers: Vec<oneshot::Sender<Answer>>) {
    for answer in answers {
        let Some(Ok(result)) = results.next().await else { return };
        let _ = answer.send(match result {
            Ok(written) => Answer::Outcome(written.response),
            Err(ClientWriteError::LogEntryDiscarded(_)) => Answer::Unknown("the leader changed".into()),
            Err(_) => Answer::NotTaken,
        });
    }
}
