//! Asks the engine whether it lives, and tells what every heartbeat carries. Acts.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::runtime::{NetworkSpec, Runtime};
use crate::session::Health;

/// Until `shutdown`. Every ping has a deadline of its own, so an engine that hangs shows within two intervals. Whenever
/// the engine comes (back) to life, the Pod network is made sure of before it counts as ready.
pub async fn watch(
    runtime: Arc<dyn Runtime>,
    network: NetworkSpec,
    interval: Duration,
    health: watch::Sender<Health>,
    shutdown: CancellationToken,
) {
    let mut network_stands = false;
    let watching = async {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = match runtime.ping().await {
                Ok(()) if network_stands => Health { engine_ready: true, message: String::new() },
                Ok(()) => match runtime.ensure_network(&network).await {
                    Ok(()) => {
                        network_stands = true;
                        Health { engine_ready: true, message: String::new() }
                    }
                    Err(error) => {
                        Health { engine_ready: false, message: format!("the Pod network is missing: {error}") }
                    }
                },
                Err(error) => {
                    network_stands = false;
                    Health { engine_ready: false, message: error.to_string() }
                }
            };
            let changed = health.send_if_modified(|before| {
                let changed = *before != now;
                *before = now.clone();
                changed
            });
            if changed && now.engine_ready {
                tracing::info!("the container engine answers");
            } else if changed {
                tracing::warn!(reason = %now.message, "the container engine is not ready");
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = watching => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Error;
    use crate::runtime::fake::Fake;

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_hangs_shows_within_seconds_and_so_does_its_return() {
        let fake = Fake::new(proto::seam::Env::real().clock);
        let network = NetworkSpec { name: "pods".into(), subnet: "10.244.0.0/16".into() };
        let (sender, mut health) = watch::channel(Health::default());
        let interval = Duration::from_secs(2);
        tokio::spawn(watch(Arc::new(fake.clone()), network, interval, sender, CancellationToken::new()));
        let mut within = async |seconds: u64, ready: bool| {
            let met = health.wait_for(|health| health.engine_ready == ready);
            let health = tokio::time::timeout(Duration::from_secs(seconds), met).await;
            health.unwrap_or_else(|_| panic!("ready: {ready}, not within {seconds} s")).unwrap().message.clone()
        };
        assert_eq!(within(1, true).await, "");
        fake.hang(true);
        assert_eq!(within(5, false).await, "the container engine did not answer a ping within 2000 ms");
        fake.hang(false);
        assert_eq!(within(3, true).await, "");
        fake.fail("ping", Some(Error::Unreachable("there is no socket".into())));
        assert!(within(3, false).await.contains("there is no socket"));
        // It counts as ready only once the network stands.
        fake.fail("network", Some(Error::Refused("no room for it".into())));
        fake.fail("ping", None);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(within(1, false).await.contains("no room for it"));
        fake.fail("network", None);
        within(3, true).await;
    }
}
