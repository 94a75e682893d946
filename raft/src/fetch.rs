//! A replica that was filled by a snapshot has nothing of the time before, and others do: it fetches that from one of them, so that a
//! watch can begin as far back here as there ([ADR 28](../../docs/adr/0028-the-past-is-fetched.md)). Acts; `choose` decides.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use openraft::async_runtime::watch::WatchReceiver as _;
use proto::mutants::{self, Mutant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::command::Revision;
use crate::disk::space::{Level, Limits};
use crate::disk::{Disk, Free, apart};
use crate::machine::history::gap::Gap;
use crate::machine::history::tell::Before;
use crate::machine::published::Published;
use crate::metrics::Metrics;
use crate::peer::channels::{Channels, Client, Lane};
use crate::peer::past;
use crate::rhythm::Rhythm;
use crate::types::Raft;

/// Between two looks at whether there is something to fetch; it doubles while nobody has it, up to the second.
const LOOK: Duration = Duration::from_secs(2);
const LOOK_MAX: Duration = Duration::from_secs(64);
/// Between two requests: of what the teller's disk can do, this takes a small share.
const PAUSE: Duration = Duration::from_millis(10);

pub struct Fetch {
    pub id: u64,
    pub raft: Raft,
    pub channels: Channels,
    pub published: Arc<Published>,
    pub disk: Arc<dyn Disk>,
    pub level: watch::Receiver<Level>,
}

#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// All after this revision, from that replica.
    From(u64, Revision),
    /// Nobody has anything.
    Nobody,
    /// Somebody may have more who does not answer.
    Wait,
}

/// `answers`: of each other replica how far back its history reaches, and whether it waits for no more itself; `None`: it does not say.
/// `shunned`: what it told last could not be used, so any other is asked before it.
fn choose(upto: Revision, shunned: Option<u64>, answers: &[(u64, Option<(Revision, bool)>)]) -> Choice {
    let all = answers.iter().all(|(_, answer)| answer.is_some());
    let known = answers.iter().filter_map(|(id, answer)| answer.map(|(floor, whole)| (*id, floor, whole)));
    let usable = known.filter(|(_, floor, whole)| *floor < upto && (*whole || all));
    match usable.min_by_key(|(id, floor, _)| (shunned == Some(*id), *floor, *id)) {
        Some((id, floor, _)) => Choice::From(id, floor),
        None if all => Choice::Nobody,
        None => Choice::Wait,
    }
}

/// Both what is told and what stood there before it lies in the history's rows, and the disk keeps enough beside.
fn has_room(free: Option<Free>, behind: u64) -> bool {
    free.is_none_or(|free| free.bytes >= behind.saturating_mul(2).saturating_add(Limits::of(free.total_bytes).enough))
}

impl Fetch {
    /// Ends with `stop`.
    pub async fn run(self, rhythm: Rhythm, stop: CancellationToken) {
        let (mut look, mut shunned) = (LOOK, None);
        while stop.run_until_cancelled(rhythm.next(look)).await.is_some() {
            let Some(gap) = self.published.history.gap() else {
                look = LOOK;
                continue;
            };
            match stop.run_until_cancelled(self.fill(gap, &mut shunned)).await {
                None => return,
                Some(Ok(())) => look = LOOK,
                Some(Err(why)) => {
                    tracing::debug!(why, upto = gap.upto, "what came before the snapshot is not fetched yet");
                    look = (look * 2).min(LOOK_MAX);
                }
            }
        }
    }

    async fn fill(&self, gap: Gap, shunned: &mut Option<u64>) -> Result<(), String> {
        if !self.published.history.wants(&gap) {
            return self.leave(gap, "the window has moved on since").await;
        }
        self.is_ample(gap).await?;
        let others = self.others();
        let asked = others.iter().map(|(id, client)| async move {
            let answer = past::ask(client.clone(), gap.upto, gap.upto).await.ok();
            (*id, answer.map(|Before { floor, whole, .. }| (floor, whole)))
        });
        let answers = join_all(asked).await;
        match choose(gap.upto, *shunned, &answers) {
            Choice::From(id, floor) if floor.max(gap.after) < gap.upto => {
                let from = others.into_iter().find(|(other, _)| *other == id);
                let (_, client) = from.ok_or("it is no member any more")?;
                *shunned = Some(id);
                self.copy(id, &client, Gap { after: floor.max(gap.after), ..gap }).await?;
                *shunned = None;
                Ok(())
            }
            Choice::From(..) | Choice::Nobody => self.leave(gap, "nobody has more").await,
            Choice::Wait => Err("not everybody answers who may have it".into()),
        }
    }

    fn others(&self) -> Vec<(u64, Client)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let others = metrics.membership_config.nodes().filter(|(id, _)| **id != self.id);
        others.map(|(id, place)| (*id, self.channels.client(*id, &place.peer_address, Lane::Snapshot))).collect()
    }

    async fn is_ample(&self, gap: Gap) -> Result<(), String> {
        if *self.level.borrow() == Level::Ample {
            return Ok(());
        }
        let there = self.published.clone();
        apart(&self.disk, move |_| there.history.unstage(gap.upto)).await.map_err(|error| error.to_string())?;
        Err("there is little room".into())
    }

    async fn leave(&self, gap: Gap, why: &str) -> Result<(), String> {
        let there = self.published.clone();
        apart(&self.disk, move |_| there.history.leave_gap(gap.upto)).await.map_err(|error| error.to_string())?;
        tracing::debug!(why, upto = gap.upto, "what came before the snapshot is not fetched");
        Ok(())
    }

    /// Oldest first. What was put down of an attempt that fails is written again by the next one.
    async fn copy(&self, from: u64, client: &Client, gap: Gap) -> Result<(), String> {
        let Gap { mut after, upto } = gap;
        let mut behind = None;
        while after < upto {
            self.is_ample(gap).await?;
            let told = past::ask(client.clone(), after, upto).await.map_err(|status| status.message().to_owned())?;
            let Some(first) = told.changes.first() else { return Err("it told nothing".into()) };
            if behind.is_none() {
                let free = apart(&self.disk, |disk| disk.free()).await.map_err(|error| error.to_string())?;
                if !has_room(free, first.behind) {
                    return Err(format!("there is no room for {} bytes of history", first.behind));
                }
                behind = Some(first.behind);
            }
            let last = next_in_order(after, upto, told.changes.iter().map(|told| told.change.revision))?;
            let (there, count) = (self.published.clone(), told.changes.len() as u64);
            let staged = apart(&self.disk, move |_| there.history.stage(upto, &told.changes)).await;
            if !staged.map_err(|error| error.to_string())? {
                return Err("the window has moved on".into());
            }
            Metrics::add(&self.published.metrics.history_fetched, count);
            after = last;
            if mutants::on(Mutant::PastFetchedInPart) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let (there, behind) = (self.published.clone(), behind.unwrap_or_default());
        let closed = apart(&self.disk, move |_| there.history.close_gap(upto, gap.after, behind)).await;
        match closed.map_err(|error| error.to_string())? {
            true => {
                tracing::info!(from, after = gap.after, upto, "fetched what came before the snapshot");
                Ok(())
            }
            false => Err("the window has moved on".into()),
        }
    }
}

/// The last of them, if they are all that come after `after` and none is behind `upto`.
fn next_in_order(after: Revision, upto: Revision, told: impl Iterator<Item = Revision>) -> Result<Revision, String> {
    let mut last = after;
    for revision in told {
        if revision != last + 1 || revision > upto {
            return Err(format!("it told revision {revision} where {} was to come", last + 1));
        }
        last = revision;
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fetched_from_whoever_reaches_back_farthest() {
        let whole = |floor| Some((floor, true));
        let lacks = |floor| Some((floor, false));
        let cases = [
            (vec![(2, whole(30)), (3, whole(20))], Choice::From(3, 20)),
            (vec![(2, whole(30)), (3, None)], Choice::From(2, 30)),
            (vec![(2, lacks(30)), (3, whole(20))], Choice::From(3, 20)),
            // It may come to have more itself, from the one who is silent.
            (vec![(2, lacks(30)), (3, None)], Choice::Wait),
            (vec![(2, lacks(30)), (3, lacks(40))], Choice::From(2, 30)),
            (vec![(2, whole(100)), (3, whole(170))], Choice::Nobody),
            (vec![(2, whole(100)), (3, None)], Choice::Wait),
            // Who waits for more itself is in nobody's way.
            (vec![(2, lacks(10)), (3, whole(20)), (4, None)], Choice::From(3, 20)),
            (vec![], Choice::Nobody),
        ];
        for (answers, expected) in cases {
            assert_eq!(choose(100, None, &answers), expected, "{answers:?}");
        }
    }

    #[test]
    fn whose_telling_failed_is_asked_again_where_nobody_else_has_any() {
        let answers = [(2, Some((30, true))), (3, Some((20, true)))];
        assert_eq!(choose(100, Some(3), &answers), Choice::From(2, 30));
        assert_eq!(choose(100, Some(2), &answers), Choice::From(3, 20));
        assert_eq!(choose(100, Some(3), &answers[1..]), Choice::From(3, 20));
    }

    #[test]
    fn it_begins_only_where_it_fits_beside_what_the_disk_keeps_free() {
        let total_bytes = 64 << 20;
        let enough = Limits::of(total_bytes).enough;
        let free = |bytes| Some(Free { bytes, total_bytes });
        assert!(has_room(free(enough + 2_000), 1_000) && !has_room(free(enough + 1_999), 1_000));
        assert!(has_room(None, u64::MAX), "it has no limit that is known");
    }

    #[test]
    fn what_is_told_has_no_hole_and_no_more_than_was_asked_for() {
        let told = |revisions: &[Revision]| next_in_order(4, 7, revisions.iter().copied());
        assert_eq!(told(&[5, 6]), Ok(6));
        assert_eq!(told(&[5, 6, 7]), Ok(7));
        for wrong in [&[6][..], &[5, 7], &[5, 5], &[5, 6, 7, 8]] {
            assert!(told(wrong).is_err(), "{wrong:?}");
        }
    }
}
