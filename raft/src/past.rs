//! What was: a key or the whole state as of a revision, and the changes to one key; or why that is not shown. Acts (reads only).

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::command::{Change, Previous, Revision, Versioned};
use crate::machine::published::Published;
use crate::machine::{apply, history};
use crate::state::State;

/// Who looks back reads up to the whole history window: more at once would take the disk from everybody else.
const AT_ONCE: usize = 2;
/// Others run after so many changes were undone.
const UNDO_STRIDE: usize = 1024;

/// The history no longer reaches back that far (or the revision lies in the future of a restored cluster).
#[derive(Debug, thiserror::Error)]
#[error("revision {asked} is gone; the oldest is {oldest}")]
pub struct Gone {
    pub asked: Revision,
    pub oldest: Revision,
}

/// The history reaches back that far, but this replica cannot tell it at present: its disk was closed, or has no room even
/// for that, or its state may be wrong. Another replica can, or this one later.
#[derive(Clone, Debug, thiserror::Error)]
#[error("this replica cannot tell its history at present: {0}")]
pub struct Untold(pub String);

/// Why the past is not shown.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error(transparent)]
    Gone(#[from] Gone),
    #[error(transparent)]
    Untold(#[from] Untold),
}

/// The changes to one key, oldest first: all of them that came after one revision, up to another. Those before are no
/// longer held, cannot be read, or were not asked for.
pub struct Changes {
    pub after: Revision,
    pub upto: Revision,
    pub list: Vec<Arc<Change>>,
}

pub(crate) struct Past {
    published: Arc<Published>,
    turns: Semaphore,
}

impl Past {
    pub fn new(published: Arc<Published>) -> Past {
        Past { published, turns: Semaphore::new(AT_ONCE) }
    }

    /// Each change after `after` up to `upto` to keys that begin with `prefix`, in order, until told to stop.
    async fn each(
        &self,
        after: Revision,
        upto: Revision,
        prefix: &[u8],
        mut take: impl FnMut(Arc<Change>) -> ControlFlow<()>,
    ) -> Result<(), HistoryError> {
        let prefix = Bytes::copy_from_slice(prefix);
        let mut reached = after;
        while reached < upto {
            let (changes, to) = history::since(&self.published, reached, upto, &prefix).await?;
            for change in changes {
                if take(change).is_break() {
                    return Ok(());
                }
            }
            reached = to;
            // A long way: let others run in between.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn turn(&self) -> SemaphorePermit<'_> {
        self.turns.acquire().await.expect("the turns are never closed")
    }

    /// `Err`: the history does not reach back to `revision`, or it is still to come.
    fn present(&self, revision: Revision) -> Result<State, Gone> {
        let state = self.published.state();
        match revision > state.revision() {
            true => Err(Gone { asked: revision, oldest: self.published.history.floor() }),
            false => Ok(state),
        }
    }

    pub async fn state(&self, revision: Revision) -> Result<State, HistoryError> {
        let mut state = self.present(revision)?;
        if state.revision() == revision {
            return Ok(state);
        }
        let _turn = self.turn().await;
        let mut changes = Vec::new();
        self.each(revision, state.revision(), b"", |change| {
            changes.push(change);
            ControlFlow::Continue(())
        })
        .await?;
        for some in changes.rchunks(UNDO_STRIDE) {
            for change in some.iter().rev() {
                apply::undo(&mut state, change).map_err(|_| self.gone(revision))?;
            }
            tokio::task::yield_now().await;
        }
        Ok(state)
    }

    /// What the first later change says stood there before it, or else what still stands there.
    pub async fn key(&self, key: &[u8], revision: Revision) -> Result<Option<Versioned>, HistoryError> {
        let state = self.present(revision)?;
        if state.revision() == revision {
            return Ok(state.get(key).cloned());
        }
        let _turn = self.turn().await;
        let mut next = None;
        self.each(revision, state.revision(), key, |change| match change.key == key {
            true => {
                next = Some(change);
                ControlFlow::Break(())
            }
            false => ControlFlow::Continue(()),
        })
        .await?;
        match next.map(|change| change.previous.clone()) {
            None => Ok(state.get(key).cloned()),
            Some(Previous::Absent) => Ok(None),
            Some(Previous::Was(was)) => Ok(Some(was)),
            Some(Previous::Forgotten) => Err(self.gone(revision).into()),
        }
    }

    /// The newest changes to a key: up to `count_max` of them and about `bytes_max` of values.
    pub async fn changes(&self, key: &[u8], count_max: usize, bytes_max: usize) -> Result<Changes, Untold> {
        let _turn = self.turn().await;
        let upto = self.published.state().revision();
        let mut after = self.published.history.floor().min(upto);
        let (mut list, mut bytes) = (VecDeque::new(), 0);
        loop {
            let taken = self.each(after, upto, key, |change| {
                if change.key == key {
                    bytes += weight(&change);
                    list.push_back(change);
                }
                while list.len() > count_max || (bytes > bytes_max && list.len() > 1) {
                    let Some(dropped) = list.pop_front() else { break };
                    bytes -= weight(&dropped);
                    after = dropped.revision;
                }
                ControlFlow::Continue(())
            });
            match taken.await {
                Ok(()) => return Ok(Changes { after, upto, list: list.into() }),
                Err(HistoryError::Untold(untold)) => return Err(untold),
                // Trimmed meanwhile, or damaged: what is left begins later. What was read of it already is read again.
                Err(HistoryError::Gone(gone)) => {
                    (after, bytes) = (gone.oldest.max(after + 1), 0);
                    list.clear();
                }
            }
        }
    }

    fn gone(&self, asked: Revision) -> Gone {
        Gone { asked, oldest: self.published.history.floor().max(asked + 1) }
    }
}

fn weight(change: &Change) -> usize {
    change.value.as_ref().map_or(0, |value| value.len()) + change.previous.len()
}
