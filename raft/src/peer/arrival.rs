//! Whose snapshot comes in. One at a time, for each holds a second state in memory. While it is on its way it gives way to that of a
//! later leader, or to another of the same one, who has given it up: its connection may be dead, which shows late. Acts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// What gives way is gone in a moment; what has come in whole stays until it is installed.
const GIVES_WAY_MAX: Duration = Duration::from_secs(1);

/// Cheap to clone.
#[derive(Clone)]
pub struct Arrivals {
    one: Arc<Semaphore>,
    newest: Arc<Mutex<Newest>>,
}

/// It may be over by now.
#[derive(Default)]
struct Newest {
    term: u64,
    gives_way: CancellationToken,
}

/// A snapshot that comes in, or has done so and is being installed. It is the only one until it is dropped.
pub struct Arrival {
    gives_way: CancellationToken,
    _only: OwnedSemaphorePermit,
}

impl Default for Arrivals {
    fn default() -> Arrivals {
        Arrivals { one: Arc::new(Semaphore::new(1)), newest: Arc::default() }
    }
}

impl Arrivals {
    /// From the leader of this term. `None`: not now, for another one stays.
    pub async fn begin(&self, term: u64) -> Option<Arrival> {
        let gives_way = CancellationToken::new();
        {
            let mut newest = self.newest.lock().expect("no holder of the newest arrival panics");
            if newest.term > term {
                return None;
            }
            std::mem::replace(&mut *newest, Newest { term, gives_way: gives_way.clone() }).gives_way.cancel();
        }
        let only = timeout(GIVES_WAY_MAX, self.one.clone().acquire_owned()).await.ok()?.ok()?;
        Some(Arrival { gives_way, _only: only })
    }
}

impl Arrival {
    /// What comes in, on its way. `None`: it has given way, and is dropped.
    pub async fn on_its_way<T>(&self, comes: impl Future<Output = T>) -> Option<T> {
        self.gives_way.run_until_cancelled(comes).await
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_that_is_stuck_gives_way_at_once_to_a_later_leader_s_or_another_of_the_same() {
        for (term, later) in [(2, 2), (2, 3)] {
            let arrivals = Arrivals::default();
            let stuck = arrivals.begin(term).await.unwrap();
            let comes = tokio::spawn(async move { stuck.on_its_way(pending::<()>()).await });
            tokio::task::yield_now().await;
            assert!(arrivals.begin(term - 1).await.is_none(), "it comes from an earlier one");
            assert!(!comes.is_finished());
            let began = Instant::now();
            let next = arrivals.begin(later).await.expect("it has given way");
            assert_eq!((comes.await.unwrap(), began.elapsed()), (None, Duration::ZERO));
            assert_eq!(next.on_its_way(ready(7)).await, Some(7));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_has_come_in_stays_until_it_is_installed() {
        let arrivals = Arrivals::default();
        let whole = arrivals.begin(2).await.unwrap();
        assert_eq!(whole.on_its_way(ready(7)).await, Some(7));
        assert!(arrivals.begin(3).await.is_none(), "each holds a second state");
        drop(whole);
        assert!(arrivals.begin(3).await.is_some());
    }
}
