//! A scribe on a replica follows all changes from where its history begins, so that all of them are known though it keeps few. Acts.

use std::time::Duration;

use bytes::Bytes;
use raft::{Change, HistoryError, News, Store};

use super::seen::Shared;
use crate::check::changes::Told;

/// Behind a history that was cut off under him.
const PAUSE: Duration = Duration::from_millis(20);

/// For as long as the replica applies anything.
pub async fn follow(store: Store, shared: Shared) {
    let ended = store.ended();
    tokio::select! {
        biased;
        () = ended.cancelled() => {}
        () = write_down(&store, &shared) => {}
    }
}

/// Returns only when what is told cannot be.
async fn write_down(store: &Store, shared: &Shared) {
    loop {
        let oldest = store.oldest();
        let mut told = Told { id: 0, prefix: String::new(), after: oldest, upto: oldest, revisions: Vec::new() };
        match read(store, shared, &mut told).await {
            Ok(why) => return shared.violated(format!("what replica {} tells: {why}", store.id())),
            Err(error) => shared.note(format_args!("a scribe of replica {} begins again: {error}", store.id())),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Until it cannot be read any more. `Ok`: what was read cannot be.
async fn read(store: &Store, shared: &Shared, told: &mut Told) -> Result<String, HistoryError> {
    let mut watcher = store.watch(Bytes::new(), told.after)?;
    loop {
        if let News::Changes(changes) = watcher.next().await? {
            let changes: Vec<Change> = changes.iter().map(|change| (**change).clone()).collect();
            let taken = shared.lock().agreed.take(told, &changes);
            if let Err(why) = taken {
                return Ok(why);
            }
        }
    }
}
