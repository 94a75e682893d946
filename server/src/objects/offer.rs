//! Something large that is kept for one client, and let go when the client takes nothing of it any more. Acts.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

/// What nobody took of for so long is let go, at the latest after twice this. A connection that stalls is cut after as long;
/// but one HTTP/2 stream may stall while its connection goes on.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Offer<T> {
    kept: Arc<Kept<T>>,
    _patience: AbortOnDropHandle<()>,
}

struct Kept<T> {
    /// `None`: it was let go.
    thing: Mutex<Option<T>>,
    taken: AtomicBool,
}

impl<T: Clone + Send + 'static> Offer<T> {
    pub fn new(thing: T) -> Offer<T> {
        Offer::lasting(thing, Duration::MAX)
    }

    /// It is let go after so long, whatever is taken of it.
    pub fn lasting(thing: T, at_most: Duration) -> Offer<T> {
        let kept = Arc::new(Kept { thing: Mutex::new(Some(thing)), taken: AtomicBool::new(false) });
        let patience = AbortOnDropHandle::new(tokio::spawn(patience(kept.clone(), at_most)));
        Offer { kept, _patience: patience }
    }

    /// The client took something of it.
    pub fn taken(&self) {
        self.kept.taken.store(true, Relaxed);
    }

    /// `None`: it was let go.
    pub fn get(&self) -> Option<T> {
        self.kept.thing.lock().expect("no holder of an offer panics").clone()
    }
}

async fn patience<T>(kept: Arc<Kept<T>>, mut left: Duration) {
    loop {
        tokio::time::sleep(PATIENCE.min(left)).await;
        left = left.saturating_sub(PATIENCE);
        if left.is_zero() || !kept.taken.swap(false, Relaxed) {
            *kept.thing.lock().expect("no holder of an offer panics") = None;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_nobody_takes_is_let_go() {
        let thing = Arc::new(());
        let offer = Offer::new(thing.clone());
        for _ in 0..10 {
            tokio::time::sleep(PATIENCE * 9 / 10).await;
            offer.taken();
            assert!(offer.get().is_some(), "who is slow gets all of it");
        }
        tokio::time::sleep(PATIENCE * 2).await;
        assert!(offer.get().is_none());
        assert_eq!(Arc::strong_count(&thing), 1, "nothing keeps it");

        let offer = Offer::lasting(thing.clone(), PATIENCE * 5 / 2);
        for still_there in [true, true, false] {
            offer.taken();
            tokio::time::sleep(PATIENCE * 9 / 10).await;
            assert_eq!(offer.get().is_some(), still_there);
        }
        assert_eq!(Arc::strong_count(&thing), 1, "not for ever, whatever is taken");

        let offer = Offer::new(thing.clone());
        drop(offer);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&thing), 1, "not longer than the offer either");
    }
}
