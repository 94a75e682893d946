//! What openraft sends to the other replicas. Acts.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt as _, Stream, StreamExt as _, TryFutureExt as _};
use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend, RPCTypes};
use proto::mutants::{self, Mutant};
use tokio::sync::oneshot;
use tokio::time::error::Elapsed;
use tonic::{Code, Status};

use super::channels::{Channels, Client, Lane};
use super::lent::{Lender, lend};
use super::line::{Line, Wants};
use super::outgoing::outgoing;
use super::{snapshot, wire};
use crate::accord::Accord;
use crate::accord::guard::Guard;
use crate::log::LogStore;
use crate::machine::image::Image;
use crate::metrics::Metrics;
use crate::types::{Place, Snapshot, Types, Vote};

type RpcResult<T> = Result<T, RPCError<Types>>;

/// Connecting, with TLS on a busy machine, may take longer than one heartbeat interval; an append stream lives
/// long, so waiting for it is worth it.
const STREAM_SETUP: Duration = Duration::from_secs(1);
/// Between the first delay and this one they double while a peer cannot be reached.
const BACKOFF_MAX: Duration = Duration::from_millis(400);
const BACKOFF_FIRST: Duration = Duration::from_millis(25);

#[derive(Clone)]
pub struct Factory {
    pub channels: Channels,
    pub metrics: Arc<Metrics>,
    pub accord: Arc<Accord>,
    pub guard: Arc<Guard>,
    pub log: LogStore,
    pub id: u64,
    /// An append stream that owes an answer for this long is broken.
    pub append_deadline: Duration,
}

impl Factory {
    fn network(&self, target: u64, place: &Place, lane: Lane) -> Network {
        Network {
            factory: self.clone(),
            target,
            address: place.peer_address.clone(),
            lane,
            heartbeats: Line::default(),
        }
    }
}

impl RaftNetworkFactory<Types> for Factory {
    type Network = Network;

    async fn new_client(&mut self, target: u64, place: &Place) -> Network {
        self.network(target, place, Lane::Bulk)
    }

    async fn new_heartbeat_client(&mut self, target: u64, place: &Place) -> Network {
        self.network(target, place, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, place: &Place) -> Network {
        self.network(target, place, Lane::Snapshot)
    }
}

/// Everything towards one replica.
pub struct Network {
    factory: Factory,
    target: u64,
    /// Where it was when this began.
    address: String,
    lane: Lane,
    heartbeats: Line<proto::peer::AppendRequest, proto::peer::AppendReply>,
}

impl Network {
    /// The connection of this network's own lane.
    fn bulk(&self) -> Client {
        self.factory.channels.client(self.target, &self.address, self.lane)
    }

    fn control(&self) -> Client {
        self.factory.channels.client(self.target, &self.address, Lane::Control)
    }

    fn explain(&self, action: RPCTypes, status: Status) -> RPCError<Types> {
        match status.code() {
            Code::DeadlineExceeded => self.timeout(action, Duration::ZERO),
            Code::InvalidArgument | Code::Internal => RPCError::Network(NetworkError::new(&AnyError::new(&status))),
            _ => RPCError::Unreachable(Unreachable::new(&AnyError::new(&status))),
        }
    }

    fn timeout(&self, action: RPCTypes, timeout: Duration) -> RPCError<Types> {
        RPCError::Timeout(Timeout { action, id: self.factory.id, target: self.target, timeout })
    }

    /// Runs a call within openraft's budget for it.
    async fn within<T>(
        &self,
        action: RPCTypes,
        option: &RPCOption,
        call: impl Future<Output = Result<T, Status>>,
    ) -> RpcResult<T> {
        let ended = tokio::time::timeout(option.soft_ttl(), call).await;
        self.in_time(action, option, ended)
    }

    fn in_time<T>(
        &self,
        action: RPCTypes,
        option: &RPCOption,
        ended: Result<Result<T, Status>, Elapsed>,
    ) -> RpcResult<T> {
        match ended {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(status)) => Err(self.explain(action, status)),
            Err(_) => Err(self.timeout(action, option.soft_ttl())),
        }
    }
}

fn malformed(error: wire::Error) -> RPCError<Types> {
    RPCError::Network(NetworkError::new(&AnyError::new(&error)))
}

/// `is_late`: it answers an earlier heartbeat than the newest. What conflicts is that one's place in the log, and openraft would
/// take it for the newest one's, which may have none.
fn counts(answer: &StreamAppendResult<Types>, is_late: bool) -> bool {
    !(is_late && matches!(answer, Err(StreamAppendError::Conflict(_))))
}

impl RaftNetworkV2<Types> for Network {
    type SnapshotData = Image;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<Types>> {
        let mut heartbeat = wire::append_out(&request);
        heartbeat.ask = Some(self.factory.accord.ask(self.target));
        let mut client = self.control();
        // The answer to an earlier one counts as well: that the majority is there is all that openraft takes from it, and a late
        // answer proves it. Not for reads, which are confirmed elsewhere (`read`).
        let ask = self
            .heartbeats
            .ask(heartbeat, Wants::Newest, |heartbeats| async move { client.heartbeats(heartbeats).await });
        let answer = tokio::time::timeout(option.soft_ttl(), ask).await;
        let reply = self.in_time(RPCTypes::AppendEntries, &option, answer)?;
        if let Some(report) = &reply.report {
            self.factory.accord.answered(self.target, report);
        }
        let result = wire::appended_in(reply).map_err(malformed)?;
        match counts(&result, self.heartbeats.owes()) {
            true => Ok(result.into()),
            false => Err(self.timeout(RPCTypes::AppendEntries, option.soft_ttl())),
        }
    }

    /// Pipelined: requests go out while answers to earlier ones are still under way, once the first was answered. One who answers
    /// none, for his disk hangs, is then not sent as much again with every attempt.
    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> futures::future::BoxFuture<'s, RpcResult<BoxStream<'s, RpcResult<StreamAppendResult<Types>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        if self.lane == Lane::Control {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            let owed = Arc::new(AtomicU64::new(0));
            // openraft delays the first request while it backs off, so no connection is tried before it comes.
            let Some(first) = input.next().await else { return Ok(futures::stream::empty().boxed()) };
            let log = self.factory.log.clone();
            let (answered, is_answered) = oneshot::channel::<()>();
            // Not cancelled by the end of the answers alone: the transport holds a stream that it cannot send.
            let (lender, lent) = lend(input.boxed());
            let rest = is_answered.map(|_| lent).flatten_stream();
            let requests = outgoing(futures::stream::iter([first]).chain(rest), move || log.purged(), owed.clone());
            let mut client = self.bulk();
            let replies = match tokio::time::timeout(STREAM_SETUP, client.append(requests)).await {
                Ok(Ok(replies)) => replies.into_inner(),
                Ok(Err(status)) => return Err(self.explain(RPCTypes::AppendEntries, status)),
                Err(_) => return Err(self.timeout(RPCTypes::AppendEntries, STREAM_SETUP)),
            };
            let this: &'s Network = self;
            let open = Answers { replies, owed, lender, answered: Some(answered) };
            let results = futures::stream::unfold(Some(open), move |open| async move {
                let mut open = open?;
                let result = match this.next_reply(&mut open).await {
                    Ok(None) => return None,
                    Ok(Some(result)) => Ok(result),
                    Err(_) if mutants::on(Mutant::SilenceCountsAsStored) => Ok(Ok(this.factory.log.last())),
                    Err(error) => Err(error),
                };
                // A refusal is the last word of a stream, as an error is.
                let open = matches!(result, Ok(Ok(_))).then_some(open);
                Some((result, open))
            });
            Ok(results.boxed())
        })
    }

    async fn vote(&mut self, request: VoteRequest<Types>, option: RPCOption) -> RpcResult<VoteResponse<Types>> {
        let mut client = self.control();
        let call = client.vote(wire::vote_request_out(&request)).map_ok(tonic::Response::into_inner);
        let reply = self.within(RPCTypes::Vote, &option, call).await?;
        wire::vote_reply_in(reply).map_err(malformed)
    }

    async fn pre_vote(&mut self, request: VoteRequest<Types>, option: RPCOption) -> RpcResult<VoteResponse<Types>> {
        let mut client = self.control();
        let call = client.pre_vote(wire::vote_request_out(&request)).map_ok(tonic::Response::into_inner);
        let reply = self.within(RPCTypes::Vote, &option, call).await?;
        wire::vote_reply_in(reply).map_err(malformed)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        if let Some(why) = self.factory.guard.why() {
            // Filled with a state that may be wrong, the target would speak for it.
            return Err(self.explain(RPCTypes::InstallSnapshot, Status::unavailable(why)).into());
        }
        let sending = snapshot::send(self.bulk(), vote, snapshot, option.soft_ttl(), &self.factory.metrics);
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = sending => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(status) => Err(self.explain(RPCTypes::InstallSnapshot, status).into()),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> RpcResult<TransferLeaderResponse<Types>> {
        let mut client = self.control();
        let transfer = proto::peer::TransferRequest {
            vote: Some(wire::vote_out(request.from_leader())),
            to: *request.to_node_id(),
            last: request.last_log_id().map(wire::log_id_out),
        };
        let call = client.transfer_leader(transfer).map_ok(tonic::Response::into_inner);
        let reply = self.within(RPCTypes::TransferLeader, &option, call).await?;
        match reply.refusal.is_empty() {
            true => Ok(Ok(())),
            false => Err(RPCError::Network(NetworkError::new(&AnyError::error(reply.refusal)))),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let delays = std::iter::successors(Some(BACKOFF_FIRST), |delay| Some((*delay * 2).min(BACKOFF_MAX)));
        Some(Backoff::new(delays))
    }
}

/// The answers of an append stream. Dropped, no further request is made for it: the next stream makes them.
struct Answers {
    replies: tonic::Streaming<proto::peer::AppendReply>,
    owed: Arc<AtomicU64>,
    lender: Lender<AppendEntriesRequest<Types>>,
    /// Told with the first one.
    answered: Option<oneshot::Sender<()>>,
}

impl Network {
    /// The next answer on an append stream; `None` at its end. Silence counts only while an answer is owed.
    async fn next_reply(&self, open: &mut Answers) -> RpcResult<Option<StreamAppendResult<Types>>> {
        let deadline = self.factory.append_deadline;
        loop {
            let owed_before = open.owed.load(Relaxed);
            match tokio::time::timeout(deadline, open.replies.message()).await {
                Ok(Ok(Some(reply))) => {
                    open.owed.fetch_sub(1, Relaxed);
                    open.answered.take().map(|answered| answered.send(()));
                    let answer = wire::appended_in(reply).map_err(malformed)?;
                    if let Ok(matched) = &answer
                        && self.factory.log.leaves_behind(matched.as_ref().map_or(0, |at| at.index))
                    {
                        let why = "it lags so far behind that the log goes on without it";
                        return Err(RPCError::Network(NetworkError::new(&AnyError::error(why))));
                    }
                    return Ok(Some(answer));
                }
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(status)) => return Err(self.explain(RPCTypes::AppendEntries, status)),
                Err(_) if owed_before > 0 => return Err(self.timeout(RPCTypes::AppendEntries, deadline)),
                // All are answered, and nobody is there to send another.
                Err(_) if open.lender.is_returned() => return Ok(None),
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::piggyback::tests::request;
    use crate::types::log_id;

    #[test]
    fn a_late_conflict_is_not_about_the_newest_heartbeat() {
        let vote = request(1, 0, 1).vote;
        for (answer, late, in_time) in [
            (Ok(Some(log_id(1, 1))), true, true),
            (Err(StreamAppendError::HigherVote(vote)), true, true),
            (Err(StreamAppendError::Conflict(log_id(1, 1))), false, true),
        ] {
            assert_eq!((counts(&answer, true), counts(&answer, false)), (late, in_time), "{answer:?}");
        }
    }
}
