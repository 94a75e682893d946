//! Whose turn it is at the engine: bounds how many containers are made or removed at one time. Acts (it makes callers
//! wait).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// Who has the engine for longer than this waits for something else (a dead file server, a device), and uses no
/// processor: the next one may begin. The calls' own deadlines bound how many such there can be.
const LONGEST: Duration = Duration::from_secs(5);

/// What is finished first makes Pods run one after the other, instead of all of them at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// Goes on with a Pod that was begun, or ends one.
    GoOn,
    /// Begins another Pod.
    Begin,
}

#[derive(Clone)]
pub struct Turns(Arc<Mutex<State>>);

struct State {
    free: usize,
    going_on: VecDeque<oneshot::Sender<Turn>>,
    beginning: VecDeque<oneshot::Sender<Turn>>,
}

/// Ends when it is dropped, or after [`LONGEST`].
pub struct Turn {
    place: Arc<Place>,
    overdue: AbortHandle,
}

struct Place {
    turns: Turns,
    given_back: AtomicBool,
}

impl Turns {
    pub fn new(at_once: usize) -> Turns {
        let state = State { free: at_once.max(1), going_on: VecDeque::new(), beginning: VecDeque::new() };
        Turns(Arc::new(Mutex::new(state)))
    }

    /// Cancel safe: who stops waiting loses its place, and nothing else.
    pub async fn wait(&self, rank: Rank) -> Turn {
        let (sender, turn) = oneshot::channel();
        {
            let mut state = self.lock();
            match rank {
                Rank::GoOn => state.going_on.push_back(sender),
                Rank::Begin => state.beginning.push_back(sender),
            }
        }
        self.call_next();
        turn.await.expect("who waits is called, not forgotten")
    }

    /// Calls as many as there are free places.
    fn call_next(&self) {
        loop {
            let next = {
                let mut state = self.lock();
                if state.free == 0 {
                    return;
                }
                let next = state.going_on.pop_front().or_else(|| state.beginning.pop_front());
                let Some(next) = next else { return };
                state.free -= 1;
                next
            };
            // Who has stopped waiting gives the place back here, by not taking it.
            if let Err(turn) = next.send(Turn::new(self.clone())) {
                turn.place.leave();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of the lock panics")
    }
}

impl Turn {
    fn new(turns: Turns) -> Turn {
        let place = Arc::new(Place { turns, given_back: AtomicBool::new(false) });
        let held = place.clone();
        let overdue = tokio::spawn(async move {
            tokio::time::sleep(LONGEST).await;
            held.give_back();
        });
        Turn { place, overdue: overdue.abort_handle() }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.overdue.abort();
        self.place.give_back();
    }
}

impl Place {
    /// True the first time.
    fn leave(&self) -> bool {
        let first = !self.given_back.swap(true, Ordering::AcqRel);
        if first {
            self.turns.lock().free += 1;
        }
        first
    }

    fn give_back(&self) {
        if self.leave() {
            self.turns.call_next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_at_once_and_those_that_go_on_first() {
        let turns = Turns::new(1);
        let first = turns.wait(Rank::Begin).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = tokio::task::JoinSet::new();
        for (rank, name) in [(Rank::Begin, "b1"), (Rank::Begin, "b2"), (Rank::GoOn, "g1"), (Rank::GoOn, "g2")] {
            let (turns, order) = (turns.clone(), order.clone());
            waiting.spawn(async move {
                let _turn = turns.wait(rank).await;
                order.lock().unwrap().push(name);
                tokio::time::sleep(Duration::from_millis(10)).await;
            });
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(order.lock().unwrap().is_empty(), "the only place is taken");
        drop(first);
        waiting.join_all().await;
        assert_eq!(*order.lock().unwrap(), ["g1", "g2", "b1", "b2"]);
        assert_eq!(turns.lock().free, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_does_not_hold_up_the_others_and_gives_back_one_place_only() {
        let turns = Turns::new(1);
        let hanging = turns.wait(Rank::Begin).await;
        let begun = tokio::time::Instant::now();
        let next = turns.wait(Rank::Begin).await;
        assert_eq!(begun.elapsed().as_secs(), LONGEST.as_secs());
        drop(hanging);
        assert_eq!(turns.lock().free, 0);
        drop(next);
        assert_eq!(turns.lock().free, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_loses_no_place() {
        let turns = Turns::new(1);
        let first = turns.wait(Rank::Begin).await;
        let given_up = tokio::time::timeout(Duration::from_millis(10), turns.wait(Rank::GoOn)).await;
        assert!(given_up.is_err());
        drop(first);
        drop(turns.wait(Rank::Begin).await);
        assert_eq!(turns.lock().free, 1);
    }
}
