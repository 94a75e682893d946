//! What a plan's faults do is seen to, and whom they meet. Acts; `tells` decides.

use super::actions::Action;
use super::plan::{Fault, Kind};
use super::run::Run;

impl Run {
    /// Does what the fault with this number wants.
    pub fn strike(&mut self, n: usize, action: &Action) {
        let account = tells(&self.plan.faults[n].kind, action).then_some(n);
        if let Some(n) = account {
            self.look_back(n);
        }
        self.act(action, account);
        if let (Some(n), Some(count)) = (account, self.count(action)) {
            self.under_way.insert(n, (action.clone(), count));
        }
    }

    /// The faults have ended, also those that were to go on.
    pub fn look_back_at_all(&mut self) {
        let under_way: Vec<usize> = self.under_way.keys().copied().collect();
        under_way.into_iter().for_each(|n| self.look_back(n));
        // What the operator is to do he has begun by now, if anybody took his order.
        let moves = |fault: &Fault| matches!(fault.kind, Kind::Guest | Kind::Replace(..));
        let moved = self.plan.faults.iter().position(moves);
        self.felt.meets(moved.filter(|_| self.newcomer.is_some()));
    }

    /// Has it met somebody since it began?
    fn look_back(&mut self, n: usize) {
        let Some((action, before)) = self.under_way.remove(&n) else { return };
        let meets = self.count(&action).is_some_and(|count| count > before);
        self.felt.meets(meets.then_some(n));
    }

    /// A count that grows with whomever that meets which begins with this action, and lasts. `None`: it strikes at once, or ends.
    fn count(&self, action: &Action) -> Option<u64> {
        let met = |host: &usize| self.platters[*host].met();
        match action {
            Action::Cut(ways, _) => Some(self.world.cut_off(ways)),
            Action::Slow(1..) => Some(self.world.sent()),
            Action::Clock(_, 0) => None,
            Action::Clock(host, _) => Some(self.world.misled(*host)),
            Action::SlowDisk(host, 1..) => Some(met(host).slower),
            Action::FailSync(host, true) => Some(met(host).fail_sync),
            Action::FailWrite(host, true) => Some(met(host).fail_write),
            Action::FullDisk(host, true) => Some(met(host).full),
            Action::LittleRoom(host, true) => Some(met(host).little_room),
            Action::FailReads(host, true) => Some(met(host).fail_reads),
            Action::LoseEnd(host) => Some(met(host).lost_ends),
            Action::TearNotes(host, true) => Some(met(host).torn_notes),
            // Nobody is to be poisoned any more once he is.
            Action::Odd(_) => Some(u64::from(self.poisons.is_none())),
            _ => None,
        }
    }
}

/// Does this action tell whether the fault meets somebody? Of a fault that is several only the one does that makes it what it is.
fn tells(kind: &Kind, action: &Action) -> bool {
    match kind {
        Kind::Ballot(..) => matches!(action, Action::Crash(..)),
        Kind::Overrule(..) => matches!(action, Action::Cut(..) | Action::Heal(_)),
        Kind::Refill { .. } => matches!(action, Action::Compact(_)),
        Kind::LoseEnd(_) => matches!(action, Action::LoseEnd(_)),
        Kind::TornNote(_) => matches!(action, Action::TearNotes(..)),
        Kind::RotNote(_) => matches!(action, Action::RotNote(_)),
        Kind::NewDisk(_) => matches!(action, Action::NewDisk(_)),
        _ => true,
    }
}

#[cfg(test)]
#[path = "felt_tests.rs"]
mod tests;
