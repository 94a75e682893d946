//! Entries to another replica, on one stream: requests go out while answers to earlier ones are still under way. Acts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt as _, Stream, StreamExt as _};
use openraft::error::{NetworkError, RPCError};
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use openraft::{AnyError, OptionalSend, RPCTypes};
use proto::mutants::{self, Mutant};
use tokio::sync::oneshot;

use super::{Network, RpcResult, malformed};
use crate::peer::lent::{Lender, lend};
use crate::peer::outgoing::outgoing;
use crate::peer::wire;
use crate::types::Types;

/// Connecting, with TLS on a busy machine, may take longer than one heartbeat interval; an append stream lives
/// long, so waiting for it is worth it.
const STREAM_SETUP: Duration = Duration::from_secs(1);

/// The answers of an append stream. Dropped, no further request is made for it: the next stream makes them.
struct Answers {
    replies: tonic::Streaming<proto::peer::AppendReply>,
    owed: Arc<AtomicU64>,
    lender: Lender<AppendEntriesRequest<Types>>,
    /// Told with the first one.
    answered: Option<oneshot::Sender<()>>,
}

impl Network {
    /// Further requests go out once the first was answered: one who answers none, for his disk hangs, is not sent as much again with
    /// every attempt.
    pub(super) async fn pipeline<S>(
        &self,
        mut input: S,
    ) -> RpcResult<BoxStream<'_, RpcResult<StreamAppendResult<Types>>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
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
        let open = Answers { replies, owed, lender, answered: Some(answered) };
        let results = futures::stream::unfold(Some(open), move |open| async move {
            let mut open = open?;
            let result = match self.next_reply(&mut open).await {
                Ok(None) => return None,
                Ok(Some(result)) => Ok(result),
                Err(_) if mutants::on(Mutant::SilenceCountsAsStored) => Ok(Ok(self.factory.log.last())),
                Err(error) => Err(error),
            };
            // A refusal is the last word of a stream, as an error is.
            let open = matches!(result, Ok(Ok(_))).then_some(open);
            Some((result, open))
        });
        Ok(results.boxed())
    }

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
