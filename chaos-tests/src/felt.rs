//! Which of a plan's faults met somebody: one that strikes where nobody is tries nothing. Acts where a fault is an order to a
//! process, of which only that knows what came of it; else pure.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard};

use raft::{Role, Store};

use crate::fault::Fault;
use crate::runner::Faults;

/// Faults by their numbers in the plan. Cheap to clone.
#[derive(Clone, Default)]
pub struct Felt(Arc<Mutex<BTreeSet<usize>>>);

impl Felt {
    /// `None`: what is no fault's doing.
    pub fn meets(&self, fault: Option<usize>) {
        self.lock().extend(fault);
    }

    /// Who leads is to hand that over; of all others it means nothing.
    pub async fn transfer(self, fault: Option<usize>, store: Store, to: u64) {
        let leads = store.standing().borrow().role == Role::Leader;
        let is_done = store.transfer_leadership(Some(to)).await.is_ok();
        self.meets(fault.filter(|_| leads && is_done));
    }

    /// A log is purged, if there is anything to purge.
    pub async fn compact(self, fault: Option<usize>, store: Store) {
        let purged = store.compact_log().await;
        self.meets(fault.filter(|_| purged));
    }

    /// Those of so many that met nobody.
    pub fn missed(&self, count: usize) -> Vec<usize> {
        let met = self.lock();
        (0..count).filter(|n| !met.contains(n)).collect()
    }

    pub fn tally<Kind: Debug>(&self, faults: &[Fault<Kind>]) -> Faults {
        let (met, mut tally) = (self.lock(), Faults::default());
        faults.iter().enumerate().for_each(|(n, fault)| tally.count(fault.name(), met.contains(&n)));
        tally
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.0.lock().expect("no holder of what was felt panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::plan::Kind;

    #[test]
    fn a_fault_counts_as_felt_once_however_often_it_meets_somebody() {
        let kinds =
            [Kind::Odd { host: 1, purged: true }, Kind::Freeze(2), Kind::Odd { host: 0, purged: false }, Kind::Guest];
        let faults = kinds.map(|kind| Fault { at_ms: 0, for_ms: 0, kind });
        let felt = Felt::default();
        [Some(2), None, Some(2), Some(3)].into_iter().for_each(|n| felt.clone().meets(n));
        assert_eq!(felt.missed(faults.len()), [0, 1]);
        let mut expected = Faults::default();
        for (kind, met) in [("Odd", false), ("Odd", true), ("Freeze", false), ("Guest", true)] {
            expected.count(kind.into(), met);
        }
        let tally = felt.tally(&faults);
        assert_eq!((&tally, tally.planned(), tally.felt()), (&expected, 4, 2));
    }
}
