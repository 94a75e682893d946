//! The end of a replica's run, as streams meet it: the listener gave their connections away and ends without them. Acts.

use std::future::Future;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::sessions::{Ended, Output, TunnelReceiver};

/// The end of a run as callers are told it.
pub const WHY: &str = "the replica that the stream went through ends its run";
/// From the end of the run until a stream that has not ended in order is dropped.
const GOODBYE_MAX: Duration = Duration::from_secs(10);

/// Runs a stream, which is to end by itself when its replica's run does, and keeps it no longer than that takes: it holds the
/// store of the run.
pub async fn within(run: CancellationToken, stream: impl Future<Output = ()>) {
    let over = async {
        run.cancelled().await;
        sleep(GOODBYE_MAX).await;
    };
    tokio::select! {
        () = stream => {}
        () = over => tracing::debug!("a stream was cut at the end of the run"),
    }
}

/// The tunnel's next output; the end of the run is the end of it. Cancel safe.
pub async fn next(tunnel: &mut TunnelReceiver, run: &CancellationToken) -> Option<Output> {
    tokio::select! {
        biased;
        () = run.cancelled() => Some(Output::End(Ended::Failed(WHY.into()))),
        output = tunnel.next() => output,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_outlives_its_run_only_for_its_goodbye() {
        let run = CancellationToken::new();
        let mut stream = std::pin::pin!(within(run.clone(), std::future::pending()));
        assert!(timeout(Duration::from_secs(3600), &mut stream).await.is_err(), "the run goes on");
        let end = Instant::now();
        run.cancel();
        stream.await;
        assert_eq!(end.elapsed(), GOODBYE_MAX);
        within(run, sleep(Duration::from_secs(1))).await;
        assert_eq!(end.elapsed(), GOODBYE_MAX + Duration::from_secs(1), "who has said it is not waited for");
    }
}
