//! What openraft sends to the other replicas; `pipeline`: its entries. Acts.

mod pipeline;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, TryFutureExt as _};
use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend, RPCTypes};
use tokio::time::error::Elapsed;
use tonic::{Code, Status};

use super::channels::{Channels, Client, Lane};
use super::line::{Line, Wants};
use super::{snapshot, wire};
use crate::accord::Accord;
use crate::accord::guard::Guard;
use crate::log::LogStore;
use crate::machine::image::Image;
use crate::metrics::Metrics;
use crate::types::{Place, Snapshot, Types, Vote};

type RpcResult<T> = Result<T, RPCError<Types>>;

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

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> futures::future::BoxFuture<'s, RpcResult<BoxStream<'s, RpcResult<StreamAppendResult<Types>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        if self.lane == Lane::Control {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(self.pipeline(input))
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
