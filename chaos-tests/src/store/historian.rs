//! Users of the history, of whom each replica has one of both kinds where the history is short: a scribe, who follows all
//! changes from where they begin, and a historian, who reads how things were. Acts.

use std::time::Duration;

use bytes::Bytes;
use proto::seam::Random;
use raft::{Change, Changes, HistoryError, News, Revision, Store};

use super::odd;
use super::seen::Shared;
use crate::check::changes::Told;
use crate::check::past::{Look, Shown};

/// Behind a history that was cut off under it.
const PAUSE: Duration = Duration::from_millis(20);
const LOOK_EVERY_MS: (u64, u64) = (20, 300);
/// So far behind the oldest revision some look: all of that must be gone.
const TOO_FAR: Revision = 3;
const KEYS: [&str; 4] = ["leader", "pair/one", "pair/two", "reg/"];
const CHANGES_MAX: u64 = 40;

/// What is called gone lies before the oldest revision that the replica has. Only rot makes more than that unreadable, and only
/// a fence ends a watch for other reasons. What is not told though it is there: only where the disk fails, or is closed.
pub fn judge(store: &Store, shared: &Shared, asked: Revision, error: &HistoryError) {
    let gone = match error {
        _ if store.trusted().is_err() => return,
        HistoryError::Gone(gone) => gone,
        HistoryError::Untold(why) => return shared.note(format_args!("replica {}: {why}", store.id())),
    };
    let oldest = store.oldest();
    if gone.oldest <= asked {
        shared.violated(format!("{gone} was the answer to who asked for {asked}"));
    }
    if gone.oldest > oldest && !shared.rots {
        shared.violated(format!("{gone}, but the history of replica {} begins after {oldest}", store.id()));
    }
}

/// Goes on to the end of the run.
pub async fn follow(store: Store, shared: Shared) {
    loop {
        let oldest = store.oldest();
        let mut told = Told { id: 0, prefix: String::new(), after: oldest, upto: oldest, revisions: Vec::new() };
        let error = match store.watch(Bytes::new(), oldest) {
            Err(gone) => gone.into(),
            Ok(mut watcher) => loop {
                match watcher.next().await {
                    Ok(News::Changes(changes)) => {
                        let changes: Vec<Change> = changes.iter().map(|change| (**change).clone()).collect();
                        let taken = shared.lock().agreed.take(&mut told, &changes);
                        if let Err(why) = taken {
                            return shared.violated(format!("what replica {} tells: {why}", store.id()));
                        }
                    }
                    Ok(News::Progress(_)) => {}
                    Err(error) => break error,
                }
            },
        };
        judge(&store, &shared, told.upto, &error);
        tokio::time::sleep(PAUSE).await;
    }
}

pub async fn look_back(store: Store, shared: Shared, random: Random) {
    while !shared.is_quiet() {
        let pause = LOOK_EVERY_MS.0 + random.below(LOOK_EVERY_MS.1);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let (oldest, newest) = (store.oldest(), store.state().revision());
        let from = oldest.saturating_sub(TOO_FAR);
        let revision = from + random.below(newest.saturating_sub(from).max(1));
        let shown = match random.below(3) {
            0 => store.state_at(revision).await.map(|state| Shown::State(odd::written(&state))),
            1 => {
                let key = key(&store, &random);
                store.key_at(&key, revision).await.map(|found| Shown::Key(key, found))
            }
            _ => {
                changes(&store, &shared, newest, &random).await;
                continue;
            }
        };
        shared.lock().operations += 1;
        match shown {
            Ok(_) if revision < oldest => {
                shared.violated(format!("{revision} was shown, but is before the oldest revision {oldest}"));
            }
            Ok(shown) => note(&store, &shared, revision, shown),
            Err(error) => judge(&store, &shared, revision, &error),
        }
    }
}

async fn changes(store: &Store, shared: &Shared, newest: Revision, random: &Random) {
    let (key, count_max) = (key(store, random), 1 + random.below(CHANGES_MAX) as usize);
    let Changes { after, upto, list } = match store.changes(&key, count_max, usize::MAX).await {
        Ok(changes) => changes,
        Err(untold) => return judge(store, shared, newest, &untold.into()),
    };
    let taken = {
        let mut seen = shared.lock();
        seen.operations += 1;
        list.iter().try_for_each(|change| seen.agreed.add(change))
    };
    if let Err(why) = taken {
        shared.violated(format!("the changes of {key:?} on replica {}: {why}", store.id()));
    }
    let revisions: Vec<Revision> = list.iter().map(|change| change.revision).collect();
    // It begins later than the history only where there are enough, or an older one cannot be read.
    if after > store.oldest() && revisions.len() < count_max && !shared.rots {
        shared.violated(format!("the changes of {key:?} on replica {} begin after {after} only", store.id()));
    }
    if upto < newest {
        shared.violated(format!("the changes of {key:?} on replica {} end at {upto} already", store.id()));
    }
    note(store, shared, upto, Shown::Changes { key, revisions, after });
}

fn note(store: &Store, shared: &Shared, revision: Revision, shown: Shown) {
    shared.note(format_args!("replica {} shows of {revision}: {shown:?}", store.id()));
    shared.lock().looks.push(Look { replica: store.id(), revision, shown });
}

/// One that is hot, or whichever register is there.
fn key(store: &Store, random: &Random) -> Bytes {
    let drawn = KEYS[random.below(KEYS.len() as u64) as usize];
    let state = store.state();
    let count = state.range(drawn.as_bytes(), None).count() as u64;
    let found = state.range(drawn.as_bytes(), None).nth(random.below(count.max(1)) as usize);
    found.map_or(Bytes::from_static(drawn.as_bytes()), |(key, _)| key.clone())
}
