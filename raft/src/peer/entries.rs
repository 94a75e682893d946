//! What a leader sends: entries and heartbeats. Acts.

use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use openraft::raft::{AppendEntriesRequest, StreamAppendError};
use proto::mutants::{self, Mutant};
use proto::peer::{AppendReply, AppendRequest};
use tonic::{Status, Streaming};

use super::ear::Ear;
use super::server::{Server, believes, own, stopped};
use super::wire;
use crate::recall::Recall;
use crate::types::Types;

impl Server {
    /// Until this replica may no longer take any, or is held up by its disk.
    pub(super) fn take_entries(
        &self,
        sender: u64,
        requests: Streaming<AppendRequest>,
    ) -> impl Stream<Item = Result<AppendReply, Status>> + Send + 'static {
        let server = self.clone();
        let takes = move |_: &_| std::future::ready(!server.guard.is_shut() && server.held_up().is_none());
        let settling = self.settling.clone();
        let settled = move |request| {
            let settling = settling.clone();
            async move {
                drop(settling.read().await);
                request
            }
        };
        let requests = readable(requests, sender, self.ear.clone(), self.recall.clone());
        let results = self.raft.stream_append(requests.then(settled).take_while(takes));
        results.map(|result| result.map(|result| wire::appended_out(&result)).map_err(stopped))
    }

    pub(super) async fn heartbeat(&self, sender: u64, mut request: AppendRequest) -> Result<AppendReply, Status> {
        let ask = request.ask.take().unwrap_or_default();
        let request = wire::append_in(request)?;
        own(&request.vote, sender)?;
        believes(&self.recall, &request.vote)?;
        self.ear.heard(request.vote.leader_id.term, sender);
        let previous = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(previous);
        let reply = self.raft.append_entries(request).await.map_err(stopped)?;
        let result = reply.into_stream_result(previous, last);
        if !matches!(result, Err(StreamAppendError::HigherVote(_))) {
            self.accord.obey(&ask);
        }
        let report = Some(self.accord.report(&ask));
        Ok(AppendReply { report, ..wire::appended_out(&result) })
    }
}

/// The requests of an append stream, up to the first that makes no sense.
fn readable(
    requests: Streaming<AppendRequest>,
    sender: u64,
    ear: Arc<Ear>,
    recall: Arc<Recall>,
) -> impl Stream<Item = AppendEntriesRequest<Types>> + Send + 'static {
    requests
        .map(move |request| {
            let mut request = wire::append_in(request?)?;
            own(&request.vote, sender)?;
            believes(&recall, &request.vote)?;
            ear.heard(request.vote.leader_id.term, sender);
            if mutants::on(Mutant::SentCountsAsCommitted) {
                request.leader_commit = request.entries.last().map_or(request.prev_log_id, |entry| Some(entry.log_id));
            }
            Ok(request)
        })
        .scan((), |(), request: Result<_, Status>| async {
            request.inspect_err(|status| tracing::debug!(%status, "an append stream ended")).ok()
        })
}
