//! Is a replica there? A frozen one breaks nothing: its kernel goes on taking connections and bytes. So it is asked the
//! simplest of questions, one at a time for all calls that wait. Acts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use proto::api::PingRequest;
use proto::api::api_client::ApiClient;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;
use tonic::transport::Channel;

/// A call that was not answered for so long makes the client ask whether its replica is there at all.
const PATIENCE: Duration = Duration::from_millis(200);
/// A replica that runs answers a ping within this, also on a busy machine. Together with the patience it is about the
/// time in which the others replace a leader that is silent.
pub const ANSWER_MAX: Duration = Duration::from_millis(400);
/// For how long the answer to a ping is believed.
const FRESH: Duration = Duration::from_millis(100);

/// Cheap to clone; clones share what they know.
#[derive(Clone)]
pub struct Pulse {
    api: ApiClient<Channel>,
    last: Arc<Mutex<Option<Beat>>>,
    /// Held while a ping is under way.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone, Copy)]
struct Beat {
    at: Instant,
    there: bool,
}

impl Pulse {
    pub fn new(api: ApiClient<Channel>) -> Pulse {
        Pulse { api, last: Arc::default(), turn: Arc::default() }
    }

    /// It has answered a call.
    pub fn heard(&self) {
        self.note(true);
    }

    /// Was it there a moment ago, or is it now? Asks at most for [`ANSWER_MAX`], and for as long when another call is
    /// asking already. Cancel safe.
    pub async fn beats(&self, within: Duration) -> bool {
        if let Some(there) = self.known(within) {
            return there;
        }
        let _turn = self.turn.lock().await;
        if let Some(there) = self.known(FRESH) {
            return there;
        }
        let there = match timeout(ANSWER_MAX, self.api.clone().ping(PingRequest {})).await {
            Ok(Ok(_)) => true,
            // Of a version that knows no such call: an answer all the same.
            Ok(Err(refusal)) => refusal.code() == Code::Unimplemented,
            Err(_) => false,
        };
        self.note(there);
        there
    }

    /// Returns when it answers nothing any more. Cancel safe.
    pub async fn stops(&self) {
        loop {
            sleep(PATIENCE).await;
            if !self.beats(FRESH).await {
                return;
            }
        }
    }

    fn known(&self, within: Duration) -> Option<bool> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|beat| beat.at.elapsed() <= within).map(|beat| beat.there)
    }

    fn note(&self, there: bool) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Beat { at: Instant::now(), there });
    }
}

/// The first that answers; `None` when all have failed to.
pub async fn first(asked: impl Iterator<Item = (usize, Pulse)>) -> Option<usize> {
    let mut answers: FuturesUnordered<_> =
        asked.map(|(place, pulse)| async move { pulse.beats(FRESH).await.then_some(place) }).collect();
    while let Some(answer) = answers.next().await {
        if answer.is_some() {
            return answer;
        }
    }
    None
}
