//! Proposals on their way to the leader: batched on one stream, answered in any order. Acts.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, StreamExt as _};
use prost::Message as _;
use proto::peer::forward_reply::Result as Reply;
use proto::peer::{ForwardBatch, ForwardReplies, ForwardReply, Forwarded, NotLeader};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::channels::{Channels, Lane};
use crate::admission::{Admission, Answer};
use crate::command::Command;
use crate::standing::Standing;

/// Proposals that wait for their turn on the stream; beyond it, proposers wait.
const QUEUE: usize = 4096;
/// In one message at most.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 1 << 20;
const STREAM_SETUP: Duration = Duration::from_secs(2);
/// Proposals of one follower that the leader has under way at once; beyond it, it stops reading.
const UNDER_WAY_MAX: usize = 8192;
/// How long a leader that was replaced gets to answer what it was sent.
const LAST_WORDS: Duration = Duration::from_millis(100);

struct Item {
    command: Bytes,
    expires: Instant,
    answer: oneshot::Sender<Answer>,
}

/// The streams to whoever leads or led.
pub struct Forwarder {
    channels: Channels,
    standing: watch::Receiver<Standing>,
    links: Mutex<HashMap<(u64, String), mpsc::Sender<Item>>>,
}

impl Forwarder {
    pub fn new(channels: Channels, standing: watch::Receiver<Standing>) -> Forwarder {
        Forwarder { channels, standing, links: Mutex::default() }
    }

    /// Proposes at `leader`. Returns by `deadline`.
    pub async fn forward(&self, leader: u64, address: &str, command: Bytes, deadline: Instant) -> Answer {
        let (answer, result) = oneshot::channel();
        let item = Item { command, expires: deadline, answer };
        let link = self.link(leader, address);
        match tokio::time::timeout_at(deadline, link.send(item)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Answer::NotTaken,
        }
        match tokio::time::timeout_at(deadline, result).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Answer::Unknown("the replica stopped".into()),
            Err(_) => Answer::Unknown("the leader did not answer".into()),
        }
    }

    fn link(&self, leader: u64, address: &str) -> mpsc::Sender<Item> {
        let mut links = self.links.lock().expect("no holder of the links panics");
        match links.get(&(leader, address.to_owned())) {
            Some(link) if !link.is_closed() => link.clone(),
            _ => {
                let (link, queue) = mpsc::channel(QUEUE);
                links.retain(|(replica, _), _| *replica != leader);
                links.insert((leader, address.to_owned()), link.clone());
                let replaced = self.standing.clone();
                tokio::spawn(serve(self.channels.clone(), leader, address.to_owned(), queue, replaced));
                link
            }
        }
    }
}

/// One leader's stream, opened when there is something to send. Ends with the forwarder.
async fn serve(
    channels: Channels,
    leader: u64,
    address: String,
    mut queue: mpsc::Receiver<Item>,
    standing: watch::Receiver<Standing>,
) {
    let mut waiting = Vec::new();
    while queue.recv_many(&mut waiting, BATCH).await > 0 {
        let mut client = channels.client(leader, &address, Lane::Bulk);
        let (batches, requests) = mpsc::channel(2);
        let opening = tokio::time::timeout(STREAM_SETUP, client.forward(ReceiverStream::new(requests)));
        // If the stream never opened, nothing was sent on it. A frozen process takes the connection and no more.
        let replies = tokio::select! {
            opened = opening => opened.ok().and_then(Result::ok),
            () = replaced(leader, standing.clone()) => None,
        };
        if let Some(replies) = replies {
            let last_words = async {
                replaced(leader, standing.clone()).await;
                tokio::time::sleep(LAST_WORDS).await;
            };
            session(&mut queue, &mut waiting, batches, replies.into_inner(), last_words).await;
        }
        for item in waiting.drain(..) {
            let _ = item.answer.send(Answer::NotTaken);
        }
    }
}

/// Ends when another replica is seen to lead.
async fn replaced(leader: u64, mut standing: watch::Receiver<Standing>) {
    if standing.wait_for(|now| now.leader.is_some_and(|other| other != leader)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Sends what waits and what comes, until the stream breaks or the leader has said its `last_words`. Leaves in `waiting`
/// what was not sent.
async fn session(
    queue: &mut mpsc::Receiver<Item>,
    waiting: &mut Vec<Item>,
    batches: mpsc::Sender<ForwardBatch>,
    mut replies: Streaming<ForwardReplies>,
    last_words: impl Future<Output = ()>,
) {
    let mut last_words = std::pin::pin!(last_words);
    let mut sent: HashMap<u64, oneshot::Sender<Answer>> = HashMap::new();
    let mut next_id = 0;
    loop {
        tokio::select! {
            // A frozen process keeps its connections: without this, what it was sent would wait for its deadline.
            () = &mut last_words => break,
            reply = replies.message() => match reply {
                Ok(Some(reply)) => reply.items.into_iter().for_each(|reply| answer(&mut sent, reply)),
                Ok(None) | Err(_) => break,
            },
            taken = queue.recv_many(waiting, BATCH), if waiting.is_empty() => if taken == 0 { break },
            room = batches.reserve(), if !waiting.is_empty() => match room {
                Ok(room) => room.send(batch(waiting, &mut sent, &mut next_id)),
                Err(_) => break,
            },
        }
    }
    for (_, answer) in sent {
        let _ = answer.send(Answer::Unknown("the leader has not answered, and is gone".into()));
    }
}

fn batch(waiting: &mut Vec<Item>, sent: &mut HashMap<u64, oneshot::Sender<Answer>>, next_id: &mut u64) -> ForwardBatch {
    let now = Instant::now();
    let mut bytes = 0;
    let fits = waiting.iter().take_while(|item| {
        bytes += item.command.len();
        bytes <= BATCH_BYTES
    });
    let count = fits.count().max(1);
    let mut items = Vec::with_capacity(count);
    for item in waiting.drain(..count) {
        if item.expires <= now {
            let _ = item.answer.send(Answer::NotTaken);
            continue;
        }
        *next_id += 1;
        items.push(Forwarded { id: *next_id, command: item.command });
        sent.insert(*next_id, item.answer);
    }
    ForwardBatch { items }
}

fn answer(sent: &mut HashMap<u64, oneshot::Sender<Answer>>, reply: ForwardReply) {
    let Some(waiting) = sent.remove(&reply.id) else { return };
    let answer = match reply.result {
        Some(Reply::Outcome(bytes)) => match postcard::from_bytes(&bytes) {
            Ok(outcome) => Answer::Outcome(outcome),
            Err(error) => Answer::Unknown(format!("the leader's answer cannot be read: {error}")),
        },
        Some(Reply::NotLeader(NotLeader {})) => Answer::NotTaken,
        Some(Reply::NoSpace(why)) => Answer::NoSpace(why),
        Some(Reply::Refused(why)) => Answer::Refused(why),
        Some(Reply::Unknown(why)) => Answer::Unknown(why),
        None => Answer::Unknown("the leader's answer is empty".into()),
    };
    let _ = waiting.send(answer);
}

/// The leader's side: proposes what a follower sends, and answers as the answers come.
pub fn receive(
    admission: Admission,
    mut batches: Streaming<ForwardBatch>,
) -> ReceiverStream<Result<ForwardReplies, Status>> {
    let (replies, out) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                batch = batches.message(), if under_way.len() < UNDER_WAY_MAX => match batch {
                    Ok(Some(batch)) => for item in batch.items {
                        under_way.push(propose(&admission, item));
                    },
                    Ok(None) | Err(_) => return,
                },
                Some(first) = under_way.next(), if !under_way.is_empty() => {
                    // An answer may carry a whole object.
                    let (mut bytes, mut items) = (first.encoded_len(), vec![first]);
                    while items.len() < BATCH
                        && bytes < BATCH_BYTES
                        && let Some(Some(next)) = under_way.next().now_or_never()
                    {
                        bytes += next.encoded_len();
                        items.push(next);
                    }
                    if replies.send(Ok(ForwardReplies { items })).await.is_err() {
                        return;
                    }
                }
            }
        }
    });
    ReceiverStream::new(out)
}

/// What cannot be read does not enter the log: no replica of this version could ever get past it.
pub(crate) async fn propose(admission: &Admission, item: Forwarded) -> ForwardReply {
    let answer = match Command::decode(&item.command) {
        Ok(_) => admission.propose(item.command).await,
        Err(error) => Answer::Refused(format!("the leader, perhaps of another version, cannot read it: {error}")),
    };
    let result = match answer {
        Answer::Outcome(outcome) => {
            Reply::Outcome(postcard::to_stdvec(&outcome).expect("an outcome has an encoding").into())
        }
        Answer::NotTaken => Reply::NotLeader(NotLeader {}),
        Answer::NoSpace(why) => Reply::NoSpace(why),
        Answer::Refused(why) => Reply::Refused(why),
        Answer::Unknown(why) => Reply::Unknown(why),
    };
    ForwardReply { id: item.id, result: Some(result) }
}

#[cfg(test)]
pub mod tests {
    use std::io;
    use std::sync::Arc;

    use proto::pki::{Authority, PEER_NAME, Request};
    use proto::seam::{Listener, Net, Stream};
    use proto::tls::Identity;

    use super::*;

    /// Takes every connection, and says nothing on it: so does the kernel below a frozen process.
    #[derive(Default)]
    pub struct Frozen(pub Mutex<Vec<tokio::io::DuplexStream>>);

    #[async_trait::async_trait]
    impl Net for Frozen {
        async fn connect(&self, _: &str) -> io::Result<Box<dyn Stream>> {
            let (near, far) = tokio::io::duplex(1 << 16);
            self.0.lock().unwrap().push(far);
            Ok(Box::new(near))
        }

        async fn listen(&self, _: &str) -> io::Result<Box<dyn Listener>> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    pub fn identity() -> Identity {
        proto::tls::install_provider();
        let authority = Authority::make("peers").unwrap();
        let request = Request { common_name: "kontiki:replica:1", organizations: &[], hosts: &[PEER_NAME.into()] };
        let pair = authority.sign(&request).unwrap();
        let authority_pem = authority.certificate_pem().to_owned();
        Identity { certificate_pem: pair.certificate_pem, key_pem: pair.key_pem, authority_pem }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_frozen_leader_was_not_sent_yet_is_free_once_another_one_leads() {
        let channels = Channels::new(Arc::new(Frozen::default()), &identity(), "test").unwrap();
        let follows = Standing { leader: Some(2), ..Standing::new(1) };
        let (standing, standings) = watch::channel(follows);
        let forwarder = Forwarder::new(channels, standings);
        let start = Instant::now();
        let elected = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            standing.send_modify(|now| now.leader = Some(3));
        };
        let deadline = start + Duration::from_secs(10);
        let (answer, ()) = tokio::join!(forwarder.forward(2, "two:1", Bytes::new(), deadline), elected);
        assert!(matches!(answer, Answer::NotTaken), "{answer:?}");
        assert!(start.elapsed() < Duration::from_millis(310), "{:?}", start.elapsed());
    }
}
