//! A stream that is read by somebody who may keep it for longer than he is to read from it: whoever lent it takes it back. Acts.
//!
//! A transport holds on to the requests of a call for as long as it cannot send them, also when nobody waits for the answers any
//! more. What makes these requests is one and the same for the next call.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use futures::stream::BoxStream;
use futures::task::AtomicWaker;
use futures::{Stream, StreamExt as _};

struct Shared<T> {
    stream: Mutex<Option<BoxStream<'static, T>>>,
    reader: AtomicWaker,
}

impl<T> Shared<T> {
    /// Held while the stream is asked for the next item.
    fn stream(&self) -> MutexGuard<'_, Option<BoxStream<'static, T>>> {
        self.stream.lock().expect("no stream of requests panics")
    }
}

/// Takes the stream back when it is dropped: after that nothing is read from it, not even by who is just about to.
pub struct Lender<T>(Arc<Shared<T>>);

/// Ends with the stream, or once that was taken back.
pub struct Lent<T>(Arc<Shared<T>>);

pub fn lend<T>(stream: BoxStream<'static, T>) -> (Lender<T>, Lent<T>) {
    let shared = Arc::new(Shared { stream: Mutex::new(Some(stream)), reader: AtomicWaker::new() });
    (Lender(shared.clone()), Lent(shared))
}

impl<T> Lender<T> {
    /// Nobody has it any more.
    pub fn is_returned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl<T> Drop for Lender<T> {
    fn drop(&mut self) {
        drop(self.0.stream().take());
        self.0.reader.wake();
    }
}

impl<T> Stream for Lent<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.reader.register(context.waker());
        match &mut *self.0.stream() {
            Some(stream) => stream.poll_next_unpin(context),
            None => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::time::Duration;

    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_the_next_item_hears_that_it_was_taken_back() {
        let (lender, lent) = lend(stream::iter([1, 2]).chain(stream::pending()).boxed());
        let reading = tokio::spawn(lent.collect::<Vec<_>>());
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(!reading.is_finished() && !lender.is_returned());
        drop(lender);
        let read = tokio::time::timeout(Duration::from_secs(5), reading).await.expect("it ends").unwrap();
        assert_eq!(read, [1, 2]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_is_read_after_it_was_taken_back() {
        for _ in 0..200 {
            let made = Arc::new(AtomicU64::new(0));
            let counted = made.clone();
            let endless = stream::repeat_with(move || counted.fetch_add(1, Relaxed));
            let (lender, mut lent) = lend(endless.boxed());
            let reading = tokio::spawn(async move { while lent.next().await.is_some() {} });
            tokio::task::yield_now().await;
            drop(lender);
            let before = made.load(Relaxed);
            reading.await.unwrap();
            assert_eq!(made.load(Relaxed), before);
        }
    }

    #[tokio::test]
    async fn it_is_known_that_the_reader_is_gone() {
        let (lender, lent) = lend(stream::iter([1]).boxed());
        assert_eq!(lent.collect::<Vec<_>>().await, [1]);
        assert!(lender.is_returned());
    }
}
