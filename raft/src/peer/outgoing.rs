//! What goes onto the wire of an append stream. Decides; counts what is owed an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures::{Stream, StreamExt as _};
use openraft::raft::AppendEntriesRequest;
use proto::mutants::{self, Mutant};

use super::piggyback::piggyback;
use super::wire;
use crate::types::{LogId, Types};

/// Counts in `owed` what is to be answered.
pub fn outgoing(
    requests: impl Stream<Item = AppendEntriesRequest<Types>> + Send + 'static,
    purged: impl Fn() -> Option<LogId> + Send + 'static,
    owed: Arc<AtomicU64>,
) -> impl Stream<Item = proto::peer::AppendRequest> + Send + 'static {
    piggyback(until_overtaken(requests, purged).boxed()).map(move |request| {
        owed.fetch_add(1, Relaxed);
        wire::append_out(&request)
    })
}

/// Up to the second request that has nothing to send though the log went on, because what follows on its place was
/// purged. One of that kind tells what is committed. openraft makes more of them where a stream takes up what it had to
/// send before a snapshot was sent instead, and never looks for what comes after the snapshot; it does when it begins anew.
fn until_overtaken(
    requests: impl Stream<Item = AppendEntriesRequest<Types>>,
    purged: impl Fn() -> Option<LogId>,
) -> impl Stream<Item = AppendEntriesRequest<Types>> {
    let mut overtaken = 0;
    requests.take_while(move |request| {
        let previous = request.prev_log_id.map(|at| at.index);
        overtaken += u64::from(request.entries.is_empty() && previous < purged().map(|at| at.index));
        std::future::ready(overtaken < 2 || mutants::on(Mutant::OvertakenStreamGoesOn))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::piggyback::tests::request;
    use crate::types::log_id;

    async fn sent(requests: Vec<AppendEntriesRequest<Types>>, purged: Option<u64>) -> usize {
        let purged = purged.map(|index| log_id(1, index));
        until_overtaken(futures::stream::iter(requests), move || purged).count().await
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_writes_in_a_row_costs_one_request_per_write() {
        let each = |index| [request(index - 1, 1, index - 1), request(index, 0, index)];
        let owed = Arc::new(AtomicU64::new(0));
        let requests = futures::stream::iter((1..=100).flat_map(each));
        let sent: Vec<_> = outgoing(requests, || None, owed.clone()).collect().await;
        assert_eq!(sent.iter().filter(|request| !request.entries.is_empty()).count(), 100);
        assert!(sent.len() < 120, "{}", sent.len());
        assert_eq!(owed.load(Relaxed), sent.len() as u64, "each is answered");
    }

    #[tokio::test]
    async fn a_stream_ends_where_the_log_was_purged_under_it() {
        let empty = |previous| request(previous, 0, previous);
        assert_eq!(sent(vec![empty(5), empty(5), empty(5)], Some(9)).await, 1);
        assert_eq!(sent(vec![empty(5), empty(5), empty(5)], Some(5)).await, 3, "it only tells what is committed");
        assert_eq!(sent(vec![empty(5), empty(5), empty(5)], None).await, 3);
        let full = |previous| request(previous, 1, previous);
        assert_eq!(sent(vec![full(5), full(6), full(7)], Some(9)).await, 3, "they were read before it was purged");
    }
}
