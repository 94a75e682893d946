//! One round: users work and others look on while one episode follows the other; then all must agree, and a calm follows. Acts.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use client::Client;
use proto::seam::Random;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::run::{CALL_MAX, Run, TELLING_EPISODES};
use super::scaler::Scaler;
use super::watchers::{self, Sight, Watcher};
use super::{ending, namespace, pods};
use crate::store::seen::Shared;
use crate::users::clients;
use crate::users::gaps::Gaps;

const CLIENTS_PER_REPLICA: u64 = 2;
/// From one operation of a client to the next.
const PAUSE_MS: (u64, u64) = (5, 100);
const WATCHERS: usize = 3;
/// A door may take half a minute to send the bookmark that somebody waits for.
const JOIN_MAX: Duration = Duration::from_secs(60);
/// Users begin with nothing after so long: no history becomes too long to judge, and a failure is told soon.
const ROUND_MAX: Duration = Duration::from_secs(240);
/// In less there is too little between one calm and the next.
const ROUND_MIN: Duration = Duration::from_secs(60);

/// How long users work in a run of so much time. Where it is enough for two rounds, there are two: what processes hold is compared
/// from one round to the next.
pub(super) fn lasts(within: Duration) -> Duration {
    (within / 2).clamp(ROUND_MIN, ROUND_MAX)
}

impl Run {
    pub(super) async fn round(&mut self, name: &str, shared: &Shared, until: Instant) -> Result<(), String> {
        let (beginning, over, mut looking) = (Instant::now(), CancellationToken::new(), JoinSet::new());
        for onlooker in self.onlookers.drain(..) {
            looking.spawn(onlooker.look_on(beginning, shared.clone(), over.clone()));
        }
        let ended = self.work(name, shared, until).await;
        over.cancel();
        self.onlookers = looking.join_all().await;
        if let Err(why) = self.hear() {
            shared.violated(why);
        }
        ended?;
        self.report.leaks.look(&self.hosts.processes())?;
        self.calm(&format!("{name}-calm"), shared).await?;
        // So that the next round has as much to hold as this one.
        namespace::delete(&self.clients[0], name).await
    }

    /// From the beginning to one state on all replicas.
    async fn work(&mut self, name: &str, shared: &Shared, until: Instant) -> Result<(), String> {
        self.settle(shared).await?;
        if self.options.pods > 0 {
            pods::create(&self.clients[0], self.options.pods).await?;
        }
        self.whole().await?;
        let first = namespace::make(&self.config(), name).await?;
        let gaps = Gaps::default();
        let mut users = self.users(name, shared, &gaps)?;
        let ((told_last, last), (told_enough, enough)) = (watch::channel(None), watch::channel(None));
        let mut watching = JoinSet::new();
        for id in 0..WATCHERS {
            watching.spawn(self.watcher(id, Sight::All, name, shared)?.run(first, last.clone()));
        }
        watching.spawn(self.watcher(WATCHERS, Sight::Set, name, shared)?.run(first, enough));
        let mut episodes = Ok(());
        while Instant::now() < until && shared.lock().violations.is_empty() && episodes.is_ok() {
            let Some(number) = self.peek() else { break };
            episodes = self.episode(number, shared, &gaps).await;
            self.next += 1;
        }
        shared.quiet.store(true, Relaxed);
        let joined = tokio::time::timeout(JOIN_MAX, async { while users.join_next().await.is_some() {} });
        joined.await.map_err(|_| "the clients did not end".to_owned())?;
        // The clients' last words count, whatever became of the cluster.
        episodes?;
        let newest = namespace::last_writes(&self.clients, name).await?;
        told_last.send_replace(Some(newest));
        // Who watches the set is told of the last write by nothing but a bookmark. Once in a run that is worth the wait.
        let bookmarks = self.report.told.bookmarks + shared.lock().bookmarks;
        let waits = bookmarks == 0 && self.report.episodes >= TELLING_EPISODES;
        told_enough.send_replace(Some(if waits { newest } else { first }));
        let joined = tokio::time::timeout(JOIN_MAX, async { while watching.join_next().await.is_some() {} });
        joined.await.map_err(|_| format!("{JOIN_MAX:?} after the last write not all watchers were told of it"))?;
        self.report.state = ending::one_state(&self.clients).await?;
        Ok(())
    }

    /// Who writes, until it is quiet.
    fn users(&self, name: &str, shared: &Shared, gaps: &Gaps) -> Result<JoinSet<()>, String> {
        let mut users = JoinSet::new();
        for (place, client) in self.clients.iter().enumerate() {
            for turn in 0..CLIENTS_PER_REPLICA {
                let random = Random::from_seed(self.options.seed ^ self.next << 20 ^ (place as u64) << 8 ^ turn);
                let (api, shared, gaps) = (client.namespaced(name), shared.clone(), gaps.clone());
                users.spawn(clients::Client { api, shared, random, gaps, pause_ms: PAUSE_MS }.run());
            }
        }
        let config = client::Config { timeout: CALL_MAX, ..self.config() };
        let api = Client::connect(config).map_err(|error| error.to_string())?.namespaced(name);
        let random = Random::from_seed(self.options.seed ^ self.next << 20 ^ 0xfe00);
        users.spawn(Scaler { api, shared: shared.clone(), random }.run());
        Ok(users)
    }

    /// Who watches, until it was told of the last write.
    fn watcher(&self, id: usize, sight: Sight, name: &str, shared: &Shared) -> Result<Watcher, String> {
        let addresses = self.hosts.addresses().into_iter();
        let replicas = addresses.map(|address| watchers::connect(&self.options.config, address));
        let replicas = replicas.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let random = Random::from_seed(self.options.seed ^ self.next << 20 ^ 0xff00 ^ id as u64);
        Ok(Watcher { id, sight, replicas, namespace: name.into(), shared: shared.clone(), random })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_two_rounds_where_there_is_time_for_them() {
        let rounds = |seconds| lasts(Duration::from_secs(seconds)).as_secs();
        assert_eq!([25, 119, 120, 150, 480, 3600].map(rounds), [60, 60, 60, 75, 240, 240]);
    }
}
