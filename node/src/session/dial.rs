//! One session with one replica: dialled again until it is of no more use, with a jittered backoff. Acts.

use std::sync::Arc;
use std::time::Duration;

use proto::channel;
use proto::session::node_client::NodeClient;
use proto::session::replica_message::Message as Said;
use proto::session::{AgentMessage, Heartbeat, Hello, ReplicaMessage, agent_message};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

use super::assignment::{Cursor, Refused};
use super::{Known, Members, Shared, scribe, stream};

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// A replica answers every heartbeat; after this much silence it is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// For connecting, TLS and the first answer together.
const OPEN_MAX: Duration = Duration::from_secs(3);
/// Messages to a replica that wait to be sent. A replica that does not even take these is given up.
const OUTBOUND_MAX: usize = 64;
/// An object is at most about 1.5 MiB, and a message is cut after the first MiB.
const MESSAGE_BYTES_MAX: usize = 8 << 20;

#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("the replica closed the session")]
    Closed,
    #[error("the replica reads nothing")]
    Stuck,
    #[error("{}: {}", .0.code(), .0.message())]
    Broken(#[from] Status),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("it is of no more use")]
    Stopped,
}

/// Keeps a session with the replica at this address until `stop`.
pub async fn keep(shared: Arc<Shared>, address: String, stop: CancellationToken) {
    let mut backoff = BACKOFF_MIN;
    let mut told = false;
    loop {
        let mut welcomed = false;
        let ended = session(&shared, &address, &stop, &mut welcomed).await;
        shared.replicas.note(&address, Known::default());
        match ended {
            Ended::Stopped => return,
            // A leader that does not know yet that it was replaced would only push the same again.
            Ended::Refused(Refused::OlderTerm { .. }) => backoff = BACKOFF_MAX,
            _ if welcomed => (backoff, told) = (BACKOFF_MIN, false),
            _ => {}
        }
        // Once per outage: a replica may be away for days.
        if !told {
            tracing::info!(replica = %address, reason = %ended, "no session with a replica");
            told = true;
        }
        let jitter = shared.env.random.below(backoff.as_millis() as u64);
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(backoff / 2 + Duration::from_millis(jitter)) => {}
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

async fn session(shared: &Arc<Shared>, address: &str, stop: &CancellationToken, welcomed: &mut bool) -> Ended {
    let talk = async {
        let (outbound, to_send) = mpsc::channel(OUTBOUND_MAX);
        let term = shared.desk.lock().expect("no holder of the desk panics").term();
        say(&outbound, agent_message::Message::Hello(hello(shared, term)))?;
        let mut client = client(shared, address);
        let mut inbound = timeout(OPEN_MAX, client.session(ReceiverStream::new(to_send)))
            .await
            .map_err(|_| Ended::Silent(OPEN_MAX))??
            .into_inner();
        let (cursor, cluster_id) = (Cursor::default(), String::new());
        let mut talk = Talk { shared, address, outbound, cursor, cluster_id, sequence: 0, welcomed };
        let mut health = shared.health.clone();
        health.mark_unchanged();
        let mut beat = interval(shared.heartbeat_interval);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                message = inbound.message() => {
                    heard = Instant::now();
                    talk.hear(message?.ok_or(Ended::Closed)?).await?;
                }
                _ = beat.tick() => talk.beat()?,
                changed = health.changed() => match changed {
                    Ok(()) => talk.beat()?,
                    Err(_) => return Err(Ended::Stopped),
                },
                () = tokio::time::sleep_until(heard + SILENCE_MAX) => return Err(Ended::Silent(SILENCE_MAX)),
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => Ended::Stopped,
        result = talk => match result { Ok(never) => never, Err(ended) => ended },
    }
}

struct Talk<'a> {
    shared: &'a Arc<Shared>,
    address: &'a str,
    outbound: mpsc::Sender<AgentMessage>,
    cursor: Cursor,
    /// As the replica said it.
    cluster_id: String,
    sequence: u64,
    welcomed: &'a mut bool,
}

impl Talk<'_> {
    fn beat(&mut self) -> Result<(), Ended> {
        self.sequence += 1;
        let health = self.shared.health.borrow().clone();
        let beat =
            Heartbeat { sequence: self.sequence, engine_ready: health.engine_ready, engine_message: health.message };
        say(&self.outbound, agent_message::Message::Heartbeat(beat))
    }

    async fn hear(&mut self, message: ReplicaMessage) -> Result<(), Ended> {
        match message.message {
            Some(Said::Welcome(welcome)) => {
                *self.welcomed = true;
                self.shared.desk.lock().expect("no holder of the desk panics").meet(&welcome.cluster_id);
                let address = self.address;
                self.shared.replicas.met(address, welcome.replica);
                self.cluster_id = welcome.cluster_id;
                tracing::info!(replica = welcome.replica, address, term = welcome.term, "session with a replica");
                self.know(welcome.term, welcome.leads);
            }
            Some(Said::HeartbeatAck(ack)) => self.know(ack.term, ack.leads),
            Some(Said::Assignment(assignment)) => {
                let taken = {
                    let mut desk = self.shared.desk.lock().expect("no holder of the desk panics");
                    desk.take(&mut self.cursor, assignment)?.map(|work| scribe::Taken {
                        number: desk.number(),
                        cluster_id: desk.cluster_id().to_owned(),
                        work,
                        confirm: self.outbound.clone(),
                    })
                };
                // Another session may take over a newer set and be here first: the scribe goes by the numbers.
                if let Some(taken) = taken {
                    self.shared.taken.send(taken).await.map_err(|_| Ended::Stopped)?;
                }
            }
            Some(Said::Members(told)) => {
                let addresses = told.members.into_iter().map(|member| (member.id, member.address)).collect();
                let (cluster_id, epoch, index) = (self.cluster_id.clone(), told.epoch, told.index);
                self.shared.replicas.learn(Members { cluster_id, epoch, index, addresses });
            }
            Some(Said::OpenTunnel(open)) => {
                let (shared, outbound) = (self.shared.clone(), self.outbound.clone());
                self.shared.tracker.spawn(stream::serve(shared, self.address.to_owned(), open, outbound));
            }
            // A later version's message.
            None => {}
        }
        Ok(())
    }

    fn know(&self, term: u64, leads: bool) {
        self.shared.replicas.note(self.address, Known { live: true, leads, term });
    }
}

fn say(outbound: &mpsc::Sender<AgentMessage>, message: agent_message::Message) -> Result<(), Ended> {
    outbound.try_send(AgentMessage { message: Some(message) }).map_err(|_| Ended::Stuck)
}

fn hello(shared: &Shared, term: u64) -> Hello {
    Hello {
        node: shared.node.clone(),
        boot_id: shared.boot_id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        term,
    }
}

/// A connection of its own: bulk data of one must not hold up the heartbeats of another.
pub fn client(shared: &Shared, address: &str) -> NodeClient<Channel> {
    let channel = channel::to(
        shared.env.net.clone(),
        shared.connector.clone(),
        address.to_owned(),
        proto::pki::API_NAME,
        channel::Options::default(),
    );
    NodeClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
}
