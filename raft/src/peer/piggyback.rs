//! Lets the word of what is committed travel with the next entries, where those follow at once: a client that writes in a
//! row then costs one message per follower and write instead of two. [`Habit`] decides, [`piggyback`] acts.

use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use openraft::raft::AppendEntriesRequest;
use tokio::time::{Instant, timeout_at};

use crate::types::Types;

/// A request without entries waits no longer for the next one; tokio's clock makes one or two milliseconds more of it. A client
/// beside its replica writes again after some 0.4 ms. Followers serve what was committed as much later, as they do in any case
/// when a message is late.
const WAIT: Duration = Duration::from_millis(1);
/// So many times in a row entries must have followed at once before anything waits for them.
const PROOF_MIN: u32 = 8;
/// A habit that has changed is noticed within seconds: a client alone writes some thousand times a second.
const PROOF_MAX: u32 = 4096;

/// Leaves requests without entries out where the next one follows in time: it says all that they say, and its answer names an
/// index at least as high, so it answers them too.
pub fn piggyback(
    requests: BoxStream<'static, AppendEntriesRequest<Types>>,
) -> impl Stream<Item = AppendEntriesRequest<Types>> + Send {
    // When the last request without entries came, and nothing has followed it.
    let bare_since: Option<Instant> = None;
    let requests = requests.fuse().peekable();
    stream::unfold(
        (Box::pin(requests), Habit::new(), bare_since),
        |(mut requests, mut habit, mut bare_since)| async move {
            let mut request = requests.next().await?;
            if request.entries.is_empty() {
                let since = Instant::now();
                bare_since = Some(since);
                while request.entries.is_empty() && habit.expects_entries() {
                    match timeout_at(since + WAIT, requests.as_mut().peek()).await {
                        Ok(Some(next)) if says_as_much(next, &request) => match requests.next().await {
                            Some(next) => request = next,
                            None => break,
                        },
                        Ok(_) => break,
                        Err(_) => habit.waited_in_vain(),
                    }
                }
            }
            if !request.entries.is_empty()
                && let Some(since) = bare_since.take()
            {
                habit.followed(since.elapsed());
            }
            Some((request, (requests, habit, bare_since)))
        },
    )
}

/// One stream is one leader's, in the order of the log: then the next request says all that this one does.
fn says_as_much(next: &AppendEntriesRequest<Types>, bare: &AppendEntriesRequest<Types>) -> bool {
    (next.vote, next.prev_log_id) == (bare.vote, bare.prev_log_id) && next.leader_commit >= bare.leader_commit
}

/// Whether entries follow at once, judged by whether they did so far. Whoever waited in vain asks for twice the proof.
struct Habit {
    in_a_row: u32,
    proof: u32,
}

impl Habit {
    fn new() -> Habit {
        Habit { in_a_row: 0, proof: PROOF_MIN }
    }

    fn expects_entries(&self) -> bool {
        self.in_a_row >= self.proof
    }

    /// Entries came so long after the word of what is committed; whether or not that had waited for them.
    fn followed(&mut self, after: Duration) {
        if after > WAIT {
            self.in_a_row = 0;
            return;
        }
        if self.expects_entries() {
            self.proof = (self.proof - 1).max(PROOF_MIN);
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
    }

    fn waited_in_vain(&mut self) {
        self.in_a_row = 0;
        self.proof = (self.proof * 2).min(PROOF_MAX);
    }
}

#[cfg(test)]
pub mod tests {
    use openraft::EntryPayload;
    use tokio::sync::mpsc;
    use tokio::time::sleep;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;
    use crate::peer::wire;
    use crate::types::{Entry, log_id};

    pub fn request(previous: u64, entries: u64, committed: u64) -> AppendEntriesRequest<Types> {
        let vote = wire::vote_in(Some(proto::peer::Vote { term: 1, replica: 1, committed: true })).unwrap();
        let entry = |index| Entry { log_id: log_id(1, index), payload: EntryPayload::Blank };
        AppendEntriesRequest {
            vote,
            prev_log_id: Some(log_id(1, previous)),
            leader_commit: Some(log_id(1, committed)),
            entries: (previous + 1..=previous + entries).map(entry).collect(),
        }
    }

    /// What comes out: when, with how many entries, and what it calls committed.
    type Sent = mpsc::UnboundedReceiver<(Instant, usize, u64)>;

    fn sending() -> (mpsc::UnboundedSender<AppendEntriesRequest<Types>>, Sent) {
        let ((requests, incoming), (out, sent)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        tokio::spawn(async move {
            let mut outgoing = Box::pin(piggyback(UnboundedReceiverStream::new(incoming).boxed()));
            while let Some(request) = outgoing.next().await {
                let committed = request.leader_commit.map_or(0, |at| at.index);
                out.send((Instant::now(), request.entries.len(), committed)).unwrap();
            }
        });
        (requests, sent)
    }

    /// An entry, the word that it is committed, and `pause`; again and again.
    async fn write(
        requests: &mpsc::UnboundedSender<AppendEntriesRequest<Types>>,
        indexes: std::ops::Range<u64>,
        pause: Duration,
    ) {
        for index in indexes {
            requests.send(request(index - 1, 1, index - 1)).unwrap();
            sleep(Duration::from_millis(1)).await;
            requests.send(request(index, 0, index)).unwrap();
            sleep(pause).await;
        }
    }

    async fn bare(requests: mpsc::UnboundedSender<AppendEntriesRequest<Types>>, mut sent: Sent) -> usize {
        drop(requests);
        let mut count = 0;
        while let Some((_, entries, _)) = sent.recv().await {
            count += usize::from(entries == 0);
        }
        count
    }

    #[tokio::test(start_paused = true)]
    async fn who_writes_in_a_row_is_told_of_with_the_next_entry() {
        let (requests, sent) = sending();
        write(&requests, 1..101, Duration::ZERO).await;
        assert_eq!(bare(requests, sent).await, PROOF_MIN as usize + 1, "until it is proven, and at the end");
    }

    #[tokio::test(start_paused = true)]
    async fn who_writes_now_and_then_waits_for_nothing() {
        let (requests, mut sent) = sending();
        for index in 1..50 {
            write(&requests, index..index + 1, Duration::ZERO).await;
            let told = Instant::now();
            sleep(Duration::from_millis(20)).await;
            while let Ok((at, ..)) = sent.try_recv() {
                assert!(at <= told, "{index}");
            }
        }
        assert_eq!(bare(requests, sent).await, 0, "all had been sent by then");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_word_comes_though_nothing_follows() {
        let (requests, mut sent) = sending();
        write(&requests, 1..101, Duration::ZERO).await;
        let told = Instant::now();
        sleep(Duration::from_millis(10)).await;
        let mut last = None;
        while let Ok(next) = sent.try_recv() {
            last = Some(next);
        }
        let (at, entries, committed) = last.unwrap();
        assert_eq!((entries, committed), (0, 100));
        assert!(at - told <= WAIT * 2, "{:?}", at - told);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_committed_meanwhile_is_all_said() {
        let (requests, mut sent) = sending();
        write(&requests, 1..21, Duration::ZERO).await;
        while sent.try_recv().is_ok() {}
        requests.send(request(20, 0, 20)).unwrap();
        requests.send(request(20, 1, 20)).unwrap();
        requests.send(request(21, 0, 21)).unwrap();
        requests.send(request(21, 0, 21)).unwrap();
        requests.send(request(21, 2, 21)).unwrap();
        drop(requests);
        let mut all = Vec::new();
        while let Some((_, entries, committed)) = sent.recv().await {
            all.push((entries, committed));
        }
        assert_eq!(all, [(1, 20), (2, 21)]);
    }

    /// As openraft's stream of requests is: what it was about to make when nobody waited any longer comes all the same.
    #[tokio::test(start_paused = true)]
    async fn what_was_waited_for_in_vain_comes_afterwards() {
        // Entry 1, the word that it is committed, entry 2, and so on. It takes long until entry 21 comes.
        let requests = stream::unfold(2, |turn| async move {
            sleep(Duration::from_millis(if turn == 42 { 50 } else { 0 })).await;
            let (index, is_bare) = (turn / 2, turn % 2 == 1);
            let next = if is_bare { request(index, 0, index) } else { request(index - 1, 1, index - 1) };
            (turn < 44).then_some((next, turn + 1))
        });
        let all: Vec<_> =
            piggyback(requests.boxed()).map(|request| (request.prev_log_id, request.entries.len())).collect().await;
        let ends = [(Some(log_id(1, 20)), 0), (Some(log_id(1, 20)), 1), (Some(log_id(1, 21)), 0)];
        assert_eq!(all[all.len() - 3..], ends, "{all:?}");
    }

    #[test]
    fn who_waits_in_vain_asks_for_more_proof() {
        let quick = Duration::from_micros(400);
        let mut habit = Habit::new();
        let mut proofs = Vec::new();
        for _ in 0..12 {
            let mut asked = 0;
            while !habit.expects_entries() {
                habit.followed(quick);
                asked += 1;
            }
            proofs.push(asked);
            habit.waited_in_vain();
        }
        assert_eq!(proofs, [8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 4096, 4096]);
        habit.followed(quick);
        habit.followed(WAIT * 3);
        assert_eq!(habit.in_a_row, 0, "too late to wait for");
        for _ in 0..10_000 {
            habit.followed(quick);
        }
        assert_eq!(habit.proof, PROOF_MIN, "forgiven in time");
    }
}
