//! Writes down which ids were ever used, and marks those of members who are out: as it changes the members, and what an earlier leader
//! left open. Acts; `used` decides.

use std::time::Duration;

use super::change::COMMIT;
use super::wire::Answered;
use super::{Members, used};
use crate::admission::Answer;
use crate::command::{Command, Op, Outcome};

/// Marks of removed ids that are written at once.
const MARKS: usize = 100;
/// For so long it may be open who the members are.
const CATCH_UP: Duration = Duration::from_millis(700);

impl Members {
    /// Before an id is given or a member goes: so that whoever leads later knows that the id was used.
    pub(super) async fn raise(&self, term: u64, to: u64) -> Result<(), Answered> {
        let state = self.published.state();
        match used::last(&state) >= to {
            true => Ok(()),
            false => self.write(term, vec![used::raise(&state, to)]).await,
        }
    }

    pub(super) async fn bar(&self, term: u64, ids: Vec<u64>) -> Answered {
        let id = ids.first().copied().unwrap_or(0);
        match self.write(term, ids.into_iter().map(used::bar).collect()).await {
            Ok(()) => Answered::Done(id),
            Err(_) => Answered::Unknown(format!("replica {id} is out, but its mark could not be written yet")),
        }
    }

    /// On the leader: marks ids that an earlier leader took out, or gave, and died before it wrote so.
    pub(crate) async fn tidy(&self) {
        let Some(term) = self.standing.borrow().leads_in_term else { return };
        // There seldom is one, and whoever holds the turn keeps changes waiting.
        if self.unmarked().await.is_empty() {
            return;
        }
        let Ok(_turn) = self.turn.try_lock() else { return };
        // Once more: what was being given at the first look is a member's id by now.
        let unmarked = self.unmarked().await;
        if !unmarked.is_empty() {
            self.bar(term, unmarked).await;
        }
    }

    /// Ids that were given, are no member's, and are not marked. None where it is not known in time who the members are.
    async fn unmarked(&self) -> Vec<u64> {
        // In this order: a member whose id is in the state would pass for one that is gone where the members are older.
        let state = self.published.state();
        if tokio::time::timeout(CATCH_UP, self.caught_up()).await.is_err() {
            return Vec::new();
        }
        let members = self.known().iter().map(|member| member.id).collect();
        used::unmarked(&state, &members).take(MARKS).collect()
    }

    async fn write(&self, term: u64, ops: Vec<Op>) -> Result<(), Answered> {
        let author = "system:kontiki:members".into();
        let command = Command { fence: Some(term), proposed_at_ms: self.clock.now_ms(), author, ops };
        match tokio::time::timeout(COMMIT, self.intake.append(command.encode())).await {
            Ok(Answer::Outcome(Outcome::Applied { .. })) => Ok(()),
            Ok(Answer::Outcome(Outcome::Conflict { .. })) => {
                Err(Answered::Refused("another change of the members came between".into()))
            }
            Ok(Answer::Outcome(Outcome::Fenced { .. }) | Answer::NotTaken) => Err(Answered::NotLeader),
            Ok(Answer::Refused(why)) => Err(Answered::Refused(why)),
            Ok(Answer::Unknown(why) | Answer::NoSpace(why)) => Err(Answered::Unknown(why)),
            Err(_) => Err(Answered::Unknown("no majority answered".into())),
        }
    }
}

#[cfg(test)]
#[path = "marks_tests.rs"]
mod tests;
