//! Many watchers of one prefix: how long after a write was sent does each of them hold it? Acts.

use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::{Instant, sleep_until, timeout};

use crate::caller;
use crate::load::Measured;
use crate::meter::Meter;
use crate::system::System;
use crate::{Failure, load};

/// Watches that share a connection.
const WATCHES_PER_CONNECTION: usize = 50;
const VALUE_BYTES: usize = 256;
const OPEN_DEADLINE: Duration = Duration::from_secs(20);
/// A delivery that takes longer counts as failed.
const LATE: Duration = Duration::from_secs(10);

/// Writes `per_second` values a second for `seconds`. The samples are deliveries; a missing one counts as failed.
pub async fn run(system: &mut System, watchers: usize, per_second: usize, seconds: f64) -> Result<Measured, Failure> {
    system.settled().await?;
    load::fill(system, VALUE_BYTES).await?;
    let writes = (seconds * per_second as f64) as usize;
    let (opened, mut open) = tokio::sync::mpsc::channel(watchers);
    let mut watching = tokio::task::JoinSet::new();
    let connections: Vec<_> =
        (0..watchers.div_ceil(WATCHES_PER_CONNECTION).max(3)).map(|at| system.caller(at)).collect();
    for watcher in 0..watchers {
        let mut caller = connections[watcher % connections.len()].clone();
        let opened = opened.clone();
        watching.spawn(async move {
            let mut stamps = match caller.watch().await {
                Ok(stamps) => stamps,
                Err(status) => return Err(status),
            };
            let _ = opened.send(()).await;
            let mut took = Vec::with_capacity(writes);
            while took.len() < writes {
                let Ok(Some(stamp)) = timeout(LATE, stamps.next()).await else { break };
                took.push(Duration::from_micros(caller::stamp_of(Instant::now()).saturating_sub(stamp?)));
            }
            Ok(took)
        });
    }
    let all_open = async {
        for _ in 0..watchers {
            open.recv().await;
        }
    };
    timeout(OPEN_DEADLINE, all_open).await.map_err(|_| format!("{watchers} watches did not open in time"))?;

    let mut measured = Measured::default();
    let meter = Meter::start(system).await;
    let mut writer = system.caller(0);
    for write in 0..writes {
        sleep_until(meter.start + Duration::from_secs_f64(write as f64 / per_second as f64)).await;
        let stamp = caller::stamp_of(Instant::now());
        writer.put(write % load::KEYS, caller::value(stamp, VALUE_BYTES)).await?;
    }
    while let Some(ended) = watching.join_next().await {
        measured.took.extend(ended??);
    }
    measured.failed = watchers * writes - measured.took.len();
    meter.stop(system, &mut measured).await;
    Ok(measured)
}
