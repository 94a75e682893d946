//! Probes: `count` decides when a row of answers means success or failure; `check` asks once; `run` does so again and
//! again.

mod check;
mod count;
mod http;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Container, Probe};
use tokio_util::sync::CancellationToken;

use check::Failure;
pub use check::{Target, hook};
pub use count::{Counter, Thresholds};

use crate::runtime::{ContainerId, Runtime};
use crate::sync::ProbeKind;

/// What a probe needs to know of its container.
#[derive(Clone, Debug)]
pub struct Subject {
    pub id: ContainerId,
    pub ip: Option<IpAddr>,
    /// For ports that are named.
    pub definition: Arc<Container>,
}

/// A probe's opinion has changed, or it has failed once more, or could not ask.
#[derive(Clone, Debug)]
pub enum Verdict {
    Success,
    /// The threshold is reached.
    Failure(String),
    /// One failed answer, for an event.
    Missed(String),
    /// The engine was in the way, for an event: nothing was learned.
    Unasked(String),
}

/// Asks in the probe's period until `stop`, and tells every change of opinion. `offset` spreads the first questions of
/// many probes over time.
pub async fn run(
    runtime: Arc<dyn Runtime>,
    subject: Subject,
    kind: ProbeKind,
    probe: Probe,
    offset: Duration,
    stop: CancellationToken,
    tell: impl Fn(Verdict) -> BoxFuture<'static, ()> + Send,
) {
    let seconds = |value: Option<i32>, default: u64| Duration::from_secs(value.map_or(default, |s| s.max(0) as u64));
    let period = seconds(probe.period_seconds, 10).max(Duration::from_secs(1));
    let delay = seconds(probe.initial_delay_seconds, 0) + offset.min(period / 4);
    let timeout = seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1));
    let mut counter = Counter::new(Thresholds::of(&probe), kind);
    let asking = async {
        tokio::time::sleep(delay).await;
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let in_engine = AtomicBool::default();
            let answer = tokio::time::timeout(timeout, check::check(&runtime, &subject, &probe, &in_engine)).await;
            let answer = answer.unwrap_or_else(|_| {
                let words = format!("no answer within {} s", timeout.as_secs());
                Err(if in_engine.load(Ordering::Relaxed) { Failure::Unasked(words) } else { Failure::No(words) })
            });
            let no = match answer {
                Ok(()) => None,
                Err(Failure::No(words)) => Some(words),
                Err(Failure::Unasked(words)) => {
                    // It counts for nothing, neither way.
                    tell(Verdict::Unasked(words)).await;
                    continue;
                }
            };
            if let Some(words) = &no {
                tell(Verdict::Missed(words.clone())).await;
            }
            match counter.note(no.is_none()) {
                Some(true) => tell(Verdict::Success).await,
                Some(false) => tell(Verdict::Failure(no.unwrap_or_default())).await,
                None => {}
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = asking => {}
    }
}
