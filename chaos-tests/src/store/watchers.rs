//! Watchers that go from replica to replica and resume where they were. A watch is a record; whoever serves it at
//! present runs on some host, and puts it back when it has had enough or its host dies. Acts.

use std::time::Duration;

use bytes::Bytes;
use proto::seam::Random;
use raft::{Change, HistoryError, News, Store};

use super::historian;
use super::seen::{Shared, number_of};
use crate::check::changes::Told;

pub const PREFIXES: [&str; 4] = ["", "", "reg/", "pair/"];
const SERVE_MS: (u64, u64) = (50, 3000);

/// A watch that is being served.
struct Served {
    shared: Shared,
    told: Option<Told>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shared.lock().idle_watches.extend(self.told.take());
    }
}

pub async fn serve(store: Store, shared: Shared, random: Random) {
    while !shared.is_quiet() {
        tokio::time::sleep(Duration::from_millis(10 + random.below(100))).await;
        let idle = {
            let mut seen = shared.lock();
            // They come back in any order when a host crashes.
            seen.idle_watches.sort_by_key(|told| (told.id, told.upto));
            let count = seen.idle_watches.len() as u64;
            (count > 0).then(|| seen.idle_watches.remove(random.below(count) as usize))
        };
        let Some(told) = idle else { continue };
        let served = Served { shared: shared.clone(), told: Some(told) };
        let duration = Duration::from_millis(SERVE_MS.0 + random.below(SERVE_MS.1));
        let _ = tokio::time::timeout(duration, watch(&store, served)).await;
    }
}

async fn watch(store: &Store, mut served: Served) {
    let shared = served.shared.clone();
    let told = served.told.as_mut().expect("it is being served");
    let began = store.watch(Bytes::copy_from_slice(told.prefix.as_bytes()), told.upto);
    let error = match began {
        Err(gone) => gone.into(),
        Ok(mut watcher) => loop {
            match watcher.next().await {
                Ok(News::Changes(changes)) => {
                    let changes: Vec<Change> = changes.iter().map(|change| (**change).clone()).collect();
                    take(&shared, told, &changes);
                }
                Ok(News::Progress(to)) if to < told.upto => {
                    shared.violated(format!("progress to {to} came to a watcher that was told up to {}", told.upto));
                }
                Ok(News::Progress(to)) => told.upto = to,
                Err(error) => break error,
            }
        },
    };
    historian::judge(store, &shared, told.upto, &error);
    if matches!(error, HistoryError::Untold(_)) {
        return;
    }
    // As a client does: it lists anew and watches from there.
    let newest = store.state().revision();
    if newest >= told.upto {
        let fresh = Told { after: newest, upto: newest, revisions: Vec::new(), ..told.clone() };
        let ended = std::mem::replace(told, fresh);
        shared.lock().told.push(ended);
    }
}

fn take(shared: &Shared, told: &mut Told, changes: &[Change]) {
    let taken = shared.lock().agreed.take(told, changes);
    shared.judge(taken);
    // A pair is written by one command: its changes come together or not at all.
    let halves = |key: &str| -> Vec<Option<u64>> {
        changes.iter().filter(|change| change.key == key.as_bytes()).map(number_of).collect()
    };
    let (one, two) = (halves("pair/one"), halves("pair/two"));
    if one != two {
        shared.violated(format!("half a command reached a watcher: {one:?} and {two:?}"));
    }
}
