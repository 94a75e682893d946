//! A reader of each replica to whom an answer may be a little old, one time more and one time less. Acts.

use std::time::Duration;

use proto::seam::Random;
use raft::Store;

use super::clients::register;
use super::seen::Shared;
use crate::check::past::{Look, Shown};
use crate::check::recency::Seen as Recent;

const PAUSE_MS: (u64, u64) = (20, 200);
/// An answer may be as old as the first, or twice as old, and so on: up to 6.4 s, longer than most faults.
const STALE_MS: (u64, u64) = (50, 8);

pub async fn run(store: Store, shared: Shared, random: Random) {
    while !shared.is_quiet() {
        tokio::time::sleep(Duration::from_millis(PAUSE_MS.0 + random.below(PAUSE_MS.1))).await;
        let stale_max = Duration::from_millis(STALE_MS.0 << random.below(STALE_MS.1));
        let key = match random.below(2) {
            0 => register(&shared, &random),
            _ => "pair/one".into(),
        };
        let invoked = shared.now();
        if store.barrier_within(stale_max).await.is_err() {
            continue;
        }
        // Nothing comes between what the barrier said and this, not even a process that is frozen: that happens between two steps.
        let (state, returned) = (store.state(), shared.now());
        let (replica, revision) = (store.id(), state.revision());
        let found = state.get(key.as_bytes()).cloned();
        shared.note(format_args!("replica {replica} shows {key}, {stale_max:?} old at most, as of {revision}"));
        let mut seen = shared.lock();
        seen.operations += 1;
        seen.recent.push(Recent::within(stale_max.as_micros() as u64, invoked, returned, revision));
        seen.looks.push(Look { replica, revision, shown: Shown::Key(key.into(), found) });
    }
}
